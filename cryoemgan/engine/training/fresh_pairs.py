"""Fresh training pairs that cost nothing: new projections, or known references, under new noise of the data's kind.

A pair is a pure function of (seed, number of the draw), so that a resumed run sees what the unbroken one would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft

from .. import geometry
from ..data.sampling import chunks, evenly_spread
from ..errors import InputError
from ..imaging import maps, resample
from ..imaging.ctf import apply_ctf, ctf_rfft
from ..imaging.projection import FourierProjector
from ..job import Job
from ..random_streams import generator
from ..shapes import Floats, Images, Matrices, Rows, Shifts, Tensor
from .noise_images import NoiseImages
from .pairs import ReferencePairs

# Pairs on which noise and grey scale are measured: the power of a ring of n pixels is then known to 1/sqrt(500 n).
SAMPLE = 500
# Pixels of projections kept at a time, and how often each is shown, with new noise, before it is made anew.
KEPT_PIXELS, SHOWN = 2**21, 4
# Projections of the map that made the references correlate with them up to masks and filters; another map does not.
LEAST_CORRELATION = 0.7


@dataclass(frozen=True)
class NoiseModel:
    """What the real pairs say: particle = gain * CTF(reference) + offset + noise.

    power: of the noise at each frequency, float32 [box, box//2+1], 1 for white noise of variance 1. signal_variance: of
    the rest of a particle.
    """

    gain: float
    offset: float
    power: Images
    signal_variance: float

    @property
    def variance(self) -> float:
        """Variance of the noise."""
        full = np.concatenate([self.power, self.power[:, 1 : self.power.shape[0] - self.power.shape[1] + 1]], axis=1)
        return float(full.mean())

    @property
    def snr(self) -> float:
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

    def __init__(
        self,
        pairs: ReferencePairs,
        positions: Rows,
        seed: int,
        volumes: Sequence[maps.Map] = (),
        background: NoiseImages | None = None,
    ) -> None:
        self.pairs, self.positions, self.seed = pairs, np.asarray(positions), seed
        self.background = background
        table = pairs.particles
        self._ctf = table.ctf() if table.has('rlnDefocusU') else None
        self._references_hold = pairs.references.provenance.get('ctf', 'none')
        self._particles_hold = table.provenance.get('ctf', 'full')
        self._key: tuple[int, int] | None = None
        self._block: tuple[Images, Rows] | None = None
        self._maps = [_Projections(v, pairs) for v in volumes]
        if volumes:
            self._shifts = table.shifts() * pairs.box / table.box
            self._slope, self._intercept = self._grey_scale_of_projections()
        self.noise = self._fit_noise()

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise, as measured on the set."""
        return self.noise.snr

    @property
    def corrects_ctf(self) -> bool:
        """Particles have a CTF that their references do not have."""
        return self._ctf is not None and self._references_hold == 'none' and self._particles_hold != 'none'

    def draw(self, number: int, count: int, level: float = 1.0) -> tuple[Tensor, Tensor]:
        """Draw ``number``: (particles, references) [count, 1, box, box]; noise s.d. ``level`` times the data's."""
        rng = generator(self.seed, 'fresh', number)
        clean, rows = self._references(rng, number, count)
        m, s = self.noise, self.pairs.scale
        signal = m.gain * self._as_seen(clean, rows) + m.offset
        noisy = signal + np.float32(level) * self._new_noise(rng, number, count)
        units = np.float32(s.unit_scale) * clean + np.float32(s.unit_offset)
        standardised = ((noisy - s.mean) / s.sd).astype(np.float32)
        return torch.from_numpy(standardised)[:, None], torch.from_numpy(units.astype(np.float32))[:, None]

    def _new_noise(self, rng: np.random.Generator, number: int, count: int) -> Images:
        if self.background is None:
            return coloured_noise(rng, count, self.noise.power)
        return np.float32(self.background_scale) * self.background.draw(rng, number, count)

    @property
    def background_scale(self) -> float:
        """Factor that brings the background to the noise of the particles; 1 when both are normalised alike."""
        assert self.background is not None
        return (self.noise.variance / self.background.variance) ** 0.5

    def without_noise(self, positions: Rows, clean: Tensor) -> Tensor:
        """Standardised particles at these positions without noise, from their references in network units."""
        m, s = self.noise, self.pairs.scale
        grey = (clean[:, 0].numpy() - np.float32(s.unit_offset)) / np.float32(s.unit_scale)
        seen = self._as_seen(grey, self.pairs.rows[positions])
        pure = np.float32(m.gain / s.sd) * seen + np.float32((m.offset - s.mean) / s.sd)
        return torch.from_numpy(pure)[:, None]

    def _references(self, rng: np.random.Generator, number: int, count: int) -> tuple[Images, Rows]:
        """References in their own grey values, and the rows of the particles whose CTF they get."""
        if not self._maps:
            # The CTF in a reference that has one is its own particle's.
            chosen = rng.choice(self.positions, count, replace=count > len(self.positions))
            rows = self.pairs.rows[chosen]
            return self.pairs.raw(chosen)[1], rng.permutation(rows) if self.corrects_ctf else rows
        size = max(count, KEPT_PIXELS // self.pairs.box**2)
        index = number * count // (SHOWN * size)
        if self._key != (index, size) or self._block is None:
            self._key, self._block = (index, size), self._project(generator(self.seed, 'projections', index), size)
        clean, rows = self._block
        chosen = rng.choice(size, count, replace=False)
        return clean[chosen], rows[chosen]

    def _project(self, rng: np.random.Generator, count: int) -> tuple[Images, Rows]:
        rows = rng.choice(self.pairs.rows[self.positions], count)
        matrices = geometry.random_matrices(count, rng)
        which = rng.integers(len(self._maps), size=count)
        clean = np.empty((count, self.pairs.box, self.pairs.box), np.float32)
        for i, source in enumerate(self._maps):
            mine = which == i
            clean[mine] = source(matrices[mine], self._shifts[rows[mine]])
        return self._with_ctf(self._slope * clean + self._intercept, rows, self._references_hold), rows

    def _as_seen(self, clean: Images, rows: Rows) -> Images:
        """References as the particles of these rows show them, without noise."""
        return self._with_ctf(clean, rows, self._particles_hold) if self.corrects_ctf else clean

    def _with_ctf(self, images: Images, rows: Rows, mode: str) -> Images:
        if self._ctf is None or mode == 'none':
            return images
        box = self.pairs.box
        ctf = ctf_rfft(box, self.pairs.pixel_size, {k: v[rows] for k, v in self._ctf.items()})
        seen = apply_ctf(torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images, np.float32))), ctf, mode)
        found: Images = torch.fft.irfft2(seen, s=(box, box)).numpy()
        return found

    def _sample(self) -> Rows:
        return self.positions[evenly_spread(len(self.positions), SAMPLE)]

    def _grey_scale_of_projections(self) -> tuple[np.float32, np.float32]:
        """(slope, intercept): reference = slope * projection + intercept, over the maps' best fits."""
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
        slope, intercept = _line(projected, references)
        return np.float32(slope), np.float32(intercept)

    def _fit_noise(self) -> NoiseModel:
        chosen = self._sample()
        noisy, clean = self.pairs.raw(chosen)
        seen = self._as_seen(clean, self.pairs.rows[chosen])
        gain, offset = _line(seen.astype(np.float64), noisy.astype(np.float64))
        residual = noisy - np.float32(gain) * seen - np.float32(offset)
        return NoiseModel(gain, offset, radial_power(residual), float(gain**2 * seen.var(axis=(1, 2)).mean()))


class _Projections:
    """Projections of one map in the particles' box and pixel size."""

    def __init__(self, volume: maps.Map, pairs: ReferencePairs) -> None:
        plan = resample.plan_resampling(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)
        self._projector = FourierProjector(plan.apply(volume.data) * (plan.pixel_size / volume.pixel_size))
        self._scale = pairs.pixel_size / plan.pixel_size

    def __call__(self, matrices: Matrices, shifts: Shifts) -> Images:
        scale = None if abs(self._scale - 1) < 1e-5 else self._scale
        found = [self._projector.project(matrices[c], shifts[c], scale).numpy() for c in chunks(len(matrices), 64)]
        return np.concatenate(found or [np.empty((0, self._projector.box, self._projector.box), np.float32)])


def read_volumes(paths: Sequence[str], pairs: ReferencePairs, job: Job) -> list[maps.Map]:
    """Maps for `FreshPairs`, checked to meet the pairs' box and pixel size."""
    volumes = [maps.read_map(job.input(p)) for p in paths]
    for v in volumes:
        resample.plan_resampling(v.box, v.pixel_size, pairs.box, pairs.pixel_size)
    return volumes


def radial_power(images: Images) -> Images:
    """Power spectrum of images [n, N, N] averaged over rings: [N, N//2+1], 1 for white noise of variance 1."""
    box = images.shape[-1]
    power = (np.abs(fft.rfft2(images)) ** 2).mean(axis=0) / box**2
    rings = np.hypot(fft.fftfreq(box)[:, None] * box, fft.rfftfreq(box) * box).round().astype(int)
    # Columns 0 and N/2 of a half transform stand for themselves, the others for two.
    weight = np.full(rings.shape, 2.0)
    weight[:, [0, box // 2]] = 1.0
    total, count = (np.bincount(rings.ravel(), (weight * v).ravel()) for v in (power, np.ones_like(power)))
    return (total / count)[rings].astype(np.float32)


def coloured_noise(rng: np.random.Generator, count: int, power: Images) -> Images:
    """Gaussian noise [count, N, N] of a power spectrum [N, N//2+1] (as from `radial_power`)."""
    box = power.shape[0]
    white = rng.standard_normal((count, box, box), dtype=np.float32)
    found: Images = fft.irfft2(fft.rfft2(white) * np.sqrt(power), s=(box, box))
    return found


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """(slope, intercept) of the least-squares line over all values."""
    slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var()
    return float(slope), float(y.mean() - slope * x.mean())


def _correlation(a: Floats, b: Images) -> Floats:
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
    found: Floats = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return found
