"""Which detail of denoised images the particles support: the FRC with the truth, known on simulated replicates, as far
as real particles behave like them.

An output repeats the signal of its particle, and some of its noise. How much of the noise is known from replicates;
the rest of what a real output has in common with its own particle is signal. Where that is less than replicates have
(a map that is sharper than the particles, or not of them), the FRC is as much lower.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ..imaging.rings import ring_sums
from ..metrics.frc import ring_correlation
from ..shapes import Floats, Images

# Standard errors by which real particles must fall short of replicates before it counts.
SIGNIFICANT = 2.0


class Support:
    """Sums over batches of replicates and of real particles.

    Outputs are given twice: as they are drawn, and ``seen`` as particles show them (with the CTF, where outputs have
    none).
    """

    def __init__(self) -> None:
        self._frc: list[Floats] = []
        self._slope: list[Floats] = []
        self._simulated: list[list[Floats]] = []
        self._real: list[list[Floats]] = []

    def add_replicates(self, output: Images, truth: Images, seen: Images, signal: Images, noise: Images) -> None:
        """Outputs [n, N, N] for replicates, their truth, and the replicates' two parts."""
        self._frc.append(ring_correlation(output, truth))
        centred = [x - x.mean((1, 2), keepdims=True, dtype=np.float64) for x in (output, truth)]
        self._slope.append(np.stack([(centred[0] * x).sum((1, 2)) for x in centred], 1))
        self._simulated.append([_common(seen, x) for x in (signal, noise, seen)])

    def add_particles(self, seen: Images, particles: Images) -> None:
        """Outputs for real particles, and the particles, [n, N, N]."""
        self._real.append([_common(seen, x) for x in (particles, seen)])

    def slope(self) -> float:
        """Factor that takes outputs to the amplitude of the truth; 1 when they show nothing."""
        power, common = np.concatenate(self._slope).sum(0)
        return float(common / power) if common > 0 and power > 0 else 1.0

    def frc(self) -> Floats:
        """Mean FRC of an output with the signal of its particle, float64 [rings]."""
        found: Floats = np.concatenate(self._frc).mean(0) * self._share()
        return found

    def _share(self) -> Floats:
        """How much of what outputs for replicates share with the signal those for real particles do: 0 .. 1 by rings.

        A signal that is weaker than the map says counts as less: nothing tells it from a wrong one.
        """
        signal, noise, power = (np.concatenate(x) for x in zip(*self._simulated, strict=True))
        common, real = (np.concatenate(x) for x in zip(*self._real, strict=True))
        with np.errstate(divide='ignore', invalid='ignore'):
            # In units of the outputs' own amplitude, per image.
            units = np.sqrt(power.mean(0)), np.sqrt(real.mean(0))
            shared, repeated = signal.mean(0) / units[0], noise.mean(0) / units[0]
            found = common.mean(0) / units[1] - repeated
            error = common.std(0) / len(common) ** 0.5 / units[1]
            share = (found + SIGNIFICANT * error) / shared
        return np.where(np.isfinite(share) & (shared > 0), np.clip(share, 0, 1), 1.0)


def _common(images: Images, others: Images) -> Floats:
    """What two sets of images [n, N, N] have in common, by rings: float64 [n, rings]."""
    f, g = (fft.rfft2(x - x.mean((1, 2), keepdims=True)) for x in (images, others))
    return ring_sums(f.real * g.real + f.imag * g.imag)
