"""Density maps and masks: read with every check, filtered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..data.quantities import PIXEL
from ..data.volumes import read_volume
from ..errors import InputError
from ..files import atomic
from ..shapes import AnyPath, Volume


@dataclass(frozen=True)
class Map:
    """A cubic density: data float32[N, N, N] (z, y, x), pixel size in A."""

    data: np.ndarray
    pixel_size: float
    path: Path

    @property
    def box(self) -> int:
        """px"""
        return self.data.shape[0]


def read_map(path: AnyPath, pixel_size: float | None = None) -> Map:
    """Read an MRC map. pixel_size (A) replaces the header's.

    InputError when it is missing, truncated, not cubic, holds NaN or nothing but a constant, or has no pixel size.
    """
    data, voxel = read_volume(path, 'map')
    if data.min() == data.max():
        raise InputError(f'{path}: the map is constant ({data.flat[0]:g}): there is nothing to project')
    pixel_size = pixel_size or _isotropic(path, voxel)
    if not PIXEL.possible(np.asarray(pixel_size)):
        raise InputError(
            f'{path}: the header has no usable pixel size ({pixel_size:g} A{PIXEL.likely_unit(pixel_size)}); give it '
            'with --volume-pixel-size'
        )
    return Map(data, float(pixel_size), Path(path))


def _isotropic(path: AnyPath, voxel: tuple[float, float, float]) -> float:
    """The one side of a voxel (x, y, z in A) of a header; InputError when the sides differ by more than a percent."""
    sides = [side for side in voxel if side > 0]
    if sides and max(sides) > 1.01 * min(sides):
        raise InputError(
            f'{path}: voxels of {" x ".join(f"{v:g}" for v in voxel)} A are not isotropic: a map needs cubic ones. '
            'Resample it, or give --volume-pixel-size if only the header is wrong'
        )
    return voxel[0]


def write_map(path: AnyPath, data: np.ndarray, pixel_size: float) -> None:
    """Write float32[N, N, N] with its pixel size (A); the file appears when it is complete."""
    with atomic(path) as partial, mrcfile.new(partial, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(data, np.float32))
        mrc.voxel_size = pixel_size
        mrc.set_volume()


def beside(name: str) -> str:
    """File name of a map as ``project`` leaves it beside the references. name: half1, half2, class3, volume."""
    return f'map_{name}.mrc'


def read_mask(path: AnyPath, like: Map) -> Volume:
    """Read a mask for a map: float32[N, N, N], values 0 to 1. InputError for another box or other values."""
    data, _ = read_volume(path, 'mask')
    if data.shape != like.data.shape:
        raise InputError(
            f'{path}: the mask has {data.shape[0]} px, the map {like.path} has {like.box} px; '
            'make the mask from this map'
        )
    # Soft edges overshoot by rounding.
    if data.min() < -1e-3 or data.max() > 1 + 1e-3:
        raise InputError(f'{path}: mask values go from {data.min():g} to {data.max():g}; a mask lies between 0 and 1')
    if data.max() < 1e-3:
        raise InputError(f'{path}: the mask is empty: it would remove the whole map')
    return data.clip(0, 1)


def lowpass(data: np.ndarray, pixel_size: float, resolution: float, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Low-pass by a raised cosine; grey values and mean are kept.

    data: float[...], pixel_size and resolution in A, axes: those to filter over, default all (a volume or one image;
    (-2, -1) for a batch of images).
    """
    axes = tuple(axes or range(-data.ndim, 0))
    shape = [data.shape[a] for a in axes]
    spectrum = fft.rfftn(data, axes=axes) * raised_cosine(shape, pixel_size, resolution)
    return fft.irfftn(spectrum, s=shape, axes=axes).astype(data.dtype)


def raised_cosine(shape: list[int], pixel_size: float, resolution: float, width: float = 0.1) -> NDArray[np.float32]:
    """Filter float32 on the rfftn grid of ``shape``: 1/2 at ``resolution`` (A), from 1 to 0 over ``width`` of it."""
    grids = [fft.fftfreq(n) for n in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    squared = sum(np.square(g.astype(np.float32)) for g in np.meshgrid(*grids, indexing='ij', sparse=True))
    # Position in the edge: -1/2 where it starts, 1/2 where it ends.
    edge = ((np.sqrt(squared) * (resolution / pixel_size) - 1) / width).clip(-0.5, 0.5)
    return (0.5 - 0.5 * np.sin(np.pi * edge)).astype(np.float32)


def soft_circle(box: int, edge: float = 0.05) -> NDArray[np.float32]:
    """Weight float32[box, box]: 1 inside a circle that touches the border less ``edge`` of the box, cosine edge."""
    x = np.arange(box) - box // 2
    radius = np.hypot(x, x[:, None]) / box
    return (0.5 - 0.5 * np.sin(np.pi * ((radius - 0.5 + edge) / edge).clip(-0.5, 0.5))).astype(np.float32)
