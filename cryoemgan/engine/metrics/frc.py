"""Fourier ring correlation of pairs of images, and the resolution at which it falls below a threshold."""

import numpy as np
from scipy import fft

from ..imaging.rings import frequencies, multiplicity, ring_index


class RingCorrelation:
    """FRC of batches of image pairs of one box (van Heel 1987; Saxton and Baumeister 1982).

    FRC(r) = Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2), sums over the Fourier pixels of ring r.
    """

    def __init__(self, box):
        self.box = box
        ring = ring_index(box).ravel()
        order = np.argsort(ring, kind='stable')
        # Corners beyond the last full ring are left out.
        self._order = order[ring[order] <= box // 2]
        self._starts = np.searchsorted(ring[self._order], np.arange(box // 2 + 1))
        self._weight = multiplicity(box).ravel()[self._order].astype(np.float32)

    def __call__(self, images, others):
        """FRC of each pair: [n, box, box] twice -> float64[n, box // 2 + 1]; 0 where a ring holds no power."""
        a, b = self._sorted_transform(images), self._sorted_transform(others)
        cross = self._ring_sums(a.real * b.real + a.imag * b.imag)
        power = self._ring_sums(a.real**2 + a.imag**2) * self._ring_sums(b.real**2 + b.imag**2)
        return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)

    def _sorted_transform(self, images):
        # Less the mean: on a large offset the first rings would be its rounding error. Ring 0 is then set to 1.
        spectrum = fft.rfft2(images - images.mean((1, 2), keepdims=True))
        spectrum[:, 0, 0] = 1
        return spectrum.reshape(len(images), -1)[:, self._order]

    def _ring_sums(self, values):
        return np.add.reduceat(values * self._weight, self._starts, axis=1, dtype=np.float64)


def resolution(curve, threshold, pixel_size, box):
    """Resolution in Angstrom where a ring curve, once above a threshold, first falls below it.

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
