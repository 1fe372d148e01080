"""Does a particle show what a guided model's map holds? Its scores against those of particles that are known to.

Three scores say it. match: log Bayes factor of the library against some other object with its power spectrum (a
Gaussian one). misfit: power that the library's explanation leaves. evidence, where it is below 0: nothing explains the
particle better. Evidence alone does not say it: half of the power of any molecule fits some projection of any other.
Their sum, each in its own s.d. over particles of the map's own molecule, is how strange a particle is; the part of
those particles that are stranger still is its p-value. So a limit of 0.05 flags 5 % of the right particles, whatever
the molecule and the noise. Which of the user's particles are right nobody knows: `empirical_null` leaves the wrong ones
out of account, among those that the fold model never saw.

How many of the wrong ones it flags is the power of the test, and noise may leave none: at a low enough SNR a right
particle has evidence below 0 as well. A test without power says nothing, and is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..metrics.robust import robust_spread
from ..shapes import Floats, Json
from .empirical_null import right_particles

FLAG, SURE = 0.05, 0.01  # p-values below which a particle is doubtful, and of something else
LEAST_POWER = 0.5  # a test that flags fewer of the wrong particles (at FLAG) than this tells nothing
PARTS = np.linspace(0, 0.9, 19)


@dataclass(frozen=True)
class Power:
    """Parts of wrong particles that have a p-value below ``FLAG``.

    other: of images of other objects with the map's size and power spectrum. nothing: of images of noise alone.
    """

    other: float
    nothing: float

    @property
    def tells_others(self) -> bool:
        """Whether the test tells other molecules from the map's."""
        return self.other >= LEAST_POWER

    @property
    def tells(self) -> bool:
        """Whether the test tells anything at all."""
        return max(self.other, self.nothing) >= LEAST_POWER

    @classmethod
    def least(cls, powers: Sequence[Power]) -> Power:
        """What several fold models tell together: as much as the worst of them."""
        return cls(min(p.other for p in powers), min(p.nothing for p in powers))


@dataclass(frozen=True)
class PValueCalibration:
    """Scores of particles of the map's molecule.

    match, misfit, evidence: (median, s.d.); evidence None in cards of an earlier version, where it does not count.
    levels: strangeness that the parts 0, 0.05 .. 0.9 of the particles stay below; tail: mean excess over the last
    level, where an exponential tail goes on. particles: their number. power: of the test, as `Power`; None: unknown.
    """

    match: Sequence[float]
    misfit: Sequence[float]
    levels: Sequence[float]
    tail: float
    particles: int
    evidence: Sequence[float] | None = None
    power: Json | None = None

    @classmethod
    def of(
        cls, evidence: Floats, match: Floats, misfit: Floats, simulated: Floats | None = None
    ) -> PValueCalibration:  # fmt: skip
        """From the scores float [n] of particles. simulated: scores [m, 3] (evidence, match, misfit) of simulated right
        particles; None: all particles are right."""
        typical = (evidence, match, misfit) if simulated is None else simulated.T
        rough = cls(_spread(typical[1]), _spread(typical[2]), (), 1.0, len(match), _spread(typical[0]))
        strange = rough.strangeness(evidence, match, misfit)
        if simulated is not None:
            strange = right_particles(strange, rough.strangeness(*simulated.T))
        levels = np.quantile(strange, PARTS)
        tail = float((strange[strange > levels[-1]] - levels[-1]).mean()) if (strange > levels[-1]).any() else 0.0
        return cls(rough.match, rough.misfit, tuple(levels.tolist()), max(tail, 1e-3), len(match), rough.evidence)

    def strangeness(self, evidence: Floats, match: Floats, misfit: Floats) -> Floats:
        """float64 [n]"""
        found: Floats = (self.match[0] - match) / self.match[1] + (misfit - self.misfit[0]) / self.misfit[1]
        if self.evidence is not None:
            below = np.clip((self.evidence[0] - evidence) / self.evidence[1], 0, None)
            found = found + np.where(np.asarray(evidence) < 0, below, 0.0)
        return found

    def fit(self, evidence: Floats, match: Floats, misfit: Floats) -> Floats:
        """p-values float64 [n]: part of the map's own particles that are as strange or stranger."""
        strange = self.strangeness(evidence, match, misfit)
        inside = 1 - np.interp(strange, self.levels, PARTS)
        beyond = (1 - PARTS[-1]) * np.exp(-np.clip(strange - self.levels[-1], 0, None) / self.tail)
        found: Floats = np.where(strange > self.levels[-1], beyond, inside)
        return found

    def power_against(self, other: Floats, nothing: Floats) -> Power:
        """Power of the test from scores [n, 3] (evidence, match, misfit) of wrong particles: other objects, and noise
        alone."""
        flagged = (float((self.fit(*scores.T) < FLAG).mean()) for scores in (other, nothing))
        return Power(*flagged)

    def as_dict(self) -> Json:
        """For the card."""
        return asdict(self)


def _spread(values: Floats) -> tuple[float, float]:
    centre, sd = robust_spread(values)
    return centre, max(sd, 1e-6)


def words(fit: Floats, power: Power | None = None, shown: str = 'the map') -> str:
    """What the p-values float [n] of a set say, for a summary. power: of the test; None: unknown. shown: what the
    particles are compared with."""
    if power is not None and not power.tells:
        return (
            f'the particles are too noisy to tell which of them fit {shown}: of images of another object only '
            f'{power.other:.0%} would be flagged, of pure noise {power.nothing:.0%}, and of the right particles '
            f'{FLAG:.0%}. cryoemganFit is therefore not written'
        )
    doubtful, sure = (int((fit < limit).sum()) for limit in (FLAG, SURE))
    found = (
        f'{doubtful} of {len(fit)} particles ({doubtful / len(fit):.1%}) have a fit to {shown} (cryoemganFit) below '
        f'{FLAG:g}, and {sure} ({sure / len(fit):.1%}) below {SURE:g}. Of good particles {FLAG:.0%} and {SURE:.0%} '
        'would; more than that are junk, another molecule or another state'
    )
    if power is not None and not power.tells_others:
        found += (
            f'. With so much noise, images without a particle are recognised ({power.nothing:.0%} are flagged), but '
            f'other molecules are not ({power.other:.0%})'
        )
    return found
