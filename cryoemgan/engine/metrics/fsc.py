"""Fourier shell correlation of two half maps, and the resolution that it supports."""

import numpy as np
from scipy import fft

from .frc import resolution

# Rosenthal and Henderson 2003: the half-set correlation at which the whole map correlates 0.5 with the truth.
FSC_LIMIT = 0.143


def shell_correlation(a, b):
    """FSC of two volumes float[N, N, N]: float64[N // 2 + 1], one value a shell of whole radius; 0 without power.

    FSC(r) = Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2) over the Fourier voxels of shell r (Harauz and van Heel
    1986).
    """
    box = a.shape[0]
    k, kx = fft.fftfreq(box, 1 / box), fft.rfftfreq(box, 1 / box)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2)
    shell = np.rint(radius).astype(np.int64).ravel()
    # Coefficients off the plane kx = 0 (and Nyquist) stand for two.
    twice = np.full(len(kx), 2.0)
    twice[0] = 1.0
    if box % 2 == 0:
        twice[-1] = 1.0
    f, g = (fft.rfftn(v - v.mean()) for v in (a, b))

    def total(values):
        return np.bincount(shell, (values * twice).ravel())[: box // 2 + 1]

    cross = total(f.real * g.real + f.imag * g.imag)
    power = total(f.real**2 + f.imag**2) * total(g.real**2 + g.imag**2)
    return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)


def half_map_resolution(half1, half2, pixel_size, mask=None):
    """Resolution in A at which the FSC of two half maps falls below 0.143, None when it never exceeds it.

    mask: float[N, N, N] in 0..1, soft: a hard edge correlates with itself.
    """
    a, b = (h if mask is None else h * mask for h in (half1, half2))
    return resolution(shell_correlation(a, b), FSC_LIMIT, pixel_size, a.shape[0])
