"""Does a particle show what a guided model's map holds? Its scores against those of particles that are known to.

Two scores say it. match: log odds of the bank against some other object with the bank's power spectrum (a Gaussian
one). misfit: power that the bank's explanation leaves. Evidence against nothing does not say it: half of the power of
any molecule fits some projection of any other. Their sum, each in its own s.d. over particles of the map's own
molecule that the member never saw, is how strange a particle is; the part of those particles that are stranger still
is its ``fit``. So a limit of 0.05 flags 5 % of the right particles, whatever the molecule and the noise.
"""

from dataclasses import asdict, dataclass

import numpy as np

FLAG, SURE = 0.05, 0.01  # fits below which a particle is doubtful, and of something else
PARTS = np.linspace(0, 0.9, 19)
MAD = 1.4826  # of a normal distribution: s.d. over median absolute deviation


@dataclass(frozen=True)
class PValueCalibration:
    """Scores of particles of the map's molecule. match, misfit: (median, s.d.); levels: strangeness that the parts
    0, 0.05 .. 0.9 of them stay below; tail: mean excess over the last level, where an exponential tail goes on;
    particles: their number."""

    match: tuple
    misfit: tuple
    levels: tuple
    tail: float
    particles: int

    @classmethod
    def of(cls, match, misfit):
        """From the scores float[n] of such particles."""
        rough = cls(_spread(match), _spread(misfit), (), 1.0, len(match))
        strange = rough.strangeness(match, misfit)
        levels = np.quantile(strange, PARTS)
        tail = float((strange[strange > levels[-1]] - levels[-1]).mean()) if (strange > levels[-1]).any() else 0.0
        return cls(rough.match, rough.misfit, tuple(levels.tolist()), max(tail, 1e-3), len(match))

    def strangeness(self, match, misfit):
        """float64[n]"""
        return (self.match[0] - match) / self.match[1] + (misfit - self.misfit[0]) / self.misfit[1]

    def fit(self, evidence, match, misfit):
        """float64[n]: part of the map's own particles that are as strange or stranger; 0 for particles that nothing
        explains better than the bank does."""
        strange = self.strangeness(match, misfit)
        inside = 1 - np.interp(strange, self.levels, PARTS)
        beyond = (1 - PARTS[-1]) * np.exp(-np.clip(strange - self.levels[-1], 0, None) / self.tail)
        return np.where(evidence < 0, 0.0, np.where(strange > self.levels[-1], beyond, inside))

    def as_dict(self):
        """For the card."""
        return asdict(self)


def _spread(values):
    centre = float(np.median(values))
    return centre, max(MAD * float(np.median(np.abs(values - centre))), 1e-6)


def words(fit):
    """What the fits float[n] of a set say, for a summary."""
    doubtful, sure = (int((fit < limit).sum()) for limit in (FLAG, SURE))
    return (
        f'{doubtful} of {len(fit)} particles ({doubtful / len(fit):.0%}) fit the map worse than {1 - FLAG:.0%} of the '
        f'particles it was made for (cryoemganFit below {FLAG:g}; {FLAG:.0%} are to be expected), {sure} '
        f'({sure / len(fit):.0%}) worse than {1 - SURE:.0%} (below {SURE:g}): junk, another molecule or state'
    )
