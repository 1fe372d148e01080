"""How the metrics of single particles are distributed."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ..engine.data.table import ParticleTable
from .selection import shown_range
from .style import GREY, line_style, new_figure, read_columns, tidy

# Raw above, after an affine fit below; correlation does not change, so the gain of the fit stands there.
PANELS = (
    ('mse', 'MSE (grey values squared)'),
    ('psnr', 'PSNR (dB)'),
    ('ssim', 'SSIM'),
    ('ncc', 'normalised cross-correlation'),
    ('mse_affine', 'MSE after affine fit (grey values squared)'),
    ('psnr_affine', 'PSNR after affine fit (dB)'),
    ('ssim_affine', 'SSIM after affine fit'),
    ('gain', 'gain of the affine fit'),
)
BINS = 60


def distributions(path):
    """Figure of an evaluation's metrics.csv: histograms of every metric, raw above, after an affine fit below."""
    columns = read_columns(path, text=('method',), only={'method', *(column for column, _ in PANELS)})
    methods = np.array(columns['method'])
    names = list(dict.fromkeys(columns['method']))
    figure = new_figure(15, 6.6)
    grid = figure.subplots(2, len(PANELS) // 2)
    for axes, (column, label) in zip(grid.ravel(), PANELS):
        values = {name: columns[column][methods == name] for name in names}
        _histograms(axes, values, log=column.startswith('mse'))
        axes.set(xlabel=label, yticks=[])
    for axes in grid[:, 0]:
        axes.set_ylabel('particles')
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc='outside upper center',
        ncols=min(len(names), 5),
        frameon=False,
        title='vertical line: median',
        title_fontsize=8,
    )
    return figure


def _histograms(axes, values, log):
    everything = np.concatenate(list(values.values()))
    if log:
        everything = everything[everything > 0]
    if not everything.size:
        return
    low, high = everything.min(), everything.max()
    if low == high:
        low, high = low * (1 - 1e-3) - 1e-12, high * (1 + 1e-3) + 1e-12
    edges = np.geomspace(low, high, BINS + 1) if log and low > 0 else np.linspace(low, high, BINS + 1)
    for i, (name, sample) in enumerate(values.items()):
        style = line_style(i)
        axes.hist(sample, edges, histtype='stepfilled', color=style['color'], alpha=0.18)
        axes.hist(
            sample,
            edges,
            histtype='step',
            label=name,
            color=style['color'],
            linestyle=style['linestyle'],
            linewidth=1.5,
        )
        axes.axvline(np.median(sample), color=style['color'], linestyle=style['linestyle'], linewidth=1)
    if log:
        axes.set_xscale('log')
        # Few plain numbers: powers of ten with labelled minor ticks run into each other.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if edges[-1] < 100 * edges[0] else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.xaxis.set_minor_locator(NullLocator())
    tidy(axes)


def column_distribution(table, label, title):
    """Histogram of one number of each particle: column ``label`` of a STAR file. Values far out are counted in the end
    bars, and the picture says how many."""
    values = ParticleTable.read(table).floats(label)
    low, high, outside = shown_range(values)
    figure = new_figure(7, 4)
    axes = figure.subplots()
    _histograms(axes, {title: np.clip(values, low, high)}, log=False)
    axes.set(xlabel=title, ylabel='particles')
    first, median, third = np.percentile(values, [25, 50, 75])
    axes.set_title(f'median {median:.3g}; half of the particles: {first:.3g} to {third:.3g}', fontsize=9)
    if outside:
        axes.annotate(outside, (0.5, -0.2), xycoords='axes fraction', ha='center', fontsize=7, color=GREY)
    return figure
