"""Fresh training pairs that cost nothing: new projections, or known references, under new noise of the data's kind.

A pair is a pure function of (seed, number of the draw, row), so that a resumed run sees what the unbroken one would
have, and several processes what one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import geometry
from ..data import image_state
from ..data.image_state import CtfState
from ..data.optics import stretched
from ..data.sampling import chunks, evenly_spread
from ..devices import to_device
from ..errors import InputError
from ..imaging import maps, resample
from ..imaging.ctf_table import CtfTable, plane_of_ctf
from ..imaging.forward_model import ForwardModel
from ..imaging.grey_scale import least_squares_line
from ..imaging.rings import on_grid
from ..imaging.signal_model import before_ctf, fit_signal
from ..imaging.spectra import ring_power
from ..job import Job
from ..random_streams import generator
from ..shapes import Floats, Images, Rows, Tensor
from .noise_images import GaussianNoise, NoiseImages, NoiseSource
from .pairs import ReferencePairs

# Pairs on which noise and grey scale are measured: the power of a ring of n pixels is then known to 1/sqrt(500 n).
SAMPLE = 500
# Pixels of projections kept at a time, and how often each is shown, with new noise, before it is made anew.
KEPT_PIXELS, SHOWN = 2**21, 4
# Projections made at a time: a few hundred of them fill a processor's cache, or a GPU.
TOGETHER = 64
# Part of noise in what references leave of particles beyond which it is taken for all of it.
ALL_NOISE = 0.95
# Projections of the map that made the references correlate with them up to masks and filters; another map does not.
LEAST_CORRELATION = 0.7


@dataclass(frozen=True)
class NoiseModel:
    """What the real pairs say: particle = gain * CTF(reference) + offset + noise.

    power: of the noise by rings, float64 [rings], 1 for white noise of variance 1; of premultiplied particles before it
    was multiplied by their CTF. variance: of the noise as it is in particles.
    signal_variance: of the rest of a particle. part_of_left: of the power of what references leave of particles, by
    rings, that is noise and not signal at another angle, float64 [rings].
    """

    gain: float
    offset: float
    power: Floats
    variance: float
    signal_variance: float
    part_of_left: Floats

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise."""
        return self.signal_variance / self.variance


class FreshPairs:
    """Endless pairs like those at ``positions`` of a ReferencePairs, in normalised units: a FreshSource.

    volumes: maps.Map, all equally likely; their projections at uniformly random angles, with shifts and CTF of
    random particles, become references. Without volumes references of the set are used, each under the CTF of a random
    particle. background: NoiseImages that the noise is taken from, scaled as a set to the variance of the particles'
    noise; without it noise is Gaussian, of the particles' power spectrum.
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
        self._volumes = volumes
        table = pairs.particles
        self._ctf_parameters = table.ctf() if table.has('rlnDefocusU') else None
        self._references_hold = image_state.require_known(pairs.references, 'making fresh pairs')
        self._particles_hold = image_state.particles_shown_as(table, self._references_hold)
        self._stretch = table.magnification()
        self.to(torch.device('cpu'))
        self._grey = 1.0, 0.0
        if volumes:
            self._shifts = table.shifts() * pairs.box / table.box
            self._grey = self._grey_of_projections()
        self.noise = self._fit_noise()
        self._gaussian = GaussianNoise(on_grid(self.noise.power, pairs.box), seed)
        instead = self.noise.power * (1 - self.noise.part_of_left)
        self._instead = GaussianNoise(on_grid(instead, pairs.box), seed)
        self._source: NoiseSource = self._gaussian
        if background is not None:
            background.scale = (self.noise.variance / background.variance) ** 0.5
            self._source = background

    def to(self, device: torch.device) -> None:
        """Make pairs on this device from now on."""
        self.device = device
        box, pixel_size = self.pairs.box, self.pairs.pixel_size
        self._ctf = None
        if self._ctf_parameters is not None:
            self._ctf = CtfTable(box, pixel_size, self._ctf_parameters, device)
        self._maps = [ForwardModel([v.data], v.pixel_size, box, pixel_size, device=device) for v in self._volumes]
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._kept_for: tuple[int, int] | None = None

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise, as measured on the set."""
        return self.noise.snr

    @property
    def takes_references(self) -> bool:
        """Whether fresh pairs are made of references of the set (else of new projections)."""
        return not self._maps

    @property
    def corrects_ctf(self) -> bool:
        """Particles have a CTF that their references do not have."""
        return self._ctf is not None and CtfState.NONE == self._references_hold != self._particles_hold

    @property
    def noise_shows_ctf(self) -> bool:
        """See `FreshSource`."""
        return self._particles_hold is CtfState.PREMULTIPLIED

    def as_noise(self, number: int, rows: Rows, left: Tensor) -> Tensor:
        """See `FreshSource`.

        With p the part of a ring's power that is noise, p of what is left has p times the power of the noise, and holds
        the other signal with at most a quarter of it.
        """
        part = self.noise.part_of_left
        if (part > ALL_NOISE).all():
            return left
        kept = to_device(on_grid(part, self.pairs.box).astype(np.float32), left.device)
        new = self._instead.draw(number, 0, rows, left.device) / self.pairs.scale.sd
        return torch.fft.irfft2(torch.fft.rfft2(left) * kept, s=left.shape[-2:]) + new[:, None]

    def renew(self, number: int, rows: Rows, positions: Rows, level: float) -> Tensor:
        """See `FreshSource`."""
        white = self._gaussian.draw(number, 0, rows, self.device)
        shown = self._as_of_particles(white, to_device(self.pairs.rows[positions], self.device))
        return (level / self.pairs.scale.sd) * shown[:, None]

    def draw(
        self, number: int, count: int, rows: Rows, level: float, references: tuple[Rows, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """See `FreshSource`."""
        s, m = self.pairs.scale, self.noise
        if references is None:
            grey, ctf_rows = self._projections(number, count, rows)
        else:
            grey = (references[1][:, 0] - s.unit_offset) / s.unit_scale
            ctf_rows = self._ctf_rows(number, count, rows, references[0])
        signal = m.gain * self._as_seen(grey, ctf_rows) + m.offset
        noise = self._source.draw(number, count, rows, self.device)
        # Images of noise are as they were extracted.
        noise = self._as_of_particles(noise, ctf_rows) if self._source is self._gaussian else noise
        noisy = ((signal + level * noise - s.mean) / s.sd)[:, None]
        if self.pairs.shows_ctf:
            assert self._ctf is not None
            noisy = torch.cat([noisy, plane_of_ctf(self._ctf(ctf_rows))[:, None]], 1)
        return noisy, (s.unit_scale * grey + s.unit_offset)[:, None]

    def without_noise(self, positions: Rows, clean: Tensor) -> Tensor:
        """Standardised particles at these positions without noise, from their references in network units."""
        m, s = self.noise, self.pairs.scale
        grey = (clean[:, 0] - s.unit_offset) / s.unit_scale
        seen = self._as_seen(grey, to_device(self.pairs.rows[positions], self.device))
        return ((m.gain / s.sd) * seen + (m.offset - s.mean) / s.sd)[:, None]

    def _ctf_rows(self, number: int, count: int, rows: Rows, positions: Rows) -> Tensor:
        """Rows of the particles whose CTF references get: any; that of a reference with a CTF is its own particle's."""
        if not self.corrects_ctf:
            return to_device(self.pairs.rows[positions], self.device)
        chosen = generator(self.seed, 'fresh', number, 1).choice(self.positions, count)
        return to_device(self.pairs.rows[chosen[rows]], self.device)

    def _projections(self, number: int, count: int, rows: Rows) -> tuple[Tensor, Tensor]:
        """New references in their own grey values, and the rows of the particles whose CTF they get.

        Those of a few draws are kept and shown again, draw after draw, so that each row is projected by the process
        that shows it.
        """
        draws = max(1, KEPT_PIXELS // (count * self.pairs.box**2))
        group, inside = divmod(number, draws * SHOWN)
        place = inside % draws
        if self._kept_for != (group, count):
            self._kept, self._kept_for = {}, (group, count)
        if place not in self._kept:
            self._kept[place] = self._project(generator(self.seed, 'projections', group, place), count, rows)
        return self._kept[place]

    def _project(self, rng: np.random.Generator, count: int, rows: Rows) -> tuple[Tensor, Tensor]:
        particles = rng.choice(self.pairs.rows[self.positions], count)[rows]
        matrices = geometry.random_matrices(count, rng)[rows]
        which = rng.integers(len(self._maps), size=count)[rows]
        # Map after map, and back into the order of the rows.
        order = np.argsort(which, kind='stable')
        spectra = [
            self._spectra(which[order[part][0]], particles[order[part]], matrices[order[part]])
            for k in range(len(self._maps))
            for part in _within(np.searchsorted(which[order], (k, k + 1)))
        ]
        box = self.pairs.box
        empty = torch.empty(0, box, box // 2 + 1, dtype=torch.complex64, device=self.device)
        back = to_device(np.argsort(order), self.device)
        images = torch.fft.irfft2(torch.cat([*spectra, empty]).index_select(0, back), s=(box, box))
        ctf_rows = to_device(particles, self.device)
        return self._with_ctf(self._grey[0] * images + self._grey[1], ctf_rows, self._references_hold), ctf_rows

    def _spectra(self, which: int, particles: Rows, matrices: Floats) -> Tensor:
        seen = stretched(matrices, None if self._stretch is None else self._stretch[particles])
        turned, moved = seen.astype(np.float32), self._shifts[particles].astype(np.float32)
        return self._maps[which].spectra(to_device(turned, self.device), to_device(moved, self.device))

    def _as_seen(self, clean: Tensor, rows: Tensor) -> Tensor:
        """References as the particles of these rows show them, without noise."""
        return self._with_ctf(clean, rows, self._particles_hold) if self.corrects_ctf else clean

    def _as_of_particles(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Noise of a detector as the particles of these rows hold it."""
        return self._with_ctf(noise, rows, 'full') if self.noise_shows_ctf else noise

    def _with_ctf(self, images: Tensor, rows: Tensor, mode: str) -> Tensor:
        return images if self._ctf is None else self._ctf.apply(images, rows, mode)

    def _sample(self) -> Rows:
        return self.positions[evenly_spread(len(self.positions), SAMPLE)]

    def _grey_of_projections(self) -> tuple[float, float]:
        """(slope, intercept): reference = slope * projection + intercept, over the maps' best fits."""
        chosen = self._sample()
        rows = self.pairs.rows[chosen]
        references = self.pairs.raw(chosen)[1].reshape(len(chosen), -1)
        matrices = self.pairs.particles.rotations()[rows]
        seen = np.stack([self._seen_of_map(k, rows, matrices) for k in range(len(self._maps))])
        agreement = np.array([_correlation(references, projected) for projected in seen])
        found = agreement.max(0).mean()
        if found < LEAST_CORRELATION:
            raise InputError(
                f'--volume: projections of the volume at the angles of {self.pairs.particles.path} correlate with the '
                f'references only by {found:.2f}: give the map (or maps) that the references were projected from'
            )
        return least_squares_line(seen[agreement.argmax(0), np.arange(len(chosen))], references)

    def _seen_of_map(self, k: int, rows: Rows, matrices: Floats) -> Images:
        """Projections [n, box^2] of map k at the angles and shifts of particles, as references hold them."""
        box, found = self.pairs.box, []
        for part in chunks(len(rows), TOGETHER):
            images = torch.fft.irfft2(self._spectra(k, rows[part], matrices[part]), s=(box, box))
            found.append(self._with_ctf(images, torch.from_numpy(rows[part]), self._references_hold).flatten(1))
        return torch.cat(found).numpy()

    def _fit_noise(self) -> NoiseModel:
        chosen = self._sample()
        noisy, clean = self.pairs.raw(chosen)
        seen = self._as_seen(torch.from_numpy(clean), torch.from_numpy(self.pairs.rows[chosen])).numpy()
        found = fit_signal(noisy, seen)
        power = found.power
        if self.noise_shows_ctf and self._ctf is not None:
            power = before_ctf(power, self._ctf(torch.from_numpy(self.pairs.rows[chosen])))
        left = ring_power(noisy - (found.gain * seen + found.offset))
        part = np.minimum(1.0, found.power / np.maximum(left, np.finfo(float).tiny))
        return NoiseModel(found.gain, found.offset, power, found.noise_variance, found.signal_variance, part)


def _within(bounds: Rows) -> list[slice]:
    """Chunks of a range of rows."""
    start, stop = (int(b) for b in bounds)
    return [slice(start + part.start, start + part.stop) for part in chunks(stop - start, TOGETHER)]


def read_volumes(paths: Sequence[str], pairs: ReferencePairs, job: Job) -> list[maps.Map]:
    """Maps for `FreshPairs`, checked to meet the pairs' box and pixel size."""
    volumes = [maps.read_map(job.input(p)) for p in paths]
    for v in volumes:
        resample.plan_resampling(v.box, v.pixel_size, pairs.box, pairs.pixel_size)
    return volumes


def _correlation(a: Images, b: Images) -> Floats:
    x, y = (v - v.mean(axis=1, keepdims=True, dtype=np.float64) for v in (a, b))
    found: Floats = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return found
