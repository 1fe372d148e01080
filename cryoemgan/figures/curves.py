"""Curves: training while it runs, and Fourier ring correlation."""

import numpy as np

from .style import GREY, line_style, new_figure, read_columns, tidy

# Panel of the training figure: (title, axis label, words a column name may end with, best value).
PANELS = (
    ('Losses', 'loss', ('loss', 'penalty', 'score'), None),
    ('Error', 'MSE (grey values squared)', ('mse',), np.nanargmin),
    ('Peak signal to noise', 'PSNR (dB)', ('psnr',), np.nanargmax),
    ('Structural similarity', 'SSIM', ('ssim',), np.nanargmax),
    ('Correlation', 'normalised cross-correlation', ('ncc',), np.nanargmax),
)
THRESHOLDS = (0.5, 0.143)


def training_curves(path):
    """Figure of a training run's metrics.csv: a panel each for losses and validation metrics, best values marked.

    path: CSV with a column ``iteration`` (else ``epoch``, else rows are counted) and columns whose names end in
    loss, mse, psnr, ssim or ncc. It may still be written to.
    """
    columns = read_columns(path)
    along = next((name for name in ('iteration', 'epoch') if name in columns), None)
    x = columns[along] if along else np.arange(1, 1 + len(next(iter(columns.values()), [])))
    panels = [(panel, names) for panel in PANELS if (names := _columns_of(panel, columns))]
    if not panels or not len(x):
        return _message('No evaluation yet: the first row of the metrics is still to come.')
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = new_figure(4.6 * across, 3.4 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (panel, names) in zip(grid, panels):
        _training_panel(axes, x, {name: columns[name] for name in names}, panel)
        axes.set_xlabel(along or 'evaluation')
    for axes in grid[len(panels):]:
        axes.set_visible(False)
    return figure


def _columns_of(panel, columns):
    return [name for name, values in columns.items()
            if name.lower().endswith(panel[2]) and np.isfinite(values).any()]


def _training_panel(axes, x, curves, panel):
    title, label, _, best = panel
    for i, (name, values) in enumerate(curves.items()):
        seen = np.isfinite(values)
        text = name.replace('_', ' ')
        if best and seen.any():
            at = best(values)
            axes.plot(x[at], values[at], 'o', color=line_style(i)['color'], markersize=6)
            text += f' (best {values[at]:.4g} at {x[at]:g})'
        axes.plot(x[seen], values[seen], label=text, **line_style(i))
    values = np.concatenate([v[np.isfinite(v)] for v in curves.values()])
    if best is np.nanargmin and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale('log')
    axes.set(title=title, ylabel=label)
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)


def _message(text):
    figure = new_figure(6, 2)
    figure.text(0.5, 0.5, text, ha='center', va='center', color=GREY)
    return figure


def frc_curves(path):
    """Figure of an evaluation's frc.csv: mean Fourier ring correlation with the reference, one curve a method."""
    columns = read_columns(path, text=('method',))
    methods = np.array(columns['method'])
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    for i, method in enumerate(dict.fromkeys(columns['method'])):
        here = (methods == method) & (columns['ring'] > 0)
        frequency, mean, spread = (columns[name][here] for name in ('frequency', 'frc', 'sd'))
        axes.plot(frequency, mean, label=method, **line_style(i))
        axes.fill_between(frequency, mean - spread, mean + spread, color=line_style(i)['color'], alpha=0.12, lw=0)
    last = columns['frequency'].max()
    for threshold in THRESHOLDS:
        axes.axhline(threshold, color=GREY, linewidth=0.9, linestyle=':')
        axes.text(last, threshold + 0.01, f'{threshold:g}', ha='right', color=GREY, fontsize=8)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(xlim=(0, last), ylim=(-0.1, 1.02), xlabel='spatial frequency (1/Å)',
             ylabel='Fourier ring correlation with the reference')
    _resolution_axis(axes, last)
    axes.legend(frameon=False, title='mean of all particles; band: ± 1 s.d.', title_fontsize=8)
    tidy(axes)
    return figure


def _resolution_axis(axes, last):
    top = axes.twiny()
    ticks = last * np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    top.set(xlim=(0, last), xlabel='resolution (Å)')
    top.set_xticks(ticks, [f'{1 / tick:.1f}' for tick in ticks])
    top.spines[['right']].set_visible(False)
