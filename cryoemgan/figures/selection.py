"""A selection: the distribution of a score, with the limit drawn."""

import textwrap

import numpy as np
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, GREY, new_figure, tidy

MOST_BINS = 60
# In ranges between the quartiles: what lies further from them is counted in the end bars.
FAR_OUT = 10
KEPT, REJECTED = COLOURS[0], COLOURS[1]


def selection(values, score, limit, sentence):
    """Histogram of a score over the particles, in the colours of kept and rejected.

    values: float64 [n]. score: engine.data.scores.Score. limit: where it is cut. sentence: below the title, what the
    limit rests on and costs. All particles are in the picture: those far out are counted in the last bar, and it says
    so.
    """
    low, high, outside = shown_range(values, limit)
    edges = np.linspace(low, high, int(np.clip(2 * len(values) ** 0.5, 10, MOST_BINS)) + 1)
    # No bar on both sides of the limit.
    edges[np.abs(edges[1:-1] - limit).argmin() + 1] = limit
    edges = np.sort(edges)
    bad = values < limit if score.low_is_bad else values > limit
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for chosen, colour, word in ((~bad, KEPT, 'kept'), (bad, REJECTED, 'rejected')):
        shown = np.clip(values[chosen], low, high)
        axes.hist(shown, edges, color=colour, alpha=0.75, label=f'{word}: {chosen.sum()}')
    axes.axvline(limit, color='black', linewidth=1.4, linestyle='--', label=f'limit: {limit:.4g}')
    axes.set(xlabel=score.axis, ylabel='particles', xlim=(low, high))
    axes.legend(frameon=False, fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(score.title, fontsize=11)
    axes.set_title('\n'.join(textwrap.wrap(sentence, 105)), fontsize=8)
    if outside:
        axes.annotate(outside, (0.5, -0.2), xycoords='axes fraction', ha='center', fontsize=7, color=GREY)
    tidy(axes)
    return figure


def shown_range(values, limit=None):
    """(low, high, sentence or '') of a histogram: all values, or without a few that lie so far out that the rest would
    be a line; the sentence then says how many are counted in the bars at the ends."""
    low, high = (float(v) for v in (values.min(), values.max()))
    inner_low, first, third, inner_high = (float(v) for v in np.percentile(values, [1, 25, 75, 99]))
    if third > first:
        # A tenth of junk may lie a thousand times further out than all others.
        inner_low, inner_high = (
            max(inner_low, first - FAR_OUT * (third - first)), min(inner_high, third + FAR_OUT * (third - first)),
        )  # fmt: skip
    width = max(inner_high - inner_low, 1e-12)
    low, high = max(low, inner_low - width), min(high, inner_high + width)
    if limit is not None:
        low, high = min(low, limit - 0.02 * width), max(high, limit + 0.02 * width)
    if low >= high:
        low, high = low - 0.5, high + 0.5
    below, above = int((values < low).sum()), int((values > high).sum())
    said = [f'{n} {word} {edge:.3g}' for n, word, edge in ((below, 'below', low), (above, 'above', high)) if n]
    ends = [f'{v:.3g}' for v, n in ((values.min(), below), (values.max(), above)) if n]
    return low, high, f'in the end bars: {" and ".join(said)} (as far as {" and ".join(ends)})' if said else ''
