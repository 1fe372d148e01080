"""What a particle's contrast and centre are, by its comparison with the mean map: nothing that a mode should explain.

Both are drawn towards those of the set by as much as noise lets them scatter (empirical Bayes): where all particles
have one grey scale and are centred, little changes. An error of half a pixel hides a conformation that moves less.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..shapes import Tensor

LEAST_CONTRAST = 0.2
# Gauss-Newton steps to a particle's shift; rounds in which the variance of shifts settles, from this start (px^2).
STEPS, ROUNDS, START = 2, 10, 1.0


class ScaleAndShift:
    """Contrast and shift of particles as slices (variability.Slices). In all calls coefficients complex64 [n, m] are of
    particles, mean [n, m] is the mean map as each of them sees it, CTF included."""

    def __init__(self, slices: Any) -> None:
        self._waves = torch.stack([slices.kx, slices.ky]) * (2 * math.pi / slices.box)
        # Mean and variance of the contrast; variance of a shift along either axis, px^2.
        self.contrast, self.shift_variance = (1.0, 0.0), 0.0

    def fit(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Learn what the particles have in common. pairs: list of (coefficients, mean)."""
        gain, error = (torch.cat(x) for x in zip(*(_contrasts(*pair) for pair in pairs)))
        self.contrast = float(gain.mean()), max(0.0, float(gain.var() - error.mean()))
        scaled = [(self._scaled(*pair), pair[1]) for pair in pairs]
        self.shift_variance = START
        for _ in range(ROUNDS):
            found = [self._shifts(*pair) for pair in scaled]
            shift, left = (torch.cat([f[i] for f in found]) for i in (0, 1))
            self.shift_variance = float((shift**2 + left).mean())

    def __call__(self, coefficients: Tensor, mean: Tensor) -> Tensor:
        """Coefficients of the particles with one contrast, and centred."""
        scaled = self._scaled(coefficients, mean)
        if not self.shift_variance:
            return scaled
        return scaled * self._ramps(-self._shifts(scaled, mean)[0])

    def _scaled(self, coefficients: Tensor, mean: Tensor) -> Tensor:
        centre, variance = self.contrast
        if variance == 0:
            return coefficients
        gain, error = _contrasts(coefficients, mean)
        likely = (centre * error + gain * variance) / (error + variance)
        # A particle of no or of inverted contrast is junk: it is left as weak as it is.
        return coefficients / (likely / centre).clamp_min(LEAST_CONTRAST)[:, None]

    def _ramps(self, shifts: Tensor) -> Tensor:
        """Factors complex64 [n, m] that move a particle by shifts [n, 2] (x, y) px."""
        turns = shifts @ self._waves
        return torch.polar(torch.ones_like(turns), -turns)

    def _shifts(self, coefficients: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Most likely shifts of particles against the mean map [n, 2] px, and the variance left to each."""
        # Half a plane of complex numbers: twice as many real ones, each with half the noise.
        precision = 2 / (coefficients - mean).abs().square().mean()
        prior = torch.eye(2) / self.shift_variance
        shift = torch.zeros(len(mean), 2)
        for _ in range(STEPS):
            seen = mean * self._ramps(shift)
            slope = -1j * self._waves * seen[:, None]
            curvature = precision * (slope.conj() @ slope.transpose(1, 2)).real + prior
            towards = precision * (slope.conj() @ (coefficients - seen)[:, :, None]).real - prior @ shift[:, :, None]
            shift = shift + torch.linalg.solve(curvature, towards)[:, :, 0]
        return shift, torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2)


def _contrasts(coefficients: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares contrast of particles to the mean map [n], and its variance from noise."""
    power = (mean.abs() ** 2).sum(1).clamp_min(1e-12)
    gain = (mean.conj() * coefficients).real.sum(1) / power
    left = (coefficients - gain[:, None] * mean).abs().square().mean(1)
    # Of the complex noise only the part along the mean counts.
    return gain, left / (2 * power)
