"""Each particle as two copies with independent noise, made once: what a guided network learns from without a map.

Noise z of the measured spectrum is added to a particle, and taken away from its target (see `recorruption`). It is the
same whenever a particle is read, since what the map prior says of a particle belongs to one noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from ..classical.base import Batch
from ..data.image_state import CtfState
from ..data.sampling import chunks, evenly_spread
from ..devices import to_device
from ..imaging import spectra
from ..imaging.resample import resample, resampled
from ..imaging.rings import on_grid
from ..random_fields import RandomRows
from ..shapes import Images, Rows, Tensor
from .image_model import CHUNK, ImageModel
from .interfaces import Gathered
from .noisy_pairs import SAMPLE, UNIT_SD, NoisyPairs
from .pair_scale import PairScale


class RecorruptedPairs(NoisyPairs):
    """The particles of measured `NoisyPairs` and their targets; not whitened.

    Parameters
    ----------
    plain : NoisyPairs
        The particles themselves.
    strength : float
        Of the noise that is added, in units of the particles'.
    seed : int
        Of the noise.
    """

    kind = 'recorrupted'

    def __init__(self, plain: NoisyPairs, strength: float, seed: int) -> None:
        super().__init__(plain.particles, plain.box)
        assert plain.gains is not None
        self.plain, self.rows, self._strength, self._seed = plain, plain.rows, strength, seed
        # Of the noise in standardised particles.
        self._sd = (plain.noise_variance**0.5 / on_grid(plain.gains, self.box)).astype(np.float32)
        variance = plain.noise_in_grey() / plain.scale.sd**2
        self.scale = self._measured(plain, variance)
        self.target_noise = variance * (1 + strength**-2) * self.scale.unit_scale**2
        self._white = ImageModel(plain, self.particles.has('rlnDefocusU') and plain.ctf != CtfState.NONE.value)

    @staticmethod
    def _measured(plain: NoisyPairs, noise: float) -> PairScale:
        """The grey scales of the particles, with the signal that is in them before whitening."""
        sample = plain.raw(evenly_spread(len(plain), SAMPLE))[0]
        signal = float(sample.var(dtype=np.float64)) / plain.scale.sd**2 - noise
        # Noise that was measured a little too strong must not leave a signal of nothing.
        return replace(plain.scale, unit_scale=UNIT_SD / max(float(signal), 1e-3) ** 0.5)

    def raw(self, positions: Rows) -> tuple[Images, Images]:
        """(particles with more noise, targets with less), [n, box, box] in the particles' grey values."""
        images = self.plain.raw(positions)[0]
        extra = (self.scale.sd * self._noise(positions, torch.device('cpu'))).numpy()
        return images + np.float32(self._strength) * extra, images - np.float32(1 / self._strength) * extra

    @property
    def white_box(self) -> int:
        """Box of `white`, px."""
        return self._white.box

    def white(self, positions: Rows) -> Iterator[Batch]:
        """The particles themselves, whitened, as the classical methods take them; some at a time."""
        return self._white.batches(positions)

    def unwhitened(self, images: Images) -> Images:
        """Images [n, white_box, white_box] of whitened particles in the box and grey scale of standardised ones."""
        assert self.plain.gains is not None
        return spectra.filtered(resample(images, self.box).astype(np.float32), 1 / self.plain.gains)

    def gather(self, positions: Rows) -> Gathered:
        """(particles,), in their own grey values and box."""
        return self.plain.gather(positions)

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """(standardised particles with more noise, targets in network units), [n, 1, box, box]."""
        images = resampled(gathered[0], self.box).sub_(self.scale.mean).div_(self.scale.sd)
        extra = self._noise(positions, images.device)
        noisy, target = images + self._strength * extra, images - extra / self._strength
        return noisy[:, None], self.scale.unit_scale * target[:, None]

    def known(self, positions: Rows) -> float:
        """What is known of the squared distances to the targets at these positions beyond what `target_noise` lets
        expect, summed: the noise that was taken away is known, not only its variance."""
        total = 0.0
        for rows in chunks(len(positions), CHUNK):
            some = positions[rows]
            own, target = self.plain.raw(some)[0] - np.float32(self.scale.mean), self.raw(some)[1]
            target -= np.float32(self.scale.mean)
            total += float(np.square(target, dtype=np.float64).sum() - np.square(own, dtype=np.float64).sum())
        unit = (self.scale.unit_scale / self.scale.sd) ** 2
        return unit * total - len(positions) * self.box**2 * self.target_noise / (1 + self._strength**2)

    def _noise(self, positions: Rows, device: torch.device) -> Tensor:
        """float32 [n, box, box] of the noise of standardised particles, the same for a particle whenever."""
        if not len(positions):
            # MKL has no transform of no images.
            return torch.empty(0, self.box, self.box, device=device)
        rng = RandomRows(self._seed, 'recorruption', 0, positions, device)
        white = rng.normal(self.box, self.box)
        spectra = torch.fft.rfft2(white) * to_device(self._sd, device)
        return torch.fft.irfft2(spectra, s=(self.box, self.box))
