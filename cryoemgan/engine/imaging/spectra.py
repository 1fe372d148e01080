"""Noise measured without references: from the corners of the boxes, where no particle is; and the filter that whitens.

A network that learns from noisy images alone must not be able to predict the noise of a pixel from its neighbours.
Detector, ice and interpolation correlate neighbouring pixels; dividing the spectrum by the root of the noise's makes
them independent again, as far as the noise is stationary and its spectrum isotropic.
"""

import numpy as np
from scipy import fft

from ..imaging.rings import ring_index
from .maps import soft_circle

# Longest distance (parts of the box) over which noise is taken to be correlated; the corners hold no longer ones.
REACH = 1 / 8
# A frequency with less noise than this part of the mean is not amplified further: there is nothing to whiten.
FLOOR = 0.02


def autocovariance(images, weight):
    """Autocovariance of images [n, N, N] seen through a weight [N, N]: float64 [2N, 2N], lag 0 first.

    Each image loses its own weighted mean. Unbiased for every lag that the weight holds; elsewhere 0.
    """
    box = images.shape[-1]
    shape = (2 * box, 2 * box)
    mean = np.einsum('nij,ij->n', images, weight, dtype=np.float64) / weight.sum()
    power = np.zeros((2 * box, box + 1))
    for part in np.array_split(np.arange(len(images)), -(-len(images) // 64)):
        spectra = fft.rfft2((images[part] - mean[part, None, None]) * weight, s=shape)
        power += np.square(np.abs(spectra)).sum(0)
    pairs = fft.irfft2(np.square(np.abs(fft.rfft2(weight, s=shape))), s=shape)
    total = fft.irfft2(power / len(images), s=shape)
    return np.divide(total, pairs, out=np.zeros(shape), where=pairs > 1e-6 * pairs.max())


def background(box):
    """Weight float32[N, N] of what lies outside the particle's circle."""
    return 1 - soft_circle(box)


def noise_power(images):
    """Power of the noise by rings, float64 [rings of `ring_index`], 1 for white noise of variance 1; from the corners
    of images [n, N, N]."""
    box = images.shape[-1]
    found = autocovariance(images, background(box))
    lag = fft.fftfreq(2 * box) * 2 * box
    distance = np.hypot(lag[:, None], lag) / (REACH * box)
    # A Hann window over the lags smooths the spectrum and keeps it from going below zero.
    found *= np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0)
    short = found[np.ix_(*2 * [np.r_[: (box + 1) // 2, -(box // 2) : 0]])]
    ring = ring_index(box)
    power = np.bincount(ring.ravel(), fft.rfft2(short).real.ravel()) / np.bincount(ring.ravel())
    return np.maximum(power, FLOOR * power.mean())


def neighbour_correlation(images):
    """Correlation of the noise of pixels side by side, of the corners of images [n, N, N]; 0 for white noise. The
    larger (in size) of that along x and along y."""
    found = autocovariance(images, background(images.shape[-1]))
    return float(max(found[0, 1], found[1, 0], key=abs) / found[0, 0])


def filtered(images, gains):
    """Images [..., N, N] (numpy) with the gains of each ring of `ring_index` [rings] applied; float32."""
    box = images.shape[-1]
    spectra = fft.rfft2(images) * np.asarray(gains)[ring_index(box)]
    return fft.irfft2(spectra, s=(box, box)).astype(np.float32)
