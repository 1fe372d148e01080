"""Outputs as they are shown: in the grey values of particles, cut softly where their detail ends; and their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..imaging.maps import lowpass
from ..shapes import Floats, Images


@dataclass(frozen=True)
class Shown:
    """particle grey = gain * output + offset, output in the grey of references. cut: A, or None; pixel_size: A."""

    gain: float
    offset: float
    cut: float | None
    pixel_size: float

    def __call__(self, outputs: Images) -> Images:
        """Outputs [..., N, N] as they are shown."""
        found: Images = self.gain * cut_low(outputs, self.cut, self.pixel_size) + self.offset
        return found


def cut_low(images: Images, cut: float | None, pixel_size: float) -> Images:
    """Images [..., N, N] cut softly at ``cut`` (A), where there is a cut above Nyquist."""
    return lowpass(images, pixel_size, cut, axes=(-2, -1)) if cut and cut > 2 * pixel_size else images


def squared(images: Images, truth: Images) -> Floats:
    """Mean squared difference of images [n, N, N], the mean grey of each left out: float64 [n]."""
    left = images - truth
    left = left - left.mean(axis=(1, 2), keepdims=True)
    found: Floats = np.square(left, dtype=np.float64).mean((1, 2))
    return found
