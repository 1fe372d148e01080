"""A mask on the map that it belongs to."""

import numpy as np

from .style import COLOURS, new_figure

PLANES = ('yx', 'zx', 'zy')


def mask_on_map(volume, mask):
    """Central slices of a map with the mask's outline, and the part of the map's power that is inside.

    volume, mask: float [z, y, x]; ValueError when their boxes differ or the mask is empty.
    """
    if volume.shape != mask.shape:
        raise ValueError(f'The mask has {mask.shape[-1]} px, the map {volume.shape[-1]} px: make a mask of this map.')
    if not (mask > 0.5).any():
        raise ValueError('The mask is empty: it has no value above 0.5.')
    inside = float((volume**2 * np.clip(mask, 0, 1)).sum() / max(float((volume**2).sum()), 1e-30))
    figure = new_figure(9, 3.6)
    low, high = np.percentile(volume, [0.5, 99.8])
    for axis, (axes, plane) in enumerate(zip(figure.subplots(1, 3), PLANES)):
        cut, outline = (np.take(v, v.shape[axis] // 2, axis) for v in (volume, mask))
        axes.imshow(cut, cmap='gray', vmin=low, vmax=high, origin='lower')
        if (outline > 0.5).any() and (outline <= 0.5).any():
            axes.contour(outline, [0.5], colors=COLOURS[1], linewidths=1.4)
        axes.set_title(f'central slice {plane}', fontsize=9)
        axes.set_axis_off()
    part = float((mask > 0.5).mean())
    figure.suptitle(
        f'Outline: where the mask is 0.5. It holds {part:.1%} of the box and {inside:.0%} of the power of the map',
        fontsize=9,
    )
    return figure
