"""What right particles are like, learnt from values of a set that holds wrong ones too, which are stranger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import exponnorm

from ..shapes import Floats

ITERATIONS = 200
ENOUGH = 1e-4  # gain of the log likelihood by an iteration that is the last one
STARTS = (0.15, 0.35)  # quantiles of the values from which the right ones are sought
# Right particles whose poses are a little wrong lack a little, a few of them much: two normals would part them. With
# the least skewness it is a normal, to a few parts in a million.
NORMAL = 1e-4
SKEWS = (NORMAL, 0.15, 0.3, 0.5, 0.75, 1.0)
PARAMETERS = 3  # that right and wrong ones have more than right ones alone


@dataclass(frozen=True)
class ExGaussian:
    """A normal distribution to which an exponential one is added (scipy's exponnorm), by its skewness, 0 to 2, without
    the ends."""

    mean: float
    sd: float
    skew: float = NORMAL

    @property
    def _shape(self) -> tuple[float, float, float]:
        """(mean of the exponential part over the s.d. of the normal one, mean and s.d. of the latter)"""
        late = self.sd * (self.skew / 2) ** (1 / 3)
        sd = (self.sd**2 - late**2) ** 0.5
        return late / sd, self.mean - late, sd

    def above(self, values: Floats) -> Floats:
        """Part of it that lies above each value."""
        found: Floats = exponnorm.sf(values, *self._shape)
        return found

    def log_density(self, values: Floats) -> Floats:
        """Logarithm of its density at each value."""
        found: Floats = exponnorm.logpdf(values, *self._shape)
        return found

    def limit(self, part: float) -> float:
        """Value that this part of it lies above."""
        return float(exponnorm.isf(part, *self._shape))

    @classmethod
    def of(cls, values: Floats, weights: Floats, least: float = 1e-9, skew: float = NORMAL) -> ExGaussian:
        """Mean and s.d. of weighted values, the latter at least ``least``."""
        total = max(float(weights.sum()), 1e-30)
        mean = float((weights * values).sum() / total)
        return cls(mean, max(float(np.sqrt((weights * (values - mean) ** 2).sum() / total)), least), skew)


def right_ones(values: Floats) -> tuple[ExGaussian, Floats, float]:
    """(distribution of the right particles, probability [n] that each value is one of them, their share).

    values: float64 [n], strangeness: right ones, and a normal of wrong ones that is stranger and no narrower; right
    ones alone when both explain the values no better (Bayesian information criterion).
    """
    everything = np.ones(len(values))
    alone = [ExGaussian.of(values, everything, skew=skew) for skew in SKEWS]
    chances = [float(one.log_density(values).sum()) for one in alone]
    best = int(np.argmax(chances))
    found = [_two(values, start, alone[0].sd, skew) for skew in SKEWS for start in STARTS]
    right, share, weights, likelihood = max(found, key=lambda x: x[3])
    if likelihood - chances[best] < 0.5 * PARAMETERS * np.log(len(values)):
        return alone[best], everything, 1.0
    return right, weights, share


def _two(values: Floats, start: float, spread: float, skew: float) -> tuple[ExGaussian, float, Floats, float]:
    least = 1e-3 * spread + 1e-9
    middle = float(np.quantile(values, start))
    right = ExGaussian(middle, max(middle - float(np.quantile(values, start / 3)), least), skew)
    wrong, share = ExGaussian(float(np.quantile(values, 0.9)), max(spread, right.sd)), 0.8
    weights, likelihood = np.ones(len(values)), -np.inf
    for _ in range(ITERATIONS):
        a = right.log_density(values) + np.log(share)
        both = np.logaddexp(a, wrong.log_density(values) + np.log(max(1 - share, 1e-12)))
        before, likelihood = likelihood, float(both.sum())
        weights = np.exp(a - both)
        if likelihood - before < ENOUGH:
            break
        share = float(weights.mean())
        right = ExGaussian.of(values, weights, least, skew)
        wrong = ExGaussian.of(values, 1 - weights, right.sd)
    if right.mean > wrong.mean:
        likelihood = -np.inf
    return right, share, weights, likelihood


def typical_among(values: Floats, weights: Floats, skews: Sequence[float] = SKEWS) -> tuple[ExGaussian, Floats]:
    """(distribution of the values [n] of right particles, probability [n] that each value is one of them).

    Among those that are taken for right ones with the probabilities ``weights`` some may be anything else, anywhere
    above the mean: where a normal with these explains the values better (as in `right_ones`). skews: that right ones
    may have.
    """
    high, least = float(values.max()), 1e-3 * (float(values.max()) - float(values.min())) + 1e-9
    alone = [ExGaussian.of(values, weights, least, skew) for skew in skews]
    chances = [float((weights * one.log_density(values)).sum()) for one in alone]
    best = int(np.argmax(chances))
    found, share, inside = alone[0], 0.9, weights
    likelihood = -np.inf
    for _ in range(ITERATIONS):
        flat = np.where(values >= found.mean, (1 - share) / max(high - found.mean, least), 0.0)
        own = share * np.exp(found.log_density(values))
        both = np.maximum(own + flat, 1e-300)
        before, likelihood = likelihood, float((weights * np.log(both)).sum())
        if likelihood - before < ENOUGH:
            break
        inside = weights * own / both
        share = float(inside.sum() / max(float(weights.sum()), 1e-30))
        found = ExGaussian.of(values, inside, least)
    if likelihood - chances[best] < np.log(len(values)):
        return alone[best], weights
    return found, inside
