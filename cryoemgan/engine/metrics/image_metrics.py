"""How close an image is to its reference: MSE, PSNR, SSIM, normalised cross-correlation, raw and after an affine fit.

Everything works on batches ``[n, box, box]`` and gives one number an image. ``affine`` metrics are those of
``gain * image + offset`` with the gain and offset that minimise the MSE of that image: they forgive a wrong grey
scale, which raw metrics punish more than noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..shapes import Floats, Images

# Wang et al. 2004: Gaussian window of s.d. 1.5 px cut at 3.5 s.d. (11 px), K1 = 0.01, K2 = 0.03.
SSIM_SIGMA, SSIM_RADIUS, SSIM_K1, SSIM_K2 = 1.5, 5, 0.01, 0.03
# Images are float32: above this a PSNR is rounding error, and an infinite one would spoil every mean.
PSNR_LIMIT = 120.0
NAMES = ('mse', 'psnr', 'ssim', 'ncc')


def psnr(mse: ArrayLike, data_range: float) -> Floats:
    """Peak signal-to-noise ratio 10 log10(L^2 / MSE) in dB, at most 120."""
    with np.errstate(divide='ignore'):
        return np.minimum(10 * np.log10(data_range**2 / np.asarray(mse, np.float64)), PSNR_LIMIT)


def compare(images: Images, references: Images, data_range: float) -> dict[str, Floats]:
    """Every metric of every image.

    images, references: [n, box, box] with box >= 11 px; data_range: the L of PSNR and SSIM.
    Returns a dict of float64[n]: mse, psnr, ssim, ncc, the same with ``_affine``, gain, offset. ncc is 0 where an
    image is constant. Raises ValueError for unequal shapes.
    """
    m = _Moments(images, references)
    gain, offset = _fit(m)
    spread = np.sqrt(m.var_x * m.var_y)
    ncc = np.divide(m.cov, spread, out=np.zeros_like(m.cov), where=spread > 0)
    mse = m.var_x + m.var_y - 2 * m.cov + (m.mean_x - m.mean_y) ** 2
    # The difference above cancels when the images are nearly equal: take those from the pixels.
    close = mse < 1e-4 * (m.var_x + m.var_y)
    if close.any():
        mse[close] = np.mean((m.x[close] + (m.mean_x - m.mean_y)[close, None, None] - m.y[close]) ** 2, (1, 2))
    mse_affine = np.maximum(m.var_y * (1 - ncc**2), 0)
    ssim, ssim_affine = _ssim(m, [(1.0, 0.0), (gain, offset)], data_range)
    return {
        'mse': mse,
        'psnr': psnr(mse, data_range),
        'ssim': ssim,
        'ncc': ncc,
        'mse_affine': mse_affine,
        'psnr_affine': psnr(mse_affine, data_range),
        'ssim_affine': ssim_affine,
        'ncc_affine': np.abs(ncc),
        'gain': gain,
        'offset': offset,
    }


class _Moments:
    """Means, variances and covariance of image (x) and reference (y), and both images less their means."""

    def __init__(self, images: Images, references: Images) -> None:
        if images.shape != references.shape or images.ndim != 3:
            raise ValueError(f'images {images.shape} and references {references.shape} must be equal [n, box, box]')
        self.mean_x, self.mean_y = (np.mean(a, (1, 2), dtype=np.float64) for a in (images, references))
        # Less the mean first: E[x^2] - E[x]^2 would lose everything on a large offset.
        self.x = images - self.mean_x[:, None, None]
        self.y = references - self.mean_y[:, None, None]
        self.var_x, self.var_y, self.cov = (
            np.einsum('nij,nij->n', a, b) / a[0].size for a, b in ((self.x, self.x), (self.y, self.y), (self.x, self.y))
        )


def _fit(m: _Moments) -> tuple[Floats, Floats]:
    gain = np.divide(m.cov, m.var_x, out=np.zeros_like(m.cov), where=m.var_x > 0)
    return gain, m.mean_y - gain * m.mean_x


def _window(box: int) -> NDArray[np.float32]:
    """The Gaussian window as a matrix [box - 10, box]: rows are the positions where it lies inside the image."""
    if box < 2 * SSIM_RADIUS + 1:
        raise ValueError(f'SSIM needs images of at least {2 * SSIM_RADIUS + 1} px, not {box}')
    offset = np.arange(box)[None, :] - SSIM_RADIUS - np.arange(box - 2 * SSIM_RADIUS)[:, None]
    weight = np.exp(-0.5 * (offset / SSIM_SIGMA) ** 2) * (abs(offset) <= SSIM_RADIUS)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def _ssim(m: _Moments, fits: list[tuple[Any, Any]], data_range: float) -> list[Floats]:
    """Mean SSIM of ``gain * image + offset`` for every (gain, offset) in fits.

    Equals skimage.metrics.structural_similarity(gaussian_weights=True, use_sample_covariance=False) to 1e-5; the local
    moments are matrix products, and an affine fit changes them in closed form.
    """
    window = _window(m.x.shape[-1])
    x, y = m.x.astype(np.float32), m.y.astype(np.float32)
    mean_x, mean_y, xx, yy, xy = (window @ a @ window.T for a in (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    mean_x += m.mean_x[:, None, None].astype(np.float32)
    mean_y += m.mean_y[:, None, None].astype(np.float32)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    results = []
    for gain, offset in fits:
        a, b = (np.reshape(v, (-1, 1, 1)).astype(np.float32) for v in np.broadcast_arrays(gain, offset))
        u = a * mean_x + b
        ssim = (2 * u * mean_y + c1) * (2 * a * cov + c2) / ((u**2 + mean_y**2 + c1) * (a**2 * var_x + var_y + c2))
        results.append(ssim.mean((1, 2), dtype=np.float64))
    return results
