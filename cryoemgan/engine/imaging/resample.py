"""Change of box and pixel size without change of grey values; origin at N//2 for even and odd boxes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import fftshift, ifftshift
from scipy.signal import resample as fourier_resample

from ..errors import InputError
from ..shapes import Tensor, Volume

# What is left of the ratio of pixel sizes after the map is resampled to a whole number of pixels; the projector
# corrects it exactly, but more than this means a map of a few pixels.
TOLERANCE = 0.02
# Beyond these ratios one of the two pixel sizes is wrong, not the other's resampling.
COARSEST, FINEST, FIELDS = 3.0, 1 / 16, 3.5


def resample(data: np.ndarray, box: int, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Fourier resampling of images or volumes to ``box`` pixels an axis, over the same field of view.

    data: float[..., N, N] or, with axes=(-3, -2, -1), float[..., N, N, N]; default the last two axes. Fewer pixels:
    the spectrum is cropped; more: zero-padded. Values (not sums) are kept: a constant stays itself.
    """
    data = np.asarray(data)
    axes = axes or (-2, -1)
    for axis in axes:
        if data.shape[axis] != box:
            # scipy keeps the first sample in place; ours to keep is the origin at N//2.
            moved = ifftshift(data, axes=axis)
            data = fftshift(fourier_resample(moved, box, axis=axis), axes=axis)
    return data


@functools.lru_cache(maxsize=8)
def resampling_matrix(box: int, target: int, device: str | torch.device = 'cpu') -> Tensor:
    """float32[target, box]: M of ``M @ images @ M.T``, which is ``resample(images, target)`` for tensors on a device.

    Fourier resampling is linear and separable: for a batch of images two products are less work than transforms.
    """
    return torch.tensor(resample(np.eye(box), target, axes=(0,)), dtype=torch.float32, device=device)


def resampled(images: Tensor, target: int) -> Tensor:
    """Tensor float32[..., N, N] -> [..., target, target], as `resample`."""
    if images.shape[-1] == target:
        return images
    matrix = resampling_matrix(images.shape[-1], target, images.device)
    return matrix @ images @ matrix.T


def resize(data: np.ndarray, box: int, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Crop or zero-pad to ``box`` pixels an axis around the origin at N//2; pixel size unchanged. Axes as above."""
    data = np.asarray(data)
    for axis in axes or (-2, -1):
        axis = axis % data.ndim
        before = box // 2 - data.shape[axis] // 2
        after = box - data.shape[axis] - before
        cut = [slice(None)] * data.ndim
        cut[axis] = slice(max(-before, 0), data.shape[axis] - max(-after, 0))
        width = [(0, 0)] * data.ndim
        width[axis] = (max(before, 0), max(after, 0))
        data = np.pad(data[tuple(cut)], width)
    return data


@dataclass(frozen=True)
class Resampling:
    """How a map meets the particles: resampled to ``resampled`` px, cropped or padded to ``box`` px.

    pixel_size: A, of the map then. residual: pixel size of the particles / this; 1 or close to it, and handed to the
    projector, which corrects it exactly.
    """

    resampled: int
    box: int
    pixel_size: float
    residual: float

    def apply(self, volume: Volume) -> Volume:
        """float32[box, box, box] of volume[N, N, N]."""
        volume = resample(np.asarray(volume, np.float32), self.resampled, axes=(-3, -2, -1))
        return np.ascontiguousarray(resize(volume, self.box, axes=(-3, -2, -1)), dtype=np.float32)


def plan_resampling(box_in: int, px_in: float, box_out: int, px_out: float) -> Resampling:
    """How to bring a map (box_in px, px_in A) to particles (box_out px, px_out A); InputError when they cannot meet.

    They cannot when the map is more than 3 times coarser or 16 times finer, when one field of view is more than 3.5
    times the other (one of the pixel sizes is wrong then), or when no whole number of pixels comes within 2 percent
    of the pixel size (a map of less than about 25 px).
    """
    what = (
        f'map of {box_in} px at {px_in:g} A/px ({box_in * px_in:.0f} A) and particles of {box_out} px at '
        f'{px_out:g} A/px ({box_out * px_out:.0f} A)'
    )
    cure = 'Check both pixel sizes; --volume-pixel-size replaces that of the map'
    if not FINEST <= px_in / px_out <= COARSEST:
        raise InputError(
            f'{what} cannot meet: pixel sizes differ {max(px_in / px_out, px_out / px_in):.1f} times '
            f'(a map may be up to {COARSEST:g} times coarser or {1 / FINEST:g} times finer). {cure}'
        )
    field = box_in * px_in / (box_out * px_out)
    if not 1 / FIELDS <= field <= FIELDS:
        raise InputError(
            f'{what} cannot meet: fields of view differ {max(field, 1 / field):.1f} times (at most {FIELDS:g}). {cure}'
        )
    resampled = box_in if abs(px_out / px_in - 1) < 1e-3 else round(box_in * px_in / px_out)
    pixel_size = box_in * px_in / resampled
    residual = px_out / pixel_size
    if abs(residual - 1) > TOLERANCE:
        raise InputError(
            f'{what} cannot meet: the nearest map of whole pixels has {resampled} px at {pixel_size:.4g} '
            f'A/px, {abs(residual - 1):.1%} off (at most {TOLERANCE:.0%}). {cure}'
        )
    return Resampling(resampled, box_out, pixel_size, residual)
