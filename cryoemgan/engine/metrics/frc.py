"""Fourier ring and shell correlation, what else is measured ring by ring, and the resolution that a curve supports.

References: van Heel, Ultramicroscopy 21 (1987) 95; Saxton and Baumeister, J. Microsc. 127 (1982) 127; Harauz and van
Heel, Optik 73 (1986) 146; Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ..imaging.rings import frequencies, ring_sums
from ..shapes import Floats, Images, Volume

# Rosenthal and Henderson 2003: the half-set correlation at which the whole map correlates 0.5 with the truth.
FSC_LIMIT = 0.143


def ring_correlation(images: Images, others: Images) -> Floats:
    """Fourier ring correlation of each pair of images.

    FRC(r) = Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2), sums over the coefficients of ring r.

    Parameters
    ----------
    images, others : float [n, box, box]

    Returns
    -------
    float64 [n, box // 2 + 1]
        0 where a ring holds no power; 1 at ring 0 (means are not compared).
    """
    return _correlation(images, others, dims=2)


def shell_correlation(volume: Volume, other: Volume) -> Floats:
    """Fourier shell correlation of two volumes float [box, box, box]: float64 [box // 2 + 1], as `ring_correlation`."""
    return _correlation(volume[None], other[None], dims=3)[0]


def _correlation(data: Images, others: Images, dims: int) -> Floats:
    axes = tuple(range(1, dims + 1))
    # Less the mean: on a large offset the first rings would be its rounding error.
    f, g = (fft.rfftn(x - x.mean(axes, keepdims=True), axes=axes) for x in (data, others))
    cross = ring_sums(f.real * g.real + f.imag * g.imag, dims)
    power = ring_sums(f.real**2 + f.imag**2, dims) * ring_sums(g.real**2 + g.imag**2, dims)
    found = np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)
    found[:, 0] = 1
    return found


def ring_covariance(images: Images, others: Images) -> Floats:
    """Covariance of two sets of images [n, box, box] by rings: float64 [box // 2 + 1].

    In grey values squared, per pixel of an image: the sum over rings is the covariance of pixels. Ring 0 is left out.
    """
    f, g = (fft.rfft2(x) for x in (images, others))
    found = ring_sums((f.real * g.real + f.imag * g.imag).sum(0)) / (len(images) * images.shape[-1] ** 4)
    found[0] = 0
    return found


def resolution(curve: Floats, threshold: float, pixel_size: float, box: int) -> float | None:
    """Resolution in A where a ring curve, once above a threshold, first falls below it.

    The crossing is interpolated linearly in frequency between rings; ring 0 is not looked at. A CTF leaves little
    signal in the first rings: the curve may start below. One that stays above to the end gives Nyquist (2 pixels),
    one that is never above gives None.
    """
    above = np.flatnonzero(curve[1:] >= threshold)
    if not above.size:
        return None
    frequency = frequencies(box, pixel_size)
    below = np.flatnonzero(curve[1 + above[0] :] < threshold)
    if not below.size:
        return float(1 / frequency[-1])
    ring = 1 + above[0] + below[0]
    part = (curve[ring - 1] - threshold) / (curve[ring - 1] - curve[ring])
    return float(1 / (frequency[ring - 1] + part * (frequency[ring] - frequency[ring - 1])))


def half_map_resolution(half1: Volume, half2: Volume, pixel_size: float, mask: Volume | None = None) -> float | None:
    """Resolution in A at which the FSC of two half maps falls below 0.143, None when it never exceeds it.

    mask: float [box, box, box] in 0..1, soft: a hard edge correlates with itself.
    """
    a, b = (h if mask is None else h * mask for h in (half1, half2))
    return resolution(shell_correlation(a, b), FSC_LIMIT, pixel_size, a.shape[0])
