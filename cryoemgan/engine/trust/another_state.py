"""Do some of the particles agree among themselves against their map? A statement about the set.

The strongest direction in which particles differ from the map is learnt from four fifths of them, as a sum of blobs,
and the last fifth is measured along it: noise that was learnt does not come back there. Along a direction that only
noise or errors of the poses made, the measures are one distribution, however broad; a state that some particles are in
and others are not gives two. It is stated where two normals, the second of them moved by the difference as each
particle sees it, explain the measures better than one distribution with tails (Student's t), by a margin that sets
without such a state do not reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit, gammaln
from scipy.stats import skew

from ..shapes import Floats, Rows

FOLDS = 5
RIDGE = 0.1  # of the mean information of a blob
STRANGEST = 1.1  # a particle tells no more than this part of the typical one
MARGIN = 10.0  # log likelihood by which a second state must win
AGREEMENT = 0.1  # of the directions that halves of the set give
LEAST_SHARE, MOST_SHARE = 0.01, 0.5


@dataclass(frozen=True)
class Directions:
    """weights: float64 [FOLDS, p] of blobs, each learnt without the particles of its fold; whole: [p], from all of
    them; agreement: of those from two halves of the set, 0 to 1."""

    weights: Floats
    whole: Floats
    agreement: float


@dataclass(frozen=True)
class State:
    """Two states along a direction. share: of particles in the other one; separation: how far it is away for a typical
    particle, in s.d. of the noise; centre, sd: of those in the map's state; margin: log likelihood that two states win;
    agreement: of the halves' directions."""

    share: float
    separation: float
    centre: float
    sd: float
    margin: float
    agreement: float

    @property
    def stated(self) -> bool:
        """Whether the particles say it clearly."""
        return self.margin > MARGIN and self.agreement > AGREEMENT and LEAST_SHARE < self.share < MOST_SHARE

    def probability(self, measures: Floats, sight: Floats) -> Floats:
        """That each particle is in the other state, float64 [n]; arguments as of `two_states`."""
        there, here = _logs(self._parameters, measures, sight)
        found: Floats = expit(there - here)
        return found

    @property
    def _parameters(self) -> tuple[float, float, float, float]:
        return self.share, self.centre, self.sd, self.separation


def directions(scores: Floats, information: Floats, gram: Floats, fold: Rows, half: Rows) -> Directions:
    """Where particles differ most from the map.

    scores: float64 [n, p] (`Blobs.scores`); information: [n], what each particle tells of blobs; gram: [p, p], mean of
    `Blobs.gram`; fold: int64 [n], 0 to FOLDS - 1; half: int64 [n], 0 or 1.
    """
    even = scores / np.sqrt(information)[:, None]
    gram = gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    whole = _strongest(even, gram)
    found = [_strongest(even[fold != k], gram) for k in range(FOLDS)]
    first, second = (_strongest(even[half == k], gram) for k in (0, 1))
    turned = np.array([np.sign(a @ gram @ whole) * a for a in found])
    return Directions(turned, whole, abs(float(first @ gram @ second)))


def _strongest(scores: Floats, gram: Floats) -> Floats:
    """Direction [p] of length 1 in which scores [n, p] vary most against noise; its long tail is positive."""
    scores = scores - scores.mean(0)
    length = np.sqrt(np.einsum('np,np->n', scores, np.linalg.solve(gram, scores.T).T))
    limit = STRANGEST * np.median(length)
    scores = scores * np.minimum(1, limit / np.maximum(length, 1e-12))[:, None]
    last = len(gram) - 1
    weights: Floats = eigh(scores.T @ scores, gram, subset_by_index=[last, last])[1][:, 0]
    return weights * (1 if skew(scores @ weights) >= 0 else -1)


def two_states(measures: Floats, sight: Floats, agreement: float) -> State:
    """The best explanation by two states of measures float64 [n], s.d. of noise along a direction.

    sight: [n], how far the direction moves each particle, relative to a typical one.
    """
    middle, width = float(np.median(measures)), float(np.log(measures.std()))
    one = _least(lambda q: -_tailed(measures, *q), [[middle, width, k] for k in (1.0, 4.0)])

    def parameters(q: Floats) -> tuple[float, float, float, float]:
        return float(MOST_SHARE * expit(q[0])), float(q[1]), float(np.exp(q[2])), float(np.exp(q[3]))

    def cost(q: Floats) -> float:
        return -float(np.logaddexp(*_logs(parameters(q), measures, sight)).sum())

    two = _least(cost, [[a, middle - 0.1, 0.0, b] for a in (-2.0, 0.0) for b in (0.3, 1.1)])
    share, centre, sd, separation = parameters(two[0])
    return State(share, separation, centre, sd, one[1] - two[1], agreement)


def _least(cost: Callable[[Floats], float], starts: list[list[float]]) -> tuple[Floats, float]:
    """(Where a cost is least, that cost), the best from several starts."""
    found = [minimize(cost, start, method='Nelder-Mead', options={'maxiter': 1500}) for start in starts]
    best = min(found, key=lambda x: x.fun)
    return best.x, float(best.fun)


def _tailed(measures: Floats, centre: float, width: float, tails: float) -> float:
    """Log likelihood of Student's t; width: log of its scale, tails: log of its degrees of freedom beyond 2."""
    free, x = np.exp(min(tails, 20.0)) + 2, (measures - centre) / np.exp(width)
    one = gammaln((free + 1) / 2) - gammaln(free / 2) - 0.5 * np.log(free * np.pi) - width
    return float(len(measures) * one - (free + 1) / 2 * np.log1p(x**2 / free).sum())


def _logs(parameters: tuple[float, float, float, float], measures: Floats, sight: Floats) -> tuple[Floats, Floats]:
    """Log of the densities of the other state and of the map's at measures, times their shares."""
    share, centre, sd, separation = parameters
    far = np.square([(measures - centre - separation * sight) / sd, (measures - centre) / sd]) / 2
    level = -np.log(sd) - 0.5 * np.log(2 * np.pi)
    return np.log(share + 1e-12) + level - far[0], np.log1p(-share) + level - far[1]
