"""Curves: training while it runs, and Fourier ring correlation."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .style import GREY, line_style, new_figure, read_columns, tidy

# Panels of the training figure: (title, axis label, words in the names of its columns, best value).
PANELS = (
    ('Reconstruction', 'loss', {'reconstruction', 'loss'}, None),
    ('Validation error', 'MSE (network units squared)', {'mse'}, np.nanargmin),
    ('Validation PSNR', 'PSNR (dB)', {'psnr'}, np.nanargmax),
    ('Validation similarity', 'SSIM', {'ssim'}, np.nanargmax),
    ('Adversary', 'score', {'adversary', 'score', 'penalty'}, None),
    ('Discriminator', 'mean answer D', {'d'}, None),
    ('Gradients', 'norm', {'gradient'}, None),
    ('Learning rates', 'learning rate', {'rate'}, None),
)
ACROSS = 4
# Words of the panels that a curriculum of the noise changes.
NOISY = {'reconstruction', 'gradient'}
RATES = {'learning_rate_generator', 'learning_rate_discriminator'}
THRESHOLDS = (0.5, 0.143)


def training_curves(path):
    """Figure of a training run's metrics.csv: losses, validation metrics with their best values, the adversary.

    path: CSV with a column ``iteration`` (else ``epoch``, else rows are counted) and any of the columns of PANELS;
    columns of fewer than two points, and those of an adversary that does not take part, are left out. A column
    ``member`` tells the networks of a cross-fitted run apart: each has its own curve. It may still be written to.
    Where training began with weaker noise (column ``noise_level``), that part is shaded: until its end the loss rises
    with the noise, and falls no less than it seems.
    """
    columns = read_columns(path, text=('member',))
    members = np.array(columns.pop('member', []))
    along = next((name for name in ('iteration', 'epoch') if name in columns), None)
    x = columns[along] if along else np.arange(1, 1 + len(next(iter(columns.values()), [])))
    for name in RATES & set(columns):
        # No step was made with the rate that stands there before the first: it would be a peak before the warm-up.
        columns[name] = np.where(x > 0, columns[name], np.nan) if along == 'iteration' else columns[name]
    panels = [(panel, names) for panel in PANELS if (names := _columns_of(panel, columns))]
    if not panels:
        count = len(np.unique(x))
        return _message(f'{count} evaluation{"s" * (count != 1)} made: a curve needs two.')
    across = min(len(panels), ACROSS)
    down = -(-len(panels) // across)
    figure = new_figure(4.4 * across, 3.3 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    weaker = _end_of_weaker_noise(x, columns.get('noise_level'), members)
    for axes, (panel, names) in zip(grid, panels):
        _training_panel(axes, x, _by_member({name: columns[name] for name in names}, members), panel)
        axes.set_xlabel(along or 'evaluation')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if weaker and panel[2] & NOISY:
            axes.axvspan(0, weaker, color=GREY, alpha=0.12, lw=0, label='noise still below full strength')
            axes.legend(fontsize=8, frameon=False)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def _by_member(curves, members):
    """A curve a member, NaN in the others' rows; curves as they are when there is only one."""
    names = list(dict.fromkeys(members))
    if len(names) < 2:
        return curves
    return {f'{c} {m}': np.where(members == m, values, np.nan) for c, values in curves.items() for m in names}


def _columns_of(panel, columns):
    return [
        name
        for name, values in columns.items()
        if panel[2] & set(name.lower().split('_')) and _is_curve(columns, values) and not _unused(name, columns)
    ]


def _is_curve(columns, values):
    """Whether some network has two points or more: one point is no curve."""
    x = columns.get('iteration', columns.get('epoch', np.arange(len(values))))
    return len(np.unique(x[np.isfinite(values)])) > 1


def _unused(name, columns):
    """Whether a column belongs to an adversary that does not take part."""
    adversary = [np.nan_to_num(values).any() for other, values in columns.items() if 'adversary' in other]
    return bool(adversary) and not any(adversary) and ('adversary' in name or 'discriminator' in name)


def _end_of_weaker_noise(x, level, members):
    """Where on x the noise of the training pairs reached full strength, so far at least; None when it always had it.

    level: of the noise, in units of the data's, at each evaluation; None when the run did not say.
    """
    if level is None:
        return None
    mine = members == members[0] if len(members) else np.ones(len(x), bool)
    x, weaker = x[mine], level[mine] < 1
    return float(x[min(np.flatnonzero(weaker)[-1] + 1, len(x) - 1)]) if weaker.any() else None


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
        axes.text(1.01, threshold, f'{threshold:g}', transform=axes.get_yaxis_transform(), va='center', color=GREY)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(
        xlim=(0, last),
        ylim=(-0.1, 1.02),
        xlabel='spatial frequency (1/Å)',
        ylabel='Fourier ring correlation with the reference',
    )
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


def half_map_fsc(frequency, fsc):
    """Figure of a refinement's Fourier shell correlation. frequency: 1/Å; both float64 [k]."""
    figure = new_figure(7.2, 3.8)
    axes = figure.subplots()
    axes.plot(frequency, fsc, **line_style(0))
    axes.axhline(0.143, color=GREY, linewidth=0.9, linestyle=':')
    axes.text(1.01, 0.143, '0.143', transform=axes.get_yaxis_transform(), va='center', color=GREY)
    axes.set(xlim=(0, frequency.max()), ylim=(-0.1, 1.02), xlabel='spatial frequency (1/Å)', ylabel='FSC of half maps')
    _resolution_axis(axes, frequency.max())
    tidy(axes)
    return figure
