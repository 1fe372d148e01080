"""Figures of an audit: lights, what comes out of noise, whether the uncertainty holds, bias by resolution, pictures."""

import textwrap

import numpy as np

from .style import GREY, line_style, new_figure, tidy

# Here and on the audit's page; the words always stand beside them.
LIGHTS = {'green': '#009E73', 'yellow': '#E6B800', 'red': '#D55E00'}


def lights(rows, verdict):
    """The traffic lights as a picture. rows: [(colour, measure, value, limits, sentence)]; verdict: (colour, words)."""
    figure = new_figure(9, 0.62 * len(rows) + 0.9, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9), ylim=(len(rows) + 0.9, -0.55))
    axes.set_axis_off()
    lines = [(*verdict, '', '', ''), *rows]
    for i, (colour, measure, value, limits, sentence) in enumerate(lines):
        size = 14 if i == 0 else 9
        axes.plot(0.25, i, 'o', color=LIGHTS[colour], markersize=size)
        # Colours alone are not for every eye.
        axes.text(0.45, i, colour.upper() if i == 0 else colour, va='center', fontsize=9, weight='bold')
        axes.text(1.2, i, textwrap.fill(measure, 90 if i == 0 else 32), va='center', fontsize=9)
        axes.text(3.75, i, value, va='center', ha='right', fontsize=9)
        axes.text(3.9, i, limits, va='center', fontsize=7, color=GREY)
        axes.text(5.05, i, textwrap.fill(sentence, 62), va='center', fontsize=8)
    return figure


def correlations(nearest_real, nearest_noise):
    """Histograms of the correlation with the most similar reference: of denoised particles and of denoised noise."""
    figure = new_figure(5.2, 3.4)
    axes = figure.subplots()
    both = np.concatenate([nearest_real, nearest_noise])
    bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-3), 31)
    for i, (values, label) in enumerate(((nearest_real, 'denoised particles'), (nearest_noise, 'denoised noise'))):
        colour = line_style(i)['color']
        axes.hist(values, bins, color=colour, alpha=0.45, label=f'{label} (median {np.median(values):.2f})')
        axes.axvline(np.median(values), color=colour, linewidth=1.5, linestyle=line_style(i)['linestyle'])
    axes.set(xlabel='correlation with the most similar reference', ylabel='images')
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    return figure


def calibration(expected, errors):
    """True error of denoised simulations against the error that their uncertainty announced."""
    figure = new_figure(4.2, 3.6)
    axes = figure.subplots()
    axes.plot(expected, errors, '.', color=line_style(0)['color'], alpha=0.5, markersize=4)
    end = 1.05 * max(expected.max(), errors.max())
    axes.plot([0, end], [0, end], color=GREY, linewidth=1, label='error = expected error')
    axes.set(xlim=(0, end), ylim=(0, end), xlabel='expected error (grey values)', ylabel='true error (grey values)')
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    return figure


def bias(frequency, variance, signal, noise_frc):
    """Bias and signal by resolution; FRC of the average of denoised noise with the average reference."""
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    for i, (values, label) in enumerate(((signal, 'signal'), (variance, 'bias'))):
        shown = np.where(values > 0, values, np.nan)
        left.plot(frequency[1:], shown[1:], label=label, **line_style(i))
    left.set_yscale('log')
    left.set(xlabel='spatial frequency (1/Å)', ylabel='variance (grey values squared)')
    left.legend(frameon=False, fontsize=8)
    right.plot(frequency[1:], noise_frc[1:], **line_style(0))
    right.set(ylim=(-0.5, 1.02), xlabel='spatial frequency (1/Å)', ylabel='FRC')
    right.set_title('average of denoised noise with average reference', fontsize=9)
    for axes in (left, right):
        tidy(axes)
    return figure


def opinion(frequency, found):
    """FRC of the outputs of two models, and the weight that the second deserves, by resolution: on particles and on
    simulations of the references. found: {'frc', 'frc_simulations', 'weights', 'weights_simulations'}."""
    figure = new_figure(8.4, 3.4)
    for axes, name, label in zip(
        figure.subplots(1, 2), ('frc', 'weights'), ('FRC of the two models', 'weight of the second opinion')
    ):
        for i, (key, words) in enumerate(
            ((f'{name}_simulations', 'simulations of the references'), (name, 'particles'))
        ):
            axes.plot(frequency[1:], found[key][1:], label=words, **line_style(i))
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set(xlabel='spatial frequency (1/Å)', ylabel=label)
        axes.legend(frameon=False, fontsize=8)
        tidy(axes)
    return figure


def strips(images, rows):
    """Pictures: one line an image, one column a kind of it. images: {title: float[n, N, N]}; rows: which n.

    An expected error is shown beside the contrast (s.d.) of what was denoised, so that its colour means the same in all
    lines, and an error that is the same everywhere does not look like a large one.
    """
    figure = new_figure(1.35 * len(images), 1.35 * len(rows) + 0.3, layout=None)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.25 / (1.35 * len(rows) + 0.3), 0.04, 0.04)
    for line, row in zip(grid, rows):
        for axes, (title, stack) in zip(line, images.items()):
            image = stack[row]
            low, high = np.percentile(image, [0.5, 99.5])
            errors = title == 'expected error'
            if errors:
                low, high = 0, max(float(images['denoised'][row].std()), np.finfo(np.float32).tiny)
            axes.imshow(image, cmap='viridis' if errors else 'gray', vmin=low, vmax=high,
                        origin='lower', interpolation='nearest')  # fmt: skip
            axes.set_axis_off()
            if errors:
                # The only pictures whose brightness is a number.
                axes.text(0.03, 0.03, f'yellow: {high:.2g}', color='white', fontsize=6, transform=axes.transAxes,
                          bbox={'facecolor': 'black', 'alpha': 0.6, 'linewidth': 0, 'pad': 1})  # fmt: skip
            if row == rows[0]:
                axes.set_title(title, fontsize=8, pad=2)
    return figure
