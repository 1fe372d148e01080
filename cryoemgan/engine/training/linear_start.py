"""What a network that starts as a linear estimate is shown where there are no references.

The mean and the covariance of the images behind their CTF follow from the particles alone (covariance Wiener filter,
`classical.cwf`). Given these, each particle has a posterior, and a draw from it stands in for its reference: draws have
the mean and the covariance of the images, and go together with their particles as references would. (The posterior
means would not do: they have too little of what is weak.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..classical.base import Batch, transfer
from ..classical.cwf import Denoiser
from ..data.sampling import chunks, evenly_spread
from ..imaging.resample import resample
from ..random_streams import generator
from ..shapes import Images, Rows, Tensor

if TYPE_CHECKING:
    from .noisy_pairs import NoisyPairs

# Particles that mean and covariance are measured on, those that get a draw, and those that are in memory at once.
MEASURED, DRAWN, CHUNK = 10000, 2000, 500
# The covariance is that of images of this box: finer detail than that of a single particle is below its noise.
LARGEST_BOX = 64


def stand_ins(pairs: NoisyPairs, positions: Rows, seed: int) -> tuple[Tensor, Tensor]:
    """Particles of a set and what stands in for their references.

    Parameters
    ----------
    pairs : NoisyPairs
        Whitened, and measured.
    positions : Rows
        Of the pairs that may be looked at.
    seed : int
        Of the draws.

    Returns
    -------
    noisy, clean : Tensor
        As of `TrainingPairs.assemble`, of up to `DRAWN` pairs spread over them; clean with the CTF that they hold.
    """
    model, method = _ImageModel(pairs), Denoiser(min(pairs.box, LARGEST_BOX))
    measured = positions[evenly_spread(len(positions), MEASURED)]
    drawn = positions[evenly_spread(len(positions), DRAWN)]

    def batches(of: Rows) -> Iterator[Batch]:
        for rows in chunks(len(of), CHUNK):
            yield model.batch(of[rows])

    method.fit(lambda: batches(measured))
    found = []
    for number, batch in enumerate(batches(drawn)):
        # Matheron's rule: a draw of image and particle, moved by what the particle really is.
        rng = generator(seed, 'stand-ins', number)
        image = method.draw(len(batch.images), rng)
        noise = batch.noise_sd[:, None, None].astype(np.float32) * rng.standard_normal(image.shape, dtype=np.float32)
        simulated = Batch(_shown(image, batch) + noise, batch.noise_sd, batch.transfer, batch.profile)
        found.append(_shown(image + method.denoise(batch) - method.denoise(simulated), batch))
    clean = resample(np.concatenate(found), pairs.box).astype(np.float32)
    noisy = torch.cat([pairs.seen(drawn[rows]) for rows in chunks(len(drawn), CHUNK)])
    return noisy, pairs.scale.unit_scale * torch.from_numpy(clean)[:, None]


class _ImageModel:
    """White noise and CTF of whitened particles, at their box or `LARGEST_BOX`."""

    def __init__(self, pairs: NoisyPairs) -> None:
        self._pairs, self.box = pairs, min(pairs.box, LARGEST_BOX)
        # Resampling keeps grey values: in fewer pixels there is less of white noise.
        self._noise_sd = pairs.noise_variance**0.5 * self.box / pairs.box
        self._pixel_size = pairs.pixel_size * pairs.box / self.box
        self._ctf = pairs.particles.ctf() if pairs.shows_ctf else None

    def batch(self, positions: Rows) -> Batch:
        pairs = self._pairs
        images = resample(pairs.seen(positions)[:, 0].numpy(), self.box).astype(np.float32)
        noise = np.full(len(images), self._noise_sd)
        if self._ctf is None:
            return Batch(images, noise)
        ctf = {name: values[pairs.rows[positions]] for name, values in self._ctf.items()}
        return Batch(images, noise, *transfer(self.box, self._pixel_size, ctf, pairs.ctf))


def _shown(images: Images, batch: Batch) -> Images:
    """Images with the CTF of a batch."""
    if batch.transfer is None:
        return images
    spectra = np.fft.rfft2(images) * batch.transfer
    shown: Images = np.fft.irfft2(spectra, s=images.shape[-2:]).astype(np.float32)
    return shown
