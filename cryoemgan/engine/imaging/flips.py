"""Mirrors and half turns of images and volumes about their origin at N // 2.

Reversing an array turns it about (N - 1) / 2, for even N half a pixel off: an axis of even length is rolled by one
pixel more. Its first pixel, whose mirror image lies outside the box, then stays in place: the image is periodic, as for
the transforms that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

Array = TypeVar('Array', np.ndarray, torch.Tensor)


def flipped(data: Array, axes: int | Sequence[int]) -> Array:
    """Images or volumes [..., N, N] mirrored along ``axes`` about index N // 2; an array or a tensor.

    One axis is a mirror, which changes the hand; two are a turn by 180 degrees in their plane; three a point
    reflection.
    """
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    shifts = tuple(1 - data.shape[axis] % 2 for axis in axes)
    if isinstance(data, torch.Tensor):
        return torch.roll(data.flip(axes), shifts, axes)
    return np.roll(np.flip(data, axes), shifts, axes)


def turned(images: Array) -> Array:
    """Images [..., N, N] turned by 180 degrees about N // 2."""
    return flipped(images, (-2, -1))
