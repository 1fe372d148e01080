"""Grey scales: the least-squares line between two sets of images, and each image scaled to [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..shapes import Floats, Images
from .flips import Array

# Range of a constant image: nothing is divided by zero.
TINY = float(np.finfo(np.float32).tiny)


def least_squares_line(x: Images, y: Images) -> tuple[float, float]:
    """(slope, intercept) of y = slope * x + intercept over all values of two arrays of one shape."""
    slope, intercept = lines_of_images(x.reshape(1, -1), y.reshape(1, -1))
    return float(slope[0]), float(intercept[0])


def lines_of_images(x: Images, y: Images) -> tuple[Floats, Floats]:
    """(slopes, intercepts), float64 [n] each: the least-squares line of each pair of images [n, ...].

    Slope 0 and the mean of y as intercept where x is constant.
    """
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (x, y))
    mean_x, mean_y = a.mean(1), b.mean(1)
    # Less the mean first: on a large offset the sums of squares would cancel.
    a = a - mean_x[:, None]
    variance = np.einsum('ni,ni->n', a, a)
    covariance = np.einsum('ni,ni->n', a, b - mean_y[:, None])
    slope = np.divide(covariance, variance, out=np.zeros_like(variance), where=variance > 0)
    return slope, mean_y - slope * mean_x


@dataclass(frozen=True)
class GreyScale:
    """Grey values after an affine change: slope * grey + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def between(cls, x: Images, y: Images, intercept: bool = True) -> GreyScale:
        """The scale that takes images x [n, N, N] to y: the median over n of the line of each pair.

        A part of the pairs may be wrong: a median does not see them. intercept: False where y has none (a CTF takes
        an offset away).
        """
        slope, offset = (float(np.median(v)) for v in lines_of_images(x, y))
        return cls(slope, offset if intercept else 0.0)

    def __call__(self, images: Array) -> Array:
        return images * self.slope + self.intercept


def to_unit(images: Array) -> tuple[Array, Array]:
    """Each image [n, ...] scaled to [0, 1] on its own, and the gain that did it, [n, 1, ...]; arrays or tensors.

    Relative intensities of the images are lost.
    """
    axes = tuple(range(1, images.ndim))
    if isinstance(images, torch.Tensor):
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        gain = 1 / (high - low).clamp(min=TINY)
    else:
        low, high = images.min(axes, keepdims=True), images.max(axes, keepdims=True)
        gain = 1 / np.maximum(high - low, TINY)
    return (images - low) * gain, gain
