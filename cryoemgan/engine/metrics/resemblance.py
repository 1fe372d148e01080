"""How alike images are: normalised correlation with the own reference, with the nearest, with all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..shapes import Floats, Images
from .frc import ring_covariance


def standardised(images: Images, weight: Images | None = None) -> Images:
    """Images [n, N, N] as rows of mean 0 and norm 1: float [n, N * N]; 0 for a constant image.

    Products of rows are normalised correlations. weight: float [N, N] of the pixels, default all alike.
    """
    flat = images.reshape(len(images), -1)
    if weight is None:
        flat = flat - flat.mean(1, keepdims=True)
    else:
        share = weight.ravel()
        flat = (flat - (flat @ share / share.sum())[:, None]) * np.sqrt(share)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 0, norm, 1)


def correlation(images: Images, references: Images, weight: Images | None = None) -> Floats:
    """Normalised correlation float64 [n] of each image [n, N, N] with its reference; 0 for a constant image."""
    rows, others = standardised(images, weight), standardised(references, weight)
    return np.einsum('ij,ij->i', rows, others, dtype=np.float64)


def nearest(images: Images, references: Images) -> Floats:
    """Correlation float64 [n] of each image with whichever of the references [m, N, N] is most like it."""
    return (standardised(images) @ standardised(references).T).max(1).astype(np.float64)


def rank(images: Images, references: Images) -> Floats:
    """Part [n] of the other references that are less like the image than its own: 1 = own is best, 0.5 = chance."""
    table = standardised(images) @ standardised(references).T
    return (table < np.diag(table)[:, None]).sum(1) / max(1, len(images) - 1)


def separation(values: ArrayLike, others: ArrayLike) -> float:
    """Probability that one of ``values`` is larger than one of ``others``: 1 = told apart, 0.5 = alike."""
    return float((np.asarray(values)[:, None] > np.asarray(others)).mean())


def energy(images: Images) -> float:
    """Mean variance within the images."""
    return float(images.var((1, 2), dtype=np.float64).mean())


def bias(denoised_e: Images, denoised_o: Images, raw_e: Images, raw_o: Images) -> tuple[Floats, Floats]:
    """Bias of a denoiser without ground truth, by rings: (var_B, signal power), float64 [N // 2 + 1] both.

    var_B = cov(De, Do) + cov(Re, Ro) - 2 cov(De, Ro) (Palovcak et al. 2020), symmetrised; cov(Re, Ro) is the signal.
    Noise of e and o must be independent.
    """
    signal = ring_covariance(raw_e, raw_o)
    mixed = ring_covariance(denoised_e, raw_o) + ring_covariance(denoised_o, raw_e)
    return ring_covariance(denoised_e, denoised_o) + signal - mixed, signal


def calibration(expected: Floats, errors: Floats) -> tuple[float, float]:
    """(ratio, correlation): error / expected error, both r.m.s. over images [n], and their correlation (of logs)."""
    ratio = float(np.sqrt(np.mean(errors**2) / np.mean(expected**2)))
    a, b = np.log(np.maximum(expected, 1e-12)), np.log(np.maximum(errors, 1e-12))
    spread = a.std() * b.std()
    return ratio, float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


own = correlation
