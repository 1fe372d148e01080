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
DRAWN = 100  # calibrations that tell how sure one is


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
    flags: least and most of the right particles that may have a p-value below ``FLAG``, as far as so many particles
    tell (in nine of ten such calibrations); None: unknown.
    """

    match: Sequence[float]
    misfit: Sequence[float]
    levels: Sequence[float]
    tail: float
    particles: int
    evidence: Sequence[float] | None = None
    power: Json | None = None
    flags: Sequence[float] | None = None

    @classmethod
    def of(
        cls, evidence: Floats, match: Floats, misfit: Floats, simulated: Floats | None = None
    ) -> PValueCalibration:  # fmt: skip
        """From the scores float [n] of particles. simulated: scores [m, 3] (evidence, match, misfit) of simulated right
        particles; None: all particles are right."""
        typical = (evidence, match, misfit) if simulated is None else simulated.T
        rough = cls(_spread(typical[1]), _spread(typical[2]), (), 1.0, len(match), _spread(typical[0]))
        strange = rough.strangeness(evidence, match, misfit)
        known = None if simulated is None else rough.strangeness(*simulated.T)
        levels, tail = _levels(strange if known is None else right_particles(strange, known))
        flags = _flags(strange, known, levels, tail)
        return cls(rough.match, rough.misfit, levels, tail, len(match), rough.evidence, None, flags)

    def strangeness(self, evidence: Floats, match: Floats, misfit: Floats) -> Floats:
        """float64 [n]"""
        found: Floats = (self.match[0] - match) / self.match[1] + (misfit - self.misfit[0]) / self.misfit[1]
        if self.evidence is not None:
            below = np.clip((self.evidence[0] - evidence) / self.evidence[1], 0, None)
            found = found + np.where(np.asarray(evidence) < 0, below, 0.0)
        return found

    def fit(self, evidence: Floats, match: Floats, misfit: Floats) -> Floats:
        """p-values float64 [n]: part of the map's own particles that are as strange or stranger."""
        return _beyond(self.strangeness(evidence, match, misfit), self.levels, self.tail)

    def power_against(self, other: Floats, nothing: Floats) -> Power:
        """Power of the test from scores [n, 3] (evidence, match, misfit) of wrong particles: other objects, and noise
        alone."""
        flagged = (float((self.fit(*scores.T) < FLAG).mean()) for scores in (other, nothing))
        return Power(*flagged)

    def as_dict(self) -> Json:
        """For the card."""
        return asdict(self)


def _levels(right: Floats) -> tuple[tuple[float, ...], float]:
    """(levels, tail) of the strangeness float64 [n] of right particles."""
    levels = np.quantile(right, PARTS)
    excess = right[right > levels[-1]] - levels[-1]
    return tuple(levels.tolist()), max(float(excess.mean()) if len(excess) else 0.0, 1e-3)


def _beyond(strange: Floats, levels: Sequence[float], tail: float) -> Floats:
    """Part of the right particles that are stranger than each value of ``strange`` [n]."""
    inside = 1 - np.interp(strange, levels, PARTS)
    beyond = (1 - PARTS[-1]) * np.exp(-np.clip(strange - levels[-1], 0, None) / tail)
    found: Floats = np.where(strange > levels[-1], beyond, inside)
    return found


def _flags(strange: Floats, simulated: Floats | None, levels: Sequence[float], tail: float) -> tuple[float, float]:
    """The middle nine tenths of the parts that ``FLAG`` flags, over calibrations on particles drawn anew from these
    (bootstrap)."""
    rng, limits = np.random.default_rng(0), []
    for _ in range(DRAWN):
        real = rng.choice(strange, len(strange))
        drawn = real if simulated is None else right_particles(real, rng.choice(simulated, len(simulated)))
        drawn_levels, excess = _levels(drawn)
        limits.append(drawn_levels[-1] + excess * np.log((1 - PARTS[-1]) / FLAG))
    low, high = np.quantile(_beyond(np.array(limits), levels, tail), (0.05, 0.95))
    return float(low), float(high)


def _spread(values: Floats) -> tuple[float, float]:
    centre, sd = robust_spread(values)
    return centre, max(sd, 1e-6)


def words(
    fit: Floats, power: Power | None = None, shown: str = 'the map', flags: Sequence[float] | None = None
) -> str:  # fmt: skip
    """What the p-values float [n] of a set say, for a summary. power: of the test; None: unknown. shown: what the
    particles are compared with. flags: as of `PValueCalibration`."""
    if power is not None and not power.tells:
        return (
            f'the particles are too noisy to tell which of them fit {shown}: of images of another object only '
            f'{power.other:.0%} would be flagged, of pure noise {power.nothing:.0%}, and of the right particles '
            f'{FLAG:.0%}. cryoemganFit is therefore not written'
        )
    doubtful, sure = (int((fit < limit).sum()) for limit in (FLAG, SURE))
    sureness = ''
    if flags is not None:
        sureness = (
            f' (the first may as well be {flags[0]:.1%} to {flags[1]:.1%}: the particles kept out of training do not '
            'tell it more exactly)'
        )
    found = (
        f'{doubtful} of {len(fit)} particles ({doubtful / len(fit):.1%}) have a fit to {shown} (cryoemganFit) below '
        f'{FLAG:g}, and {sure} ({sure / len(fit):.1%}) below {SURE:g}. Of good particles {FLAG:.0%} and {SURE:.0%} '
        f'would{sureness}; more than that are junk, another molecule or another state'
    )
    if power is not None and not power.tells_others:
        found += (
            f'. With so much noise, images without a particle are recognised ({power.nothing:.0%} are flagged), but '
            f'other molecules are not ({power.other:.0%})'
        )
    return found
