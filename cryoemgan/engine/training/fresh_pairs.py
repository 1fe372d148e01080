"""Fresh training pairs that cost nothing: new projections, or known references, under new noise of the data's kind.

A pair is a pure function of (seed, number of the draw), so that a resumed run sees what the unbroken one would have.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft

from .. import geometry
from ..errors import InputError
from ..imaging import maps, resample
from ..imaging.ctf import apply_ctf, ctf_rfft
from ..imaging.projection import FourierProjector
from ..random_streams import generator

# Pairs on which noise and grey scale are measured: the power of a ring of n pixels is then known to 1/sqrt(500 n).
SAMPLE = 500
# Pixels of projections kept at a time, and how often each is shown, with new noise, before it is made anew.
KEPT_PIXELS, SHOWN = 2**21, 4
# Projections of the map that made the references correlate with them up to masks and filters; another map does not.
LEAST_CORRELATION = 0.7


@dataclass(frozen=True)
class Measured:
    """What the real pairs say. particle = gain * CTF(reference) + offset + noise; power float32 [box, box//2+1], of
    the noise at each frequency, 1 for white noise of variance 1; variance of the signal part."""

    gain: float
    offset: float
    power: np.ndarray
    signal_variance: float

    @property
    def variance(self):
        """Variance of the noise."""
        full = np.concatenate([self.power, self.power[:, 1 : self.power.shape[0] - self.power.shape[1] + 1]], axis=1)
        return float(full.mean())

    @property
    def snr(self):
        """Variance of the signal over that of the noise."""
        return self.signal_variance / self.variance


class FreshPairs:
    """Endless pairs like those at ``positions`` of a ReferencePairs, in normalised units.

    volumes: maps.Map, all equally likely; their projections at uniformly random angles, with shifts and CTF of
    random particles, become references. Without volumes the references at ``positions`` are used. background:
    NoiseImages that the noise is taken from, scaled as a set to the variance of the particles' noise; without it
    noise is Gaussian, of the particles' power spectrum.
    InputError when the references are no projections of the volumes.
    """

    def __init__(self, pairs, positions, seed, volumes=(), background=None):
        self.pairs, self.positions, self.seed = pairs, np.asarray(positions), seed
        self.background = background
        table = pairs.particles
        self._ctf = table.ctf() if table.has('rlnDefocusU') else None
        self._references_hold = pairs.references.provenance.get('ctf', 'none')
        self._particles_hold = table.provenance.get('ctf', 'full')
        self._block = None, None
        self._maps = [_Projections(v, pairs) for v in volumes]
        if volumes:
            self._shifts = table.shifts() * pairs.box / table.box
            self._calibrate()
        self.measured = self._measure()

    @property
    def corrects_ctf(self):
        """Particles have a CTF that their references do not have."""
        return self._ctf is not None and self._references_hold == 'none' and self._particles_hold != 'none'

    def draw(self, number, count, level=1.0):
        """Draw ``number``: (particles, references) float32 [count, box, box]; noise s.d. ``level`` times the data's."""
        rng = generator(self.seed, 'fresh', number)
        clean, rows = self._references(rng, number, count)
        m, s = self.measured, self.pairs.scale
        signal = m.gain * self._as_seen(clean, rows) + m.offset
        noisy = signal + np.float32(level) * self._noise(rng, number, count)
        units = np.float32(s.unit_scale) * clean + np.float32(s.unit_offset)
        return ((noisy - s.mean) / s.sd).astype(np.float32), units.astype(np.float32)

    def _noise(self, rng, number, count):
        if self.background is None:
            return coloured_noise(rng, count, self.measured.power)
        return np.float32(self.background_scale) * self.background.draw(rng, number, count)

    @property
    def background_scale(self):
        """Factor that brings the background to the noise of the particles; 1 when both are normalised alike."""
        return (self.measured.variance / self.background.variance) ** 0.5

    def without_noise(self, positions, clean):
        """Standardised particles at these positions without noise, from their references in network units."""
        m, s = self.measured, self.pairs.scale
        grey = (clean - np.float32(s.unit_offset)) / np.float32(s.unit_scale)
        seen = self._as_seen(grey, self.pairs.rows[positions])
        return np.float32(m.gain / s.sd) * seen + np.float32((m.offset - s.mean) / s.sd)

    def _references(self, rng, number, count):
        """References in their own grey values, and the rows of the particles whose CTF they get."""
        if not self._maps:
            # The CTF in a reference that has one is its own particle's.
            chosen = rng.choice(self.positions, count, replace=count > len(self.positions))
            rows = self.pairs.rows[chosen]
            return self.pairs.raw(chosen)[1], rng.permutation(rows) if self.corrects_ctf else rows
        size = max(count, KEPT_PIXELS // self.pairs.box**2)
        index = number * count // (SHOWN * size)
        if self._block[0] != (index, size):
            self._block = (index, size), self._project(generator(self.seed, 'projections', index), size)
        clean, rows = self._block[1]
        chosen = rng.choice(size, count, replace=False)
        return clean[chosen], rows[chosen]

    def _project(self, rng, count):
        rows = rng.choice(self.pairs.rows[self.positions], count)
        matrices = geometry.random_matrices(count, rng)
        which = rng.integers(len(self._maps), size=count)
        clean = np.empty((count, self.pairs.box, self.pairs.box), np.float32)
        for i, source in enumerate(self._maps):
            mine = which == i
            clean[mine] = source(matrices[mine], self._shifts[rows[mine]])
        return self._with_ctf(self._slope * clean + self._intercept, rows, self._references_hold), rows

    def _as_seen(self, clean, rows):
        """References as the particles of these rows show them, without noise."""
        return self._with_ctf(clean, rows, self._particles_hold) if self.corrects_ctf else clean

    def _with_ctf(self, images, rows, mode):
        if self._ctf is None or mode == 'none':
            return images
        box = self.pairs.box
        ctf = ctf_rfft(box, self.pairs.pixel_size, {k: v[rows] for k, v in self._ctf.items()})
        seen = apply_ctf(torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images, np.float32))), ctf, mode)
        return torch.fft.irfft2(seen, s=(box, box)).numpy()

    def _sample(self):
        return self.positions[_spread(len(self.positions), SAMPLE)]

    def _calibrate(self):
        """Grey scale of the references: reference = slope * projection + intercept, over the maps' best fits."""
        chosen = self._sample()
        rows = self.pairs.rows[chosen]
        references = self.pairs.raw(chosen)[1].reshape(len(chosen), -1).astype(np.float64)
        matrices = self.pairs.particles.rotations()[rows]
        seen = [
            self._with_ctf(m(matrices, self._shifts[rows]), rows, self._references_hold).reshape(len(chosen), -1)
            for m in self._maps
        ]
        agreement = np.array([_correlation(references, p) for p in seen])
        best = agreement.argmax(0)
        found = agreement.max(0).mean()
        if found < LEAST_CORRELATION:
            raise InputError(
                f'--volume: projections of the volume at the angles of {self.pairs.particles.path} correlate with the '
                f'references only by {found:.2f}: give the map (or maps) that the references were projected from'
            )
        projected = np.stack(seen)[best, np.arange(len(chosen))].astype(np.float64)
        self._slope, self._intercept = (np.float32(v) for v in _line(projected, references))

    def _measure(self):
        chosen = self._sample()
        noisy, clean = self.pairs.raw(chosen)
        seen = self._as_seen(clean, self.pairs.rows[chosen])
        gain, offset = _line(seen.astype(np.float64), noisy.astype(np.float64))
        residual = noisy - np.float32(gain) * seen - np.float32(offset)
        return Measured(gain, offset, radial_power(residual), float(gain**2 * seen.var(axis=(1, 2)).mean()))


class _Projections:
    """Projections of one map in the particles' box and pixel size."""

    def __init__(self, volume, pairs):
        plan = resample.plan_resampling(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)
        self._projector = FourierProjector(plan.apply(volume.data) * (plan.pixel_size / volume.pixel_size))
        self._scale = pairs.pixel_size / plan.pixel_size

    def __call__(self, matrices, shifts):
        scale = None if abs(self._scale - 1) < 1e-5 else self._scale
        batches = np.array_split(np.arange(len(matrices)), max(1, len(matrices) // 64))
        return np.concatenate([self._projector.project(matrices[b], shifts[b], scale).numpy() for b in batches])


def read_volumes(paths, pairs, job):
    """Maps for `FreshPairs`, checked to meet the pairs' box and pixel size."""
    volumes = [maps.read_map(job.input(p)) for p in paths]
    for v in volumes:
        resample.plan_resampling(v.box, v.pixel_size, pairs.box, pairs.pixel_size)
    return volumes


def radial_power(images):
    """Power spectrum of images [n, N, N] averaged over rings: float32 [N, N//2+1], 1 for white noise of variance 1."""
    box = images.shape[-1]
    power = (np.abs(fft.rfft2(images)) ** 2).mean(axis=0) / box**2
    rings = np.hypot(fft.fftfreq(box)[:, None] * box, fft.rfftfreq(box) * box).round().astype(int)
    # Columns 0 and N/2 of a half transform stand for themselves, the others for two.
    weight = np.full(rings.shape, 2.0)
    weight[:, [0, box // 2]] = 1.0
    total, count = (np.bincount(rings.ravel(), (weight * v).ravel()) for v in (power, np.ones_like(power)))
    return (total / count)[rings].astype(np.float32)


def coloured_noise(rng, count, power):
    """Gaussian noise float32 [count, N, N] of a power spectrum [N, N//2+1] (as from `radial_power`)."""
    box = power.shape[0]
    white = rng.standard_normal((count, box, box), dtype=np.float32)
    return fft.irfft2(fft.rfft2(white) * np.sqrt(power), s=(box, box))


def _spread(count, most):
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _line(x, y):
    """(slope, intercept) of the least-squares line over all values."""
    slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var()
    return float(slope), float(y.mean() - slope * x.mean())


def _correlation(a, b):
    a, b = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
