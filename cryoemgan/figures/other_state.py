"""Another state than the map: where it differs, and how many particles show it."""

import numpy as np

from .style import COLOURS, GREY, new_figure, tidy

MORE, LESS = COLOURS[0], COLOURS[1]
LEVELS = (0.35, 0.65)  # of the largest difference


def other_state(density, difference, probability):
    """The map seen along its three axes, with contours of the difference; and the particles' probabilities.

    density, difference: float32 [N, N, N] (z, y, x). probability: float64 [n].
    """
    figure = new_figure(11, 3.2)
    panels = figure.subplots(1, 4)
    largest = max(float(np.abs(difference.sum(k)).max()) for k in range(3)) or 1.0
    for axes, (k, name) in zip(panels, enumerate(('z', 'y', 'x'))):
        axes.imshow(density.sum(k), cmap='gray', origin='lower')
        seen = difference.sum(k) / largest
        for sign, colour in ((1, MORE), (-1, LESS)):
            if (sign * seen).max() > LEVELS[0]:
                axes.contour(sign * seen, levels=LEVELS, colors=colour, linewidths=1.2)
        axes.set_title(f'along {name}', fontsize=9)
        axes.set_axis_off()
    panels[3].hist(probability, np.linspace(0, 1, 41), color=GREY)
    panels[3].set_yscale('log')
    panels[3].set(xlabel='probability of the other state', ylabel='particles')
    tidy(panels[3])
    figure.suptitle('The other state has more density in the blue, less in the orange contours', fontsize=10)
    return figure
