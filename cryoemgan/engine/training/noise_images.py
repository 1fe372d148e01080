"""Noise for fresh pairs: Gaussian, of the particles' power; or from images that hold nothing else, such as boxes of
background or empty particles."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from ..data.particles import open_particles
from ..data.sampling import evenly_spread
from ..data.table import ParticleTable
from ..devices import to_device
from ..errors import InputError
from ..imaging.resample import resample, resampled, resize
from ..imaging.rings import Grid
from ..job import Job
from ..random_fields import RandomRows
from ..random_streams import generator
from ..shapes import Images, Rows, Tensor
from .augmentation import draw_moves, move
from .pairs import ReferencePairs

# Pixels of images kept at a time, and how often each is shown, turned and cut anew, before others are read.
KEPT_PIXELS, SHOWN = 2**23, 8
SAMPLE = 500
PIXEL_TOLERANCE = 0.02
# The mean of n images of noise has 1/n of their variance; particles leave their common shape in it.
MOST_SHARED = 3.0
FEWEST = 2


class NoiseSource(Protocol):
    """Images of noise, as pure functions of (number of the draw, row)."""

    def draw(self, number: int, count: int, rows: Rows, device: torch.device) -> Tensor:
        """Some ``rows`` of draw ``number``, which has ``count``: float32 [n, box, box], in grey of the particles."""


class GaussianNoise:
    """Gaussian noise of a power, as `spectra.ring_power` gives it, on the grid of an rfft2."""

    def __init__(self, power: Grid, seed: int) -> None:
        self._gains, self.seed, self.box = np.sqrt(power).astype(np.float32), seed, power.shape[0]

    def draw(self, number: int, count: int, rows: Rows, device: torch.device) -> Tensor:
        """See `NoiseSource`."""
        white = RandomRows(self.seed, 'fresh', number, rows, device).normal(self.box, self.box)
        gains = to_device(self._gains, device)
        return torch.fft.irfft2(torch.fft.rfft2(white) * gains, s=(self.box, self.box))


class NoiseImages:
    """Images of noise of one set as fields for particles of ``size`` px, ``pixel_size`` A, shown in ``box`` px.

    InputError when they are smaller, of another pixel size, or constant.
    """

    def __init__(self, table: ParticleTable, size: int, pixel_size: float, box: int, seed: int) -> None:
        self.table, self.size, self.box, self.seed = table, size, box, seed
        self._images = table.images()
        if len(self._images) < FEWEST:
            raise InputError(f'{table.path}: {len(self._images)} image of noise; at least {FEWEST} are needed')
        if abs(table.pixel_size / pixel_size - 1) > PIXEL_TOLERANCE:
            raise InputError(
                f'{table.path}: images of noise of {table.pixel_size:g} A/px for particles of {pixel_size:g} A/px; '
                "extract them at the particles' pixel size"
            )
        if self._images.box < size:
            raise InputError(
                f'{table.path}: images of noise of {self._images.box} px for particles of {size} px; extract them in '
                'the same box or a larger one'
            )
        # Factor that brings the set to the noise of the particles; 1 when both are normalised alike.
        self.scale = 1.0
        self.variance, self.shared = self._variance()
        self._reader = ThreadPoolExecutor(1)
        self._pending: dict[tuple[int, int], Future[Images]] = {}
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def _variance(self) -> tuple[float, float]:
        """Variance of the images as they are shown (mean over images); and that of the mean image times n, over it: 1
        for independent noise."""
        chosen = evenly_spread(len(self._images), SAMPLE)
        images = resample(resize(self._images.read(chosen), self.size), self.box)
        images = images - images.mean(axis=(1, 2), keepdims=True)
        variance = float(images.var(axis=(1, 2)).mean())
        if not variance > 0:
            raise InputError(f'{self.table.path}: the images of noise are constant')
        return variance, float(len(images) * images.mean(axis=0).var() / variance)

    def draw(self, number: int, count: int, rows: Rows, device: torch.device) -> Tensor:
        """See `NoiseSource`: without mean; each is a random part of a random image, in one of its 8 quarter turns and
        mirrors."""
        images = self._near(number, count, device)
        rng = generator(self.seed, 'background', number, 1)
        room = images.shape[-1] - self.size
        places = np.concatenate(
            [
                rng.integers(len(images), size=(count, 1)),
                rng.integers(0, room + 1, (count, 2)),
                draw_moves(rng, count, True, 0),
            ],
            axis=1,
        )
        image, y, x, *moves = to_device(places[rows], device).unbind(1)
        inside = torch.arange(self.size, device=device)
        fields = images[image[:, None, None], (y[:, None] + inside)[:, :, None], (x[:, None] + inside)[:, None]]
        fields = resampled(move(fields[:, None], torch.stack(moves, 1))[:, 0], self.box)
        return self.scale * (fields - fields.mean((1, 2), keepdim=True))

    def _near(self, number: int, count: int, device: torch.device) -> Tensor:
        """The images that draw ``number`` takes from: a block of neighbours at a random place, the same in a resumed
        run; on the device. The next block is read in the meantime."""
        size = min(len(self._images), max(count, KEPT_PIXELS // self._images.box**2))
        several = size < len(self._images)
        index = number * count // (SHOWN * size) if several else 0
        key = index, size
        if self._kept is None or self._kept[0] != key:
            images = (self._pending.pop(key, None) or self._start(key)).result()
            self._kept = key, to_device(images, device)
            self._pending = {(index + 1, size): self._start((index + 1, size))} if several else {}
        return self._kept[1]

    def _start(self, key: tuple[int, int]) -> Future[Images]:
        index, size = key
        start = generator(self.seed, 'background', index).integers(len(self._images) - size + 1)
        return self._reader.submit(self._images.read, np.arange(start, start + size))


def open_background(path: str | None, pairs: ReferencePairs, seed: int, job: Job) -> NoiseImages | None:
    """NoiseImages of a particle table for these pairs; a warning when its images do not look empty. None without."""
    if not path:
        return None
    particles = pairs.particles
    found = NoiseImages(open_particles(job, path), particles.box, particles.pixel_size, pairs.box, seed)
    if found.shared > MOST_SHARED:
        job.warn(
            f'{path}: the mean of these images varies {found.shared:.1f} times as much as that of independent noise: '
            'they share something. Are they empty?'
        )
    return found
