"""Learning from noisy images alone: hidden pixels, predicted from the others.

Noise2Self (Batson and Royer 2019), Noise2Void (Krull et al. 2019): when the noise of a pixel is independent of the
noise of all others, the prediction of a hidden pixel x from the rest has the expected squared distance

    E (f - y)^2 = E (f - x)^2 + var(noise)

to its noisy value y: what minimises the left side minimises the true error, which nobody has seen.
"""

from __future__ import annotations

import torch

from ..random_fields import RandomRows
from ..shapes import Tensor


def hide(images: Tensor, fraction: float, rng: RandomRows) -> tuple[Tensor, Tensor]:
    """Hide a random part of the pixels of images.

    The network cannot see which pixels are hidden, so that it learns to use no pixel for itself. At the SNR of single
    particles the noise put in looks like any other pixel: images without hidden pixels are then nothing new to it.

    Parameters
    ----------
    images : Tensor
        [B, 1, N, N], as the network sees them.
    fraction : float
        Part of the pixels that are hidden.
    rng : RandomRows
        Which ones, and the noise in their place; of these rows, on their device.

    Returns
    -------
    hidden : Tensor
        The images with white noise of variance 1, the noise of images as the network sees them, in hidden pixels.
    mask : Tensor
        bool [B, 1, N, N]: the hidden pixels.
    """
    shape = images.shape[1:]
    mask = rng.uniform(*shape) < fraction
    noise = rng.normal(*shape)
    return torch.where(mask, noise, images), mask
