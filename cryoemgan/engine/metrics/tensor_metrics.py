"""MSE, PSNR and SSIM of images where they lie: those of `image_metrics.compare`, for validation on a device."""

from __future__ import annotations

import functools

import torch

from ..shapes import Tensor
from .image_metrics import PSNR_LIMIT, SSIM_K1, SSIM_K2, _window


def compare(images: Tensor, references: Tensor, data_range: float) -> dict[str, Tensor]:
    """{'mse', 'psnr', 'ssim'}: float64 [n] each, of images float32 [n, box, box] on any device.

    data_range: the L of PSNR and SSIM. box: at least 11 px.
    """
    mse = (images - references).square().mean((1, 2), dtype=torch.float64)
    psnr = (10 * torch.log10(data_range**2 / mse)).clamp(max=PSNR_LIMIT)
    return {'mse': mse, 'psnr': psnr, 'ssim': _ssim(images, references, data_range)}


def _ssim(images: Tensor, references: Tensor, data_range: float) -> Tensor:
    window = _window_on(images.shape[-1], images.device)
    # Less the mean first: variances of small differences on a large offset would cancel.
    offset = references.mean((1, 2), keepdim=True)
    x, y = images - offset, references - offset
    mean_x, mean_y, xx, yy, xy = (window @ a @ window.T for a in (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    mean_x, mean_y = mean_x + offset, mean_y + offset
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    ssim = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return ssim.mean((1, 2), dtype=torch.float64)


@functools.lru_cache(maxsize=4)
def _window_on(box: int, device: torch.device) -> Tensor:
    return torch.from_numpy(_window(box)).to(device)
