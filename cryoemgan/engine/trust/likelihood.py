"""How likely particles are under templates that may be right or wrong: in each ring of the Fourier plane by itself.

Model: Y = a_r T + noise, with a gain a_r >= 0 of each ring, the same for all particles, since maps are filtered and
sharpened in ways that nobody wrote down. So a template is not believed for its low frequencies, which every round blob
shares with every other. Gains are measured on one half of the particles and used on the other: a hypothesis with more
freedom gains nothing by it.
"""

from __future__ import annotations

import numpy as np
import torch

from ..imaging.rings import multiplicity, ring_index
from ..shapes import Floats, Tensor

# Rings on each side over which gains are smoothed: the zeros of a CTF must not pass for a gain.
SMOOTH = 2


class Likelihood:
    """Of the same particles under many templates.

    Parameters
    ----------
    particles : complex64 [n, N, N // 2 + 1]
        Their rfft2.

    Attributes
    ----------
    counts, noise : float64 [rings]
        Coefficients of each ring, and their mean power in the particles.
    """

    def __init__(self, particles: Tensor) -> None:
        self._y = particles
        box = particles.shape[1]
        self._rings = box // 2 + 1
        ring = ring_index(box)
        # Corners hold little, and the last ring is where grids alias.
        self._inside = _tensor(np.flatnonzero(ring.ravel() < box // 2), particles)
        self._ring = _tensor(ring.ravel(), particles)[self._inside]
        count = np.broadcast_to(multiplicity(box), ring.shape).ravel()
        self._count = _tensor(count.astype(np.float32), particles)[self._inside]
        self.counts = self._sums(torch.ones(1, *particles.shape[1:], device=particles.device))[0]
        self.noise = self._sums(particles.abs().square()).mean(0) / np.maximum(self.counts, 1)

    def __len__(self) -> int:
        return len(self._y)

    @property
    def spectra(self) -> Tensor:
        """The particles' rfft2, complex64 [n, N, N // 2 + 1]."""
        return self._y

    def moments(self, templates: Tensor, band: Tensor | None = None) -> Moments:
        """Products of templates complex64 [n, N, N // 2 + 1] with the particles, and with themselves, by rings.

        band: bool [n, N, N // 2 + 1], the coefficients of each particle that count; default all.
        """
        product, power = (templates.conj() * self._y).real, templates.abs().square()
        if band is not None:
            product, power = product * band, power * band
        noise = np.maximum(self.noise, 1e-12 * self.noise.max())
        c, p = self._sums(product) / noise, self._sums(power) / noise
        c[:, 0] = p[:, 0] = 0
        return Moments(c, p)

    def _sums(self, values: Tensor) -> Floats:
        """float64 [n, rings] of values [n, N, N // 2 + 1]."""
        flat = values.flatten(1)[:, self._inside] * self._count
        out = flat.new_zeros(len(flat), self._rings)
        return out.index_add_(1, self._ring, flat).double().cpu().numpy()


class Moments:
    """Products of particles with templates, c, and of templates with themselves, p, over noise: float64 [n, rings]."""

    def __init__(self, c: Floats, p: Floats) -> None:
        self.c, self.p = c, p
        self._fold = np.arange(len(c)) % 2

    def gains(self, rows: np.ndarray, sign: int = 1) -> Floats:
        """float64 [rings], from some of the particles; 0 where nothing tells them. sign: -1 for inverted contrast."""
        c, p = _smoothed(self.c[rows]), _smoothed(self.p[rows])
        total, error = sign * c.sum(0), np.sqrt(np.square(c).sum(0))
        # Of a gain as small as its error nothing is left (James and Stein).
        sure = 1 - np.square(np.divide(error, total, out=np.ones_like(total), where=total > error))
        found = np.divide(total, p.sum(0), out=np.zeros_like(total), where=p.sum(0) > 0)
        return sign * np.clip(found, 0, None) * sure

    def log(self, sign: int = 1) -> Floats:
        """float64 [n]: log likelihood ratio of each particle against noise alone."""
        found = np.empty(len(self.c))
        for fold in (0, 1):
            gain = self.gains(self._fold != fold, sign)
            mine = self._fold == fold
            found[mine] = (gain * self.c[mine] - 0.5 * gain**2 * self.p[mine]).sum(1)
        return found

    def signs(self) -> Floats:
        """float64 [rings]: by how many standard errors particles and templates agree in each ring."""
        c = _smoothed(self.c)
        return c.sum(0) / np.maximum(np.sqrt(np.square(c).sum(0)), 1e-30)


def better(values: Floats, others: Floats) -> float:
    """By how many standard errors the mean of values [n] is above that of others of the same particles."""
    difference = values - others
    error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else np.inf
    return float(difference.mean() / error) if error > 0 else 0.0


def _smoothed(values: Floats) -> Floats:
    """Sums over neighbouring rings, with triangular weights: float64 [n, rings]."""
    padded = np.pad(values, ((0, 0), (SMOOTH, SMOOTH)))
    rings = values.shape[1]
    weights = 1 - np.abs(np.arange(-SMOOTH, SMOOTH + 1)) / (SMOOTH + 1)
    return np.sum([w * padded[:, k : k + rings] for k, w in enumerate(weights)], axis=0)


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)
