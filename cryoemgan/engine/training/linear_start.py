"""What a network that starts as a linear estimate is shown where there are no references.

The mean and the covariance of the images behind their CTF follow from the particles alone (covariance Wiener filter,
`classical.cwf`). Given these, each particle has a posterior, and a draw from it stands in for its reference: draws have
the mean and the covariance of the images, and go together with their particles as references would. (The posterior
means would not do: they have too little of what is weak.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..classical.base import Batch
from ..classical.cwf import Denoiser
from ..data.sampling import chunks, evenly_spread
from ..imaging.resample import resample
from ..random_streams import generator
from ..shapes import Images, Rows, Tensor
from .image_model import CHUNK, ImageModel

if TYPE_CHECKING:
    from .noisy_pairs import NoisyPairs

# Particles that mean and covariance are measured on, and those that get a draw.
MEASURED, DRAWN = 10000, 2000


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
    model = ImageModel(pairs, pairs.shows_ctf)
    method = Denoiser(model.box)
    measured = positions[evenly_spread(len(positions), MEASURED)]
    drawn = positions[evenly_spread(len(positions), DRAWN)]

    method.fit(lambda: model.batches(measured))
    found = []
    for number, batch in enumerate(model.batches(drawn)):
        # Matheron's rule: a draw of image and particle, moved by what the particle really is.
        rng = generator(seed, 'stand-ins', number)
        image = method.draw(len(batch.images), rng)
        noise = batch.noise_sd[:, None, None].astype(np.float32) * rng.standard_normal(image.shape, dtype=np.float32)
        simulated = Batch(_shown(image, batch) + noise, batch.noise_sd, batch.transfer, batch.profile)
        found.append(_shown(image + method.denoise(batch) - method.denoise(simulated), batch))
    clean = resample(np.concatenate(found), pairs.box).astype(np.float32)
    noisy = torch.cat([pairs.seen(drawn[rows]) for rows in chunks(len(drawn), CHUNK)])
    return noisy, pairs.scale.unit_scale * torch.from_numpy(clean)[:, None]


def _shown(images: Images, batch: Batch) -> Images:
    """Images with the CTF of a batch."""
    if batch.transfer is None:
        return images
    spectra = np.fft.rfft2(images) * batch.transfer
    shown: Images = np.fft.irfft2(spectra, s=images.shape[-2:]).astype(np.float32)
    return shown
