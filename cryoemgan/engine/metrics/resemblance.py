"""What an audit measures on images."""

import numpy as np
from scipy import fft

from ..imaging.rings import ring_index


def unit(images):
    """Images [n, N, N] as rows of mean 0 and norm 1: float32[n, N * N]; their products are correlations."""
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 0, norm, 1)


def own(images, references):
    """Correlation float64[n] of each image with its reference."""
    return np.einsum('ij,ij->i', unit(images), unit(references), dtype=np.float64)


def nearest(images, references):
    """Correlation [n] of each image with whichever of the references [m, N, N] is most like it."""
    return (unit(images) @ unit(references).T).max(1).astype(np.float64)


def rank(images, references):
    """Part [n] of the other references that are less like the image than its own: 1 = own is best, 0.5 = chance."""
    table = unit(images) @ unit(references).T
    return (table < np.diag(table)[:, None]).sum(1) / max(1, len(images) - 1)


def separation(values, others):
    """Probability that one of ``values`` is larger than one of ``others``: 1 = told apart, 0.5 = alike."""
    return float((np.asarray(values)[:, None] > np.asarray(others)).mean())


def energy(images):
    """Mean variance within the images."""
    return float(images.var((1, 2), dtype=np.float64).mean())


def ring_covariance(a, b):
    """Covariance of two sets of images [n, N, N] by Fourier rings, float64[N // 2 + 1]: per pixel, ring 0 left out."""
    box = a.shape[-1]
    ring = ring_index(box)
    weight = np.full(box // 2 + 1, 2.0)
    weight[0] = 1
    if box % 2 == 0:
        weight[-1] = 1
    f, g = (fft.rfft2(x) for x in (a, b))
    cross = (f.real * g.real + f.imag * g.imag).sum(0) * weight
    found = np.bincount(ring.ravel(), cross.ravel())[: box // 2 + 1] / (len(a) * box**4)
    found[0] = 0
    return found


def bias(denoised_e, denoised_o, raw_e, raw_o):
    """Bias of a denoiser without ground truth, by rings: (var_B, signal power), float64[N // 2 + 1] both.

    var_B = cov(De, Do) + cov(Re, Ro) - 2 cov(De, Ro) (Palovcak et al. 2020), symmetrised; cov(Re, Ro) is the signal.
    Noise of e and o must be independent.
    """
    signal = ring_covariance(raw_e, raw_o)
    mixed = ring_covariance(denoised_e, raw_o) + ring_covariance(denoised_o, raw_e)
    return ring_covariance(denoised_e, denoised_o) + signal - mixed, signal


def calibration(expected, errors):
    """(ratio, correlation): error / expected error, both r.m.s. over images [n], and their correlation (of logs)."""
    ratio = float(np.sqrt(np.mean(errors**2) / np.mean(expected**2)))
    a, b = np.log(np.maximum(expected, 1e-12)), np.log(np.maximum(errors, 1e-12))
    spread = a.std() * b.std()
    return ratio, float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
