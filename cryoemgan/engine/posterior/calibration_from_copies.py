"""What a map prior learns from particles without references: gain, noise and contrast as with them; temperature and
predicted error against independent copies of the particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..classical.cwf import Denoiser
from ..data.sampling import evenly_spread
from ..imaging import spectra
from ..random_streams import generator
from ..shapes import Rows, Tensor
from .calibration import TEMPERATURES, Sample, likeliest_contrast

if TYPE_CHECKING:
    from .context import Context
    from .map_prior import MapPrior

WIDTH = 48
# Particles that the covariance Wiener filter is learned from, for comparison.
LEARNED = 3000


@dataclass(frozen=True)
class Copies:
    """Particles float32 [n, N, N] in their own grey; the same with a little more noise, and copies with noise that is
    independent of it and has this variance [n]; their Context, and positions among the pairs."""

    particles: Tensor
    noisy: Tensor
    other: Tensor
    variance: Tensor
    context: Context
    positions: Rows

    @classmethod
    def of(cls, guided: Any, positions: np.ndarray, most: int, seed: int) -> Copies:
        """Of up to ``most`` particles of GuidedPairs, spread over ``positions``."""
        chosen, plain = positions[evenly_spread(len(positions), most)], guided.pairs.plain
        found = plain.raw(chosen)[0], *plain.independent(chosen, generator(seed, 'checks', 2))
        particles, noisy, other, variance = (
            torch.as_tensor(np.asarray(x, np.float32), device=guided.guide.device) for x in found
        )
        return cls(particles, noisy, other, variance, guided.context(chosen), chosen)

    def sample(self) -> Sample:
        """The particles, with their copies in the place of references."""
        return Sample(self.particles, self.other, self.context, None)

    def error(self, images: Tensor) -> float:
        """Mean squared error of images [n, N, N] made of ``noisy``, but for their mean."""
        difference = images - self.other
        difference = difference - difference.mean((1, 2), keepdim=True)
        return float((difference.square().mean((1, 2)) - self.variance).mean())


def calibrate_from_copies(
    prior: MapPrior, copies: Copies, candidates: int | None = None, contrast: float | None = None
) -> float:
    """Calibrate a MapPrior; its mean squared error on the copies, in particle grey.

    candidates, contrast: None for the usual width, and to have the contrast measured. The squared distance of an
    estimate to an independent copy is its error and the variance of the copy's noise.
    """
    search = prior.search
    prior.calibrate(copies.particles, copies.context)
    search.contrast = contrast if contrast is not None else likeliest_contrast(prior, copies.sample())
    search.spread = 1.0
    search.widen(candidates or WIDTH)
    found = []
    for temperature in TEMPERATURES:
        search.temperature = temperature
        found.append((*_error(prior, copies), temperature))
    error, predicted, search.temperature = min(found)
    if error > 0 and predicted > 0:
        search.spread = (error / predicted) ** 0.5
    return error


def _error(prior: MapPrior, copies: Copies) -> tuple[float, float]:
    """Mean squared error of the posterior mean, measured and predicted, in particle grey."""
    found = prior(copies.noisy, copies.context)
    return copies.error(prior.gain * found.mean), float(prior.gain**2 * found.sd.square().mean())


def linear_error(pairs: Any, training: Rows, copies: Copies) -> float:
    """As of `calibrate_from_copies`, of the covariance Wiener filter learned from the same particles.

    pairs: `training.recorrupted_pairs.RecorruptedPairs`; training: positions that may be learned from.
    """
    method = Denoiser(pairs.white_box)
    method.fit(lambda: pairs.white(training[evenly_spread(len(training), LEARNED)]))
    # A third of the noise was added: a ninth more variance.
    batch = pairs.noisier(copies.noisy.cpu().numpy(), copies.positions, (10 / 9) ** 0.5)
    images = method.denoise(batch)
    if batch.transfer is not None:
        images = spectra.filtered(images, batch.transfer)
    return copies.error(torch.from_numpy(pairs.scale.sd * pairs.unwhitened(images)).to(copies.other))
