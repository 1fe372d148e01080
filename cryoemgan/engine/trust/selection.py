"""Where to cut a set of particles by its scores, and how many good particles that is expected to cost.

Three scores are calibrated. The pose fit and the fit are p-values: the part of good particles that fit no better, so
that a limit of 0.05 costs 5 % of them. The evidence has one known point, the threshold that 95 % of the particles
the model was made for exceed. For the other scores only the particles themselves can say what is far out: more than
three (robust) standard deviations on the bad side of the median.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.scores import Score
from ..metrics.robust import robust_spread
from ..settings.select import parse_limit
from ..shapes import Flags, Floats

# Proposed limit of p-values, the part of the model's own particles below its evidence threshold, robust s.d. of others.
FIT, BELOW_THRESHOLD, FAR = 0.05, 0.05, 3.0
# Above this fit nearly all particles are the map's: junk has fits close to 0.
WELL = 0.5
# Of images of noise alone, aligned to the map, one in forty has evidence above 0.
HARDLY_ANY = 0.1


@dataclass(frozen=True)
class Limit:
    """A limit on one score.

    Attributes
    ----------
    value : particles on its bad side are rejected.
    loss : expected part of good particles among the rejected, None where no calibration says it.
    basis : where the value and the loss come from, for a person.
    """

    score: Score
    value: float
    loss: float | None
    basis: str

    def rejects(self, values: Floats) -> Flags:
        """Whether each value [n] lies on the bad side."""
        return values < self.value if self.score.low_is_bad else values > self.value

    @property
    def sentence(self) -> str:
        """The limit and what it is expected to cost."""
        side = 'below' if self.score.low_is_bad else 'above'
        cost = (
            'what it costs in good particles is not known: this score has no calibration'
            if self.loss is None
            else f'expected to cost {self.loss:.1%} of the good particles'
        )
        return f'{self.score.title} {side} {self.value:.4g} is rejected ({self.basis}); {cost}'


def choose_limit(score: Score, text: str, values: Floats, threshold: float | None) -> Limit:
    """The limit that a person asked for.

    Parameters
    ----------
    text : a number, ``N%`` (the worst N percent) or ``proposed``.
    values : float64 [n], the score of all particles.
    threshold : evidence that 95 % of the model's own particles exceed, None where it is not known.
    """
    kind, number = parse_limit(score.name, text)
    if kind == 'proposed':
        value, basis = _proposed(score, values, threshold)
    elif kind == 'fraction':
        value, basis = _worst_part(score, values, number), f'the worst {text.strip()} of all'
    else:
        value, basis = number, 'as given'
    return Limit(score, value, _loss(score, value, threshold), basis)


def _worst_part(score: Score, values: Floats, part: float) -> float:
    """The limit that rejects a part of the particles; those that are as bad as its last one go with it."""
    badness = score.badness(values)
    last = np.sort(badness)[::-1][max(round(part * len(values)), 1) - 1]
    better = badness[badness < last]
    limit = float(last if not len(better) else (last + better.max()) / 2)
    return -limit if score.low_is_bad else limit


def _proposed(score: Score, values: Floats, threshold: float | None) -> tuple[float, str]:
    if score.p_value:
        return FIT, 'proposed'
    if score.name == 'evidence' and threshold is not None:
        return threshold, 'proposed: what 95% of the particles that the model was made for exceed'
    centre, sd = robust_spread(values)
    side = -1 if score.low_is_bad else 1
    return centre + side * FAR * sd, f'proposed: {FAR:g} robust standard deviations from the median'


def _loss(score: Score, value: float, threshold: float | None) -> float | None:
    if score.p_value:
        return min(max(value, 0.0), 1.0)
    if score.name == 'evidence' and threshold is not None and abs(value - threshold) < 1e-6:
        return BELOW_THRESHOLD
    return None


def good_particles(fit: Floats) -> float:
    """Estimated part of a set that belongs to the map, from its fits [n].

    Fits of the map's own particles are spread evenly over 0 to 1, those of others heap up at 0; so the part above 0.5,
    doubled, is that of the map's own (Storey, J. R. Stat. Soc. B 64, 479, 2002).
    """
    return float(min((fit > WELL).mean() / (1 - WELL), 1.0))


def nothing_but_noise(evidence: Floats) -> str | None:
    """What to say of a set in which hardly a particle is explained better by the map than by noise alone; None where
    enough of them are.

    Parameters
    ----------
    evidence : float64 [n]
        Log Bayes factors of a projection of the map against an empty image.
    """
    above = int((evidence > 0).sum())
    if above >= HARDLY_ANY * len(evidence):
        return None
    return (
        f'only {above} of {len(evidence)} particles have evidence (cryoemganEvidence) above 0: nearly all of them are '
        'explained better by noise alone than by the map. Images of pure noise that were aligned to a map look the '
        'same, and the best of them by any score give that map back: a map from a selection of these particles '
        'proves nothing'
    )
