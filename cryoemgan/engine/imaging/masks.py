"""A soft mask from a map itself, for the FSC of its half maps: outside a molecule these hold nothing but noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..shapes import Flags, Floats, Volume
from .maps import lowpass

# The map is looked at so coarsely (A, or pixels): noise of a half map does not reach above the threshold then.
COARSE, COARSE_PIXELS = 20.0, 6.0
# The mask goes this far beyond the threshold, and falls to 0 over as much again (A, but at least pixels): a hard or
# tight edge correlates with itself.
MARGIN, MARGIN_PIXELS = 8.0, 3.0
BINS = 256
# Parts with less than this share of the largest one's voxels are noise.
LEAST_PART = 0.05


def soft_mask(volume: Volume, pixel_size: float) -> Volume:
    """A mask float32 [N, N, N], 0 to 1, around what is dense in a map.

    Dense is what lies above the middle between the background of the coarse map and Otsu's threshold, which alone cuts
    weak parts off.

    pixel_size: A.
    """
    coarse = lowpass(volume, pixel_size, max(COARSE, COARSE_PIXELS * pixel_size))
    inside = _ball(len(volume))
    background = float(np.median(coarse[inside]))
    dense = _without_specks((coarse > (background + otsu_threshold(coarse[inside])) / 2) & inside)
    margin = max(MARGIN, MARGIN_PIXELS * pixel_size) / pixel_size
    away = ndimage.distance_transform_edt(~dense)
    edge = ((away - margin) / margin).clip(0, 1)
    found: Volume = (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)
    return found


def otsu_threshold(values: Floats) -> float:
    """The threshold that parts values into two classes as far apart as can be (Otsu, IEEE Trans. SMC 9 (1979) 62)."""
    counts, edges = np.histogram(values, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * centres).cumsum()
    with np.errstate(divide='ignore', invalid='ignore'):
        between = (sums[-1] * below / total - sums) ** 2 / (below * (total - below))
    return float(edges[1 + np.nanargmax(between[:-1])])


def _ball(box: int) -> Flags:
    x = np.square(np.arange(box) - box // 2)
    found: Flags = x[:, None, None] + x[:, None] + x <= (box // 2) ** 2
    return found


def _without_specks(dense: Flags) -> Flags:
    parts, count = ndimage.label(dense)
    if count < 2:
        return dense
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= LEAST_PART * sizes.max())[parts]
