"""Whitened particles as the classical methods take them: white noise of known variance, and the CTF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..classical.base import Batch, transfer
from ..data.sampling import chunks
from ..imaging.resample import resample
from ..shapes import Images, Rows

if TYPE_CHECKING:
    from .noisy_pairs import NoisyPairs

# Particles in memory at once.
CHUNK = 500
# What is learned from particles alone is learned at this box: finer detail of a single one is below its noise.
LARGEST_BOX = 64


class ImageModel:
    """The particles of a set at their box or `LARGEST_BOX`.

    Parameters
    ----------
    pairs : NoisyPairs
        Whitened, and measured.
    behind_ctf : bool
        Whether the images are those before their CTF.
    """

    def __init__(self, pairs: NoisyPairs, behind_ctf: bool) -> None:
        self._pairs, self.box = pairs, min(pairs.box, LARGEST_BOX)
        # Resampling keeps grey values: in fewer pixels there is less of white noise.
        self._noise_sd = pairs.noise_variance**0.5 * self.box / pairs.box
        self._pixel_size = pairs.pixel_size * pairs.box / self.box
        self._ctf = pairs.particles.ctf() if behind_ctf else None

    def batches(self, positions: Rows) -> Iterator[Batch]:
        """The particles at these positions, some at a time."""
        for rows in chunks(len(positions), CHUNK):
            some = positions[rows]
            yield self.batch(self._pairs.seen(some)[:, 0].numpy(), some)

    def batch(self, images: Images, positions: Rows) -> Batch:
        """Whitened images [n, box, box] of particles."""
        pairs = self._pairs
        images = resample(images, self.box).astype(np.float32)
        noise = np.full(len(images), self._noise_sd)
        if self._ctf is None:
            return Batch(images, noise)
        ctf = {name: values[pairs.rows[positions]] for name, values in self._ctf.items()}
        return Batch(images, noise, *transfer(self.box, self._pixel_size, ctf, pairs.ctf))
