"""What right particles are like, learnt from values of a set that holds wrong ones too, which are stranger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from ..shapes import Floats

ITERATIONS = 200
STARTS = (0.15, 0.35)  # quantiles of the values from which the right ones are sought
PARAMETERS = 3  # that two normals have more than one


@dataclass(frozen=True)
class Normal:
    """A normal distribution."""

    mean: float
    sd: float

    def above(self, values: Floats) -> Floats:
        """Part of it that lies above each value."""
        found: Floats = ndtr((self.mean - np.asarray(values)) / self.sd)
        return found

    def density(self, values: Floats) -> Floats:
        """Its density at each value."""
        found: Floats = np.exp(-0.5 * ((values - self.mean) / self.sd) ** 2) / (self.sd * np.sqrt(2 * np.pi))
        return found

    @classmethod
    def of(cls, values: Floats, weights: Floats, least: float = 1e-9) -> Normal:
        """Of weighted values; its s.d. is ``least`` at least."""
        total = max(float(weights.sum()), 1e-30)
        mean = float((weights * values).sum() / total)
        return cls(mean, max(float(np.sqrt((weights * (values - mean) ** 2).sum() / total)), least))


def right_ones(values: Floats) -> tuple[Normal, Floats, float]:
    """(Normal of the right particles, probability [n] that each value is one of them, their share).

    values: float64 [n], strangeness: two normals, the stranger one no narrower than the other; a single one when two
    explain the values no better (Bayesian information criterion).
    """
    everything = np.ones(len(values))
    one = Normal.of(values, everything)
    found = [_two(values, start, one.sd) for start in STARTS]
    right, share, weights, likelihood = max(found, key=lambda x: x[3])
    alone = float(np.log(one.density(values) + 1e-300).sum())
    if likelihood - alone < 0.5 * PARAMETERS * np.log(len(values)):
        return one, everything, 1.0
    return right, weights, share


def _two(values: Floats, start: float, spread: float) -> tuple[Normal, float, Floats, float]:
    least = 1e-3 * spread + 1e-9
    middle = float(np.quantile(values, start))
    right = Normal(middle, max(middle - float(np.quantile(values, start / 3)), least))
    wrong, share = Normal(float(np.quantile(values, 0.9)), max(spread, right.sd)), 0.8
    weights, likelihood = np.ones(len(values)), -np.inf
    for _ in range(ITERATIONS):
        a, b = share * right.density(values), (1 - share) * wrong.density(values)
        weights = a / np.maximum(a + b, 1e-300)
        likelihood = float(np.log(a + b + 1e-300).sum())
        share = float(weights.mean())
        right = Normal.of(values, weights, least)
        wrong = Normal.of(values, 1 - weights, right.sd)
    if right.mean > wrong.mean:
        likelihood = -np.inf
    return right, share, weights, likelihood


def typical_among(values: Floats, weights: Floats) -> Normal:
    """Normal of the values [n] of right particles; among those that are taken for right ones with the probabilities
    ``weights`` some may be anything else, anywhere between the least and the largest value: where that explains the
    values better (as in `right_ones`), for such a flat part also takes the tails of a normal."""
    low, high = float(values.min()), float(values.max())
    alone = found = Normal.of(values, weights)
    if high - low < 1e-9:
        return alone
    share, flat = 0.9, 1 / (high - low)
    for _ in range(ITERATIONS):
        a = share * found.density(values)
        inside = weights * a / (a + (1 - share) * flat)
        share = float(inside.sum() / weights.sum())
        found = Normal.of(values, inside, 1e-3 * (high - low))
    better = np.log(share * found.density(values) + (1 - share) * flat) - np.log(alone.density(values) + 1e-300)
    return found if float((weights * better).sum()) > np.log(len(values)) else alone
