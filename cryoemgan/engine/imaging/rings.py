"""Rings of the Fourier plane and shells of Fourier space: sums and means over them, and back onto the grid.

Everything is on the half grid of a real transform, ``rfft2`` or ``rfftn``, of a square or cubic box. Ring r holds the
coefficients whose distance from the origin rounds to r; the last ring that fits into the box is ``box // 2``, beyond it
lie the corners.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shapes import Floats

# Values on the half grid of a real transform, [..., box, box // 2 + 1].
Grid = NDArray[Any]


def ring_index(box: int, dims: int = 2) -> NDArray[np.int64]:
    """Ring of each coefficient of ``rfft2`` (dims = 2) or ``rfftn`` of a cube (dims = 3), corners included.

    Returns int64 [box, box // 2 + 1] or [box, box, box // 2 + 1].
    """
    squared = np.square(np.fft.rfftfreq(box, 1 / box))
    for _ in range(dims - 1):
        whole = np.square(np.fft.fftfreq(box, 1 / box))
        squared = whole.reshape(-1, *(1,) * squared.ndim) + squared
    return np.rint(np.sqrt(squared)).astype(np.int64)


def multiplicity(box: int) -> NDArray[np.float32]:
    """How often a column of the half grid counts in the whole: 1 for those that are their own twins, else 2.

    Returns float32 [box // 2 + 1].
    """
    weight = np.full(box // 2 + 1, 2, np.float32)
    weight[0] = 1
    if box % 2 == 0:
        weight[-1] = 1
    return weight


def ring_sums(values: Grid, dims: int = 2, corners: bool = False) -> Floats:
    """Sums over the rings of the whole Fourier plane (or space).

    Parameters
    ----------
    values : real [..., box, box // 2 + 1], or [..., box, box, box // 2 + 1] for ``dims`` = 3
        What is summed, on the half grid.
    corners : bool
        Also the rings beyond ``box // 2``, which lie in the corners and are not complete.

    Returns
    -------
    float64 [..., rings]
        ``box // 2 + 1`` rings without corners.
    """
    box = values.shape[-2]
    ring = ring_index(box, dims).ravel()
    rings = int(ring.max()) + 1
    weighted = (values * multiplicity(box)).reshape(-1, ring.size)
    sums = np.array([np.bincount(ring, row, rings) for row in weighted])
    return sums.reshape(*values.shape[:-dims], rings)[..., : None if corners else box // 2 + 1]


def ring_sizes(box: int, dims: int = 2, corners: bool = False) -> NDArray[np.int64]:
    """Number of coefficients of the whole plane (or space) in each ring, int64 [rings] as in `ring_sums`.

    The correlation of two images of independent white noise in a ring has the s.d. 1 / sqrt(size).
    """
    ones = np.ones((*(box,) * (dims - 1), box // 2 + 1), np.float32)
    return ring_sums(ones, dims, corners).astype(np.int64)


def ring_means(values: Grid, dims: int = 2, corners: bool = False) -> Floats:
    """Means over the rings of the whole Fourier plane (or space), float64 [..., rings]; arguments as `ring_sums`."""
    return ring_sums(values, dims, corners) / ring_sizes(values.shape[-2], dims, corners)


def on_grid(curve: Floats, box: int) -> Grid:
    """Values of rings [..., rings] on the half grid [..., box, box // 2 + 1]; the last one goes on into the corners."""
    return curve[..., np.minimum(ring_index(box), curve.shape[-1] - 1)]


def frequencies(box: int, pixel_size: float) -> Floats:
    """Spatial frequency of each ring 0 .. box // 2 in 1/A, for a pixel size in A."""
    return np.arange(box // 2 + 1) / (box * pixel_size)
