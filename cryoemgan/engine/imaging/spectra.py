"""Power spectra of noise: measured, by rings of the Fourier plane; noise drawn from them; and whitening.

Power is 1 for white noise of variance 1, whatever the box. Two measures: `ring_power` takes images for what they are,
`corner_power` looks only outside the particle's circle, where no particle is, and needs no reference. A network that
learns from noisy images alone must not be able to predict the noise of a pixel from its neighbours: detector, ice and
interpolation correlate them, and dividing the spectrum by the root of the noise's makes them independent again, as far
as the noise is stationary and its spectrum isotropic.
"""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.stats import kurtosis

from ..shapes import Floats, Images
from .maps import soft_circle
from .rings import Grid, on_grid, ring_means

# Longest distance (parts of the box) over which noise is taken to be correlated; the corners hold no longer ones.
REACH = 1 / 8
# A frequency with less noise than this part of the mean is not amplified further: there is nothing to whiten.
FLOOR = 0.02
# Images transformed together: their spectra take twice their memory.
TOGETHER = 64


def ring_power(images: Images) -> Floats:
    """Mean power of images float [n, N, N] by rings, corners included: float64 [rings].

    Ring 0 holds the squared mean grey.
    """
    box = images.shape[-1]
    power = np.zeros((box, box // 2 + 1))
    for start in range(0, len(images), TOGETHER):
        power += np.square(np.abs(fft.rfft2(images[start : start + TOGETHER]))).sum(0)
    return ring_means(power, corners=True) / (len(images) * box**2)


def corner_weight(box: int) -> Images:
    """Weight float32 [N, N] of what lies outside the particle's circle."""
    return 1 - soft_circle(box)


def autocovariance(images: Images, weight: Images) -> Floats:
    """Autocovariance of images [n, N, N] seen through a weight [N, N]: float64 [2N, 2N], lag 0 first.

    Each image loses its own weighted mean. Unbiased for every lag that the weight holds; elsewhere 0.
    """
    box = images.shape[-1]
    shape = (2 * box, 2 * box)
    mean = np.einsum('nij,ij->n', images, weight, dtype=np.float64) / weight.sum()
    power = np.zeros((2 * box, box + 1))
    for start in range(0, len(images), TOGETHER):
        part = slice(start, start + TOGETHER)
        spectra = fft.rfft2((images[part] - mean[part, None, None]) * weight, s=shape)
        power += np.square(np.abs(spectra)).sum(0)
    pairs = fft.irfft2(np.square(np.abs(fft.rfft2(weight, s=shape))), s=shape)
    total = fft.irfft2(power / len(images), s=shape)
    return np.divide(total, pairs, out=np.zeros(shape), where=pairs > 1e-6 * pairs.max())


def corner_power(images: Images) -> Floats:
    """Power of the noise in the corners of images [n, N, N] by rings: float64 [rings], as `ring_power`."""
    box = images.shape[-1]
    found = autocovariance(images, corner_weight(box))
    lag = fft.fftfreq(2 * box) * 2 * box
    distance = np.hypot(lag[:, None], lag) / (REACH * box)
    # A Hann window over the lags smooths the spectrum and keeps it from going below zero.
    found *= np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0)
    short = found[np.ix_(*2 * [np.r_[: (box + 1) // 2, -(box // 2) : 0]])]
    power = ring_means(fft.rfft2(short).real, corners=True)
    return np.maximum(power, FLOOR * power.mean())


def neighbour_correlation(images: Images) -> float:
    """Correlation of the noise of pixels side by side, in the corners of images [n, N, N]; 0 for white noise.

    The larger (in size) of that along x and along y.
    """
    found = autocovariance(images, corner_weight(images.shape[-1]))
    return float(max(found[0, 1], found[1, 0], key=abs) / found[0, 0])


def excess_kurtosis(images: Images) -> float:
    """Of the noise in the corners of images [n, N, N], each with its own mean and s.d.; mean over images.

    0 for Gaussian noise, above for noise with outliers.
    """
    outside = corner_weight(images.shape[-1]) > 0.5
    return float(np.mean(kurtosis(images[:, outside], axis=1, bias=False)))


def filtered(images: Images, gains: Floats | Grid) -> Images:
    """Images [..., N, N] with their Fourier coefficients multiplied: float32 [..., N, N].

    gains: of each ring [rings], or of each coefficient [..., N, N // 2 + 1] (a CTF).
    """
    box = images.shape[-1]
    gains = np.asarray(gains)
    spectra = fft.rfft2(images) * (on_grid(gains, box) if gains.ndim == 1 else gains)
    return fft.irfft2(spectra, s=(box, box)).astype(np.float32)


def coloured_noise(rng: np.random.Generator, count: int, box: int, power: Floats | Grid) -> Images:
    """Gaussian noise float32 [count, box, box] of a given power: of each ring, or of each coefficient."""
    white = rng.standard_normal((count, box, box), dtype=np.float32)
    return filtered(white, np.sqrt(power).astype(np.float32))
