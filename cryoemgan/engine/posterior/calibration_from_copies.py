"""What a map prior learns from particles without references: gain, noise and contrast as with them; temperature,
predicted error and the weight of a linear filter against independent copies of the particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..classical.cwf import Denoiser
from ..data.sampling import evenly_spread
from ..random_streams import generator
from ..shapes import Rows, Tensor
from .calibration import TEMPERATURES, Sample, likeliest_contrast
from .covariance_filter import CovarianceFilter

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

    def best_weight(self, first: Tensor, second: Tensor) -> float:
        """How much of the second of two estimates [n, N, N], 0 to 1, gives the lowest error in a blend of them."""
        away, open_ = ((x - x.mean((1, 2), keepdim=True)).double() for x in (second - first, self.other - first))
        size = float(away.square().sum())
        return min(1.0, max(0.0, float((away * open_).sum()) / size)) if size else 0.0


@dataclass(frozen=True)
class Errors:
    """Mean squared errors on copies, in particle grey: of the covariance Wiener filter alone, and of the blend."""

    linear: float
    blend: float


def calibrate_from_copies(
    prior: MapPrior, copies: Copies, candidates: int | None = None, contrast: float | None = None
) -> Errors:
    """Calibrate a MapPrior with a linear filter, and find how much of the mean it makes.

    candidates, contrast: None for the usual width, and to have the contrast measured. The squared distance of an
    estimate to an independent copy is its error and the variance of the copy's noise.
    """
    search = prior.search
    prior.linear_weight = 0.0
    prior.calibrate(copies.particles, copies.context)
    search.contrast = contrast if contrast is not None else likeliest_contrast(prior, copies.sample())
    search.spread = 1.0
    search.widen(candidates or WIDTH)
    found = []
    for temperature in TEMPERATURES:
        search.temperature = temperature
        found.append((copies.error(_estimate(prior, copies)), temperature))
    search.temperature = min(found)[1]
    templates = _estimate(prior, copies)
    prior.linear_weight = 1.0
    linear = _estimate(prior, copies)
    prior.linear_weight = copies.best_weight(templates, linear)
    found_error = copies.error(torch.lerp(templates, linear, prior.linear_weight))
    predicted = float(prior.gain**2 * prior(copies.noisy, copies.context).sd.square().mean())
    if found_error > 0 and predicted > 0:
        search.spread = (found_error / predicted) ** 0.5
    return Errors(copies.error(linear), found_error)


def _estimate(prior: MapPrior, copies: Copies) -> Tensor:
    """float32 [n, N, N], what a MapPrior makes of the copies with more noise, in particle grey."""
    return prior.gain * prior(copies.noisy, copies.context).mean


def linear_filter(pairs: Any, training: Rows, device: torch.device) -> CovarianceFilter:
    """The covariance Wiener filter of particles, in the grey scale of standardised ones.

    pairs: `training.recorrupted_pairs.RecorruptedPairs`; training: positions that may be learned from.
    """
    method = Denoiser(pairs.white_box)
    method.fit(lambda: pairs.white(training[evenly_spread(len(training), LEARNED)]))
    components, mean = (torch.from_numpy(pairs.unwhitened(x)).to(device) for x in method.components())
    return CovarianceFilter.of(components, mean[0])
