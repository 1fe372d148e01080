"""Noise for fresh pairs from images that hold nothing else: boxes of background, or empty particles."""

from __future__ import annotations

import numpy as np

from ..data.sampling import evenly_spread
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.resample import resample, resize
from ..job import Job
from ..random_streams import generator
from ..shapes import Images
from .pairs import ReferencePairs

# Pixels of images kept at a time, and how often each is shown, turned and cut anew, before others are read.
KEPT_PIXELS, SHOWN = 2**23, 8
SAMPLE = 500
PIXEL_TOLERANCE = 0.02
# The mean of n images of noise has 1/n of their variance; particles leave their common shape in it.
MOST_SHARED = 3.0
FEWEST = 2


class NoiseImages:
    """Images of noise of one set as fields for particles of ``size`` px, ``pixel_size`` A, shown in ``box`` px.

    InputError when they are smaller, of another pixel size, or constant.
    """

    def __init__(self, table: ParticleTable, size: int, pixel_size: float, box: int, seed: int) -> None:
        self.table, self.size, self.box, self.seed = table, size, box, seed
        self._images = table.images()
        self._key: tuple[int, int] | None = None
        self._kept: Images | None = None
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
        self.variance, self.shared = self._variance()

    def _variance(self) -> tuple[float, float]:
        """Variance of the images as they are shown (mean over images); and that of the mean image times n, over it: 1
        for independent noise."""
        chosen = evenly_spread(len(self._images), SAMPLE)
        images = _without_mean(resample(resize(self._images.read(chosen), self.size), self.box))
        variance = float(images.var(axis=(1, 2)).mean())
        if not variance > 0:
            raise InputError(f'{self.table.path}: the images of noise are constant')
        return variance, float(len(images) * images.mean(axis=0).var() / variance)

    def draw(self, rng: np.random.Generator, number: int, count: int) -> Images:
        """Draw ``number``: float32 [count, box, box] without mean, in the images' own grey values.

        Each is a random part of a random image, in one of its 8 quarter turns and mirrors.
        """
        images = self._near(number, count)
        fields = np.empty((count, self.size, self.size), np.float32)
        room = images.shape[-1] - self.size
        for field in fields:
            y, x = rng.integers(0, room + 1, 2)
            part = images[rng.integers(len(images)), y : y + self.size, x : x + self.size]
            part = np.rot90(part, rng.integers(4))
            field[:] = part.T if rng.integers(2) else part
        return _without_mean(resample(fields, self.box))

    def _near(self, number: int, count: int) -> Images:
        """The images that draw ``number`` takes from: a block of neighbours at a random place, the same in a resumed
        run."""
        size = min(len(self._images), max(count, KEPT_PIXELS // self._images.box**2))
        index = number * count // (SHOWN * size) if size < len(self._images) else 0
        if self._key != (index, size) or self._kept is None:
            start = generator(self.seed, 'background', index).integers(len(self._images) - size + 1)
            self._key, self._kept = (index, size), self._images.read(np.arange(start, start + size))
        return self._kept


def _without_mean(images: Images) -> Images:
    centred: Images = images - images.mean(axis=(1, 2), keepdims=True)
    return centred


def open_background(path: str | None, pairs: ReferencePairs, seed: int, job: Job) -> NoiseImages | None:
    """NoiseImages of a particle table for these pairs; a warning when its images do not look empty. None without."""
    if not path:
        return None
    particles = pairs.particles
    found = NoiseImages(ParticleTable.read(job.input(path)), particles.box, particles.pixel_size, pairs.box, seed)
    if found.shared > MOST_SHARED:
        job.warn(
            f'{path}: the mean of these images varies {found.shared:.1f} times as much as that of independent noise: '
            'they share something. Are they empty?'
        )
    return found
