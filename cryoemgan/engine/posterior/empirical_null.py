"""How strange right particles are, learnt from a set that holds wrong ones too.

Simulated right particles have the shape of the distribution, but the map is not quite the molecule: real ones are
stranger, by an amount that nobody knows. The real set knows it, but a part of it is junk, which is stranger still. So
the simulated distribution is moved and widened until it agrees with the less strange side of the real one, where there
is hardly any junk (Efron, J. Am. Stat. Assoc. 99, 96, 2004).
"""

from __future__ import annotations

import numpy as np

from ..shapes import Floats

# Quantiles of the right particles that are compared; parts of the set that they may be; how much wider than simulated.
COMPARED = np.arange(0.05, 0.61, 0.05)
SHARES = np.arange(0.3, 1.001, 0.05)
WIDER = (0.9, 10.0)
# By so many squared errors of a particle the fit must gain to call a whole set junk: small sets look like anything.
DOUBT = 100.0


def right_particles(real: Floats, simulated: Floats) -> tuple[Floats, float]:
    """Strangeness float64 [m] of right particles, and which part of a set they are.

    Parameters
    ----------
    real : float64 [n]
        Strangeness of the particles of a set.
    simulated : float64 [m]
        That of simulated right particles.
    """
    wanted = np.quantile(simulated, COMPARED)
    away = wanted - wanted.mean()
    # Quantiles are known the worse the farther they are from the middle.
    weight = 1 / (COMPARED * (1 - COMPARED))
    # Both quantiles are uncertain.
    known = 1 / (1 / len(real) + 1 / len(simulated))
    best = (np.inf, 1.0, 0.0, 1.0)
    for share in SHARES:
        found = np.quantile(real, share * COMPARED)
        wider = float(np.clip((away * found).sum() / (away * away).sum(), *WIDER))
        moved = float(found.mean() - wider * wanted.mean())
        error = known * float((weight * (found - moved - wider * wanted) ** 2).sum()) / wider**2
        error += DOUBT * (1 - share)
        if error < best[0]:
            best = error, float(share), moved, wider
    _, share, moved, wider = best
    return moved + wider * simulated, share
