"""How strange right particles are, learnt from a set that holds wrong ones too.

Simulated right particles have the shape of the distribution, but the map is not quite the molecule: real ones are
stranger, by an amount that nobody knows. The real set knows it, but a part of it is junk, which is stranger still. So
the simulated distribution is moved and widened until it agrees with the less strange side of the real one, where there
is hardly any junk (Efron, J. Am. Stat. Assoc. 99, 96, 2004). That says who is junk beyond doubt, but little more: the
low side of a few hundred particles tells the limit that 5 % of the right ones miss to half of itself. So it is aligned
once more, to nearly all of what is left of the set without those.
"""

from __future__ import annotations

import numpy as np

from ..shapes import Floats

# Quantiles that are compared with all of a set, and with what is left without its junk; how much wider than simulated
# right particles may be.
LOW, LEFT = np.arange(0.05, 0.41, 0.05), np.arange(0.05, 0.81, 0.05)
WIDER = (0.9, 10.0)
# Part of the right particles that are stranger than where junk begins, and s.d. of their number that are no junk yet.
RARE, DOUBT = 0.02, 2.0


def right_particles(real: Floats, simulated: Floats) -> Floats:
    """Strangeness float64 [m] of right particles.

    Where a part of the set is junk, its less strange side holds a little more of the right particles than it is taken
    for, and right ones are called strange more rarely than they should be. (To estimate that part by the less strange
    side, too, was tried: on a few hundred particles it took every difference in shape for junk, and a tenth of the
    right ones were flagged.)

    Parameters
    ----------
    real : float64 [n]
        Strangeness of the particles of a set.
    simulated : float64 [m]
        That of simulated right particles.
    """
    rough = _aligned(real, simulated, LOW)
    return _aligned(_without_junk(real, rough), simulated, LEFT)


def _aligned(real: Floats, simulated: Floats, compared: Floats) -> Floats:
    """Simulated strangeness, moved and widened to the quantiles ``compared`` of the real one."""
    wanted, found = np.quantile(simulated, compared), np.quantile(real, compared)
    away = wanted - wanted.mean()
    wider = float(np.clip((away * found).sum() / (away * away).sum(), *WIDER))
    moved: Floats = found.mean() + wider * (simulated - wanted.mean())
    return moved


def _without_junk(real: Floats, right: Floats) -> Floats:
    """The set less its strangest part, as large as it has more strange ones than right particles (and doubt) let
    expect."""
    beyond = float((real > np.quantile(right, 1 - RARE)).mean())
    junk = (beyond - RARE) / (1 - RARE) - DOUBT * (RARE * (1 - RARE) / len(real)) ** 0.5
    kept: Floats = np.sort(real)[: len(real) - int(len(real) * max(junk, 0.0))]
    return kept
