"""Rings of the Fourier plane: which ring a coefficient belongs to, and how often it counts."""

import numpy as np


def ring_index(box):
    """Ring (nearest integer radius) of each coefficient of rfft2 of a box: int64[box, box // 2 + 1]."""
    ky = np.fft.fftfreq(box, 1 / box)[:, None]
    kx = np.fft.rfftfreq(box, 1 / box)[None, :]
    return np.rint(np.hypot(ky, kx)).astype(np.int64)


def ring_sizes(box):
    """Number of Fourier pixels of the full plane in each ring 0..box // 2.

    The FRC of two independent white-noise images has the s.d. 1 / sqrt(size).
    """
    return np.bincount(ring_index(box).ravel(), multiplicity(box).ravel())[: box // 2 + 1].astype(np.int64)


def frequencies(box, pixel_size):
    """Spatial frequency of each ring in 1/Angstrom, for a pixel size in Angstrom."""
    return np.arange(box // 2 + 1) / (box * pixel_size)


def multiplicity(box):
    """How often a coefficient of the half plane counts in the full plane: 1 on the columns without a twin, else 2."""
    weight = np.full((box, box // 2 + 1), 2)
    weight[:, 0] = 1
    if box % 2 == 0:
        weight[:, -1] = 1
    return weight
