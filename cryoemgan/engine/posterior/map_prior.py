"""The map's opinion of a particle: what a guided network sees beside the noisy image.

The guide knows the noise's spectrum, the gain and the bank, and answers with posterior mean, its s.d., and the
probability that there is a particle at all. Calibrated on the training particles without their references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..data.image_state import CtfState
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.ctf import ctf_rfft, seen
from ..shapes import Json, Shifts, Tensor
from .context import Context
from .covariance_filter import PREFIX, CovarianceFilter
from .image_posterior import ImagePosterior
from .library import TemplateLibrary
from .posterior import Particles, Posterior, Prior, Search, infer

ROUNDS = 3
FREE_OF_SIGNAL = 0.05  # rings with less signal than this part of the noise tell a particle's own noise level


@dataclass
class MapPriorOptions:
    """ctf: in the output, none | phase-flip | full. shift_range, shift_sd: px; pose_prior: degrees or None."""

    ctf: str = 'none'
    shift_range: float = 0.0
    shift_sd: float = 0.0
    pose_prior: float | None = None


class MapPrior:
    """A TemplateLibrary with gain (particle grey for each reference grey) and noise spectrum float32[R] (variance of a
    coefficient). linear: CovarianceFilter or None, whose estimate makes ``linear_weight`` (0 to 1) of the mean."""

    def __init__(
        self,
        bank: TemplateLibrary,
        gain: float,
        spectrum: Tensor,
        search: Search | None = None,
        options: MapPriorOptions | None = None,
    ) -> None:
        self.bank, self.plane, self.gain, self.spectrum = bank, bank.plane, gain, spectrum
        self.search, self.options = search or Search(), options or MapPriorOptions()
        self.threshold: Json = {}
        self.linear: CovarianceFilter | None = None
        self.linear_weight = 0.0

    @property
    def device(self) -> torch.device:
        """Where it computes, and wants its particles."""
        return self.spectrum.device

    def __call__(self, images: Tensor, context: Context, own: Tensor | None = None) -> ImagePosterior:
        """ImagePosterior on particles float32[n, N, N] in particle grey."""
        with torch.no_grad():
            y, ctf = self.plane.vectors(images), self.ctf(context, len(images))
            particles = self._particles(y, ctf, context)
            found = infer(self.bank, particles, self._prior(context, y), self.search, own)
            present = torch.sigmoid(found.evidence + np.log((1 - self.search.empty) / self.search.empty))
            shown, centre = self._shown(context, len(images))
            vector, spread = self._blended(found.vector, particles) * shown, found.spread
            # A table's shifts centre the particle; a template's move is where the particle is.
            moved, shifts = self._moved(context), -found.shifts
            if moved is not None:
                shifts += _tensor(moved, y)
                vector = vector * self.plane.ramps(-_tensor(moved, y))
                spread = _rolled(spread, -np.asarray(moved))
            empty = self.bank.background * centre[:, None, None]
            mean = empty + present[:, None, None] * self.plane.images(vector)
            away = self._disagreement(found, context)
            return ImagePosterior(
                mean, spread, present, found.evidence, away, found.scale, found.misfit, found.match,
                found.matrices, shifts, found.angle_spread, found.shift_spread, found.classes,
            )  # fmt: skip

    def calibrate(self, images: Tensor, context: Context, rounds: int = ROUNDS, own: Tensor | None = None) -> MapPrior:
        """Gain and noise spectrum from particles, by expectation maximisation: start from the particles' own
        spectrum (all is noise), explain them by the bank, measure what is left. What the explanation may still be
        counts: without its variance the gain comes out too high (8 % at SNR 0.05) and the noise too low."""
        y, ctf = self.plane.vectors(images), self.ctf(context, len(images))
        self.spectrum = self.noise_spectrum(y.abs() ** 2)
        for _ in range(rounds):
            found = infer(self.bank, self._particles(y, ctf, context), self._prior(context, y), self.search, own)
            seen = found.vector * ctf
            moved = self._moved(context)
            if moved is not None:
                seen = seen * self.plane.ramps(-_tensor(moved, y))
            weight = 1 / self.spectrum[self._ring()]
            weight[0] = 0
            open_ = found.variance * ctf**2
            product, power = (y * seen.conj()).real * weight, (seen.abs() ** 2 + open_) * weight
            self.gain = float(product.sum() / power.sum())
            self.spectrum = self.noise_spectrum((y - self.gain * seen).abs() ** 2 + self.gain**2 * open_)
        return self

    def noise(self, count: int, seed: int) -> Tensor:
        """Images float32[count, N, N] of nothing but noise with the particles' spectrum."""
        n = self.plane.box
        white = torch.randn(count, n, n, generator=torch.Generator().manual_seed(seed))
        return self.coloured(white.to(self.device))

    def coloured(self, white: Tensor) -> Tensor:
        """White noise float32[n, N, N] of variance 1, on any device, with the particles' spectrum instead."""
        n, device = self.plane.box, white.device
        kx, ky = (f(n, device=device) * n for f in (torch.fft.rfftfreq, torch.fft.fftfreq))
        ring = torch.hypot(kx, ky[:, None]).round().long().clamp(1, len(self.spectrum) - 1)
        return torch.fft.irfft2(torch.fft.rfft2(white) * self.spectrum.to(device)[ring].sqrt(), s=(n, n))

    def _ring(self) -> Tensor:
        return self.plane.r.round().long()

    def noise_spectrum(self, power: Tensor) -> Tensor:
        """Noise spectrum float32[R] of the power [n, P] of noise."""
        means = self.plane.ring_means(power.mean(0)) / 2
        means[0] = means[1]
        return means.clamp(min=1e-6 * float(means.max()))

    def _moved(self, context: Context) -> Shifts | None:
        """The refinement's shifts, by which particles are centred where it is trusted."""
        return context.shifts if self.options.pose_prior else None

    def _particles(self, y: Tensor, ctf: Tensor, context: Context) -> Particles:
        """Vectors [n, P] and their CTF as a posterior takes them."""
        noise = self.spectrum[self._ring()] * self._level(y)[:, None]
        moved = self._moved(context)
        if moved is not None:
            y = y * self.plane.ramps(_tensor(moved, y))
        sd = noise.sqrt()
        transfer = self.gain * ctf / sd
        transfer[:, 0] = 0
        return Particles(y / sd, transfer)

    def _blended(self, vectors: Tensor, particles: Particles) -> Tensor:
        """Posterior means [n, P] of templates with those of the linear filter."""
        if self.linear is None or not self.linear_weight:
            return vectors
        return torch.lerp(vectors, self.linear(particles), self.linear_weight)

    def _level(self, y: Tensor) -> Tensor:
        """Each particle's noise level relative to the set's, from rings where no signal is to be expected."""
        power = self.gain**2 * self.bank.power
        quiet = (0.5 * power < FREE_OF_SIGNAL * self.spectrum)[self._ring()]
        quiet[0] = False
        if int(quiet.sum()) < 200:
            return torch.ones(len(y), device=y.device)
        return (y[:, quiet].abs() ** 2 / (2 * self.spectrum[self._ring()][quiet])).mean(1).clamp(0.25, 4)

    def _prior(self, context: Context, y: Tensor) -> Prior:
        o = self.options
        matrices = None if context.matrices is None or not o.pose_prior else _tensor(context.matrices, y)
        # An error of the angles moves what lies a quarter of the box from the centre by this much.
        trusted = self._moved(context) is not None
        sd = float(np.deg2rad(o.pose_prior or 0.0)) * self.plane.box / 4 if trusted else o.shift_sd
        reach = 2 * sd if trusted else o.shift_range
        finest = self.bank.reduced(self.search.functions).plane.radius
        moves = Prior.moves(self.plane.box, finest, reach, sd, y.device)
        degrees = o.pose_prior if matrices is not None else None
        return replace(moves, matrices=matrices, degrees=degrees, templates=self.bank.matrices)

    def _ctf_grid(self, context: Context) -> Tensor | None:
        """The CTF that the particles carry, on the rfft2 grid [n, N, N//2+1], or None for none."""
        if context.ctf is None:
            return None
        ctf = ctf_rfft(self.plane.box, context.pixel_size, context.ctf, self.device)
        return seen(ctf, self._held(context))

    def _held(self, context: Context) -> CtfState:
        """What the particles hold of the CTF: where their table is silent, what their references do."""
        if context.held is not CtfState.UNKNOWN:
            return context.held
        return CtfState.FULL if self.options.ctf in ('none', 'unknown') else CtfState(self.options.ctf)

    def ctf(self, context: Context, count: int) -> Tensor:
        grid = self._ctf_grid(context)
        if grid is None:
            return torch.ones(count, len(self.plane), device=self.device)
        return grid.flatten(1)[:, self.plane.index]

    def _shown(self, context: Context, count: int) -> tuple[Tensor, Tensor]:
        """CTF of the output: on the half plane [n, P], and at k = 0 [n]."""
        grid = None if self.options.ctf == 'none' else self._ctf_grid(context)
        if grid is None:
            one = torch.ones(count, device=self.device)
            return one[:, None], one
        return grid.flatten(1)[:, self.plane.index], grid[:, 0, 0]

    def _disagreement(self, found: Posterior, context: Context) -> Tensor:
        if context.matrices is None or bool(self.bank.matrices.isnan().any()):
            return torch.full_like(found.evidence, torch.nan)
        trace = torch.einsum('bij,bij->b', found.free_matrices, _tensor(context.matrices, found.evidence))
        return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))

    def require(self, table: ParticleTable) -> None:
        """InputError when a ParticleTable lacks what is asked of particles."""
        if self.options.pose_prior and not table.has('rlnAngleRot'):
            raise InputError(f'--pose-prior: {table.path} has no angles; give --pose-prior none')
        if self.options.ctf != 'none' and not table.has('rlnDefocusU'):
            raise InputError(f"{table.path}: no rlnDefocusU; a guided model needs each particle's CTF")

    # On disk

    def tensors(self) -> dict[str, Tensor]:
        """For safetensors."""
        return {**self.bank.tensors(), **self.learnt()}

    def learnt(self) -> dict[str, Tensor]:
        """Of the `tensors`, all but the library."""
        return {**({} if self.linear is None else self.linear.tensors()), 'spectrum': self.spectrum}

    def description(self) -> Json:
        """Plain values for the card."""
        return {
            'gain': self.gain,
            'search': asdict(self.search),
            'options': asdict(self.options),
            'templates': len(self.bank),
            'functions': len(self.bank.basis),
            'threshold': self.threshold,
            'linear_weight': self.linear_weight,
            'classes': self.bank.classes,
        }

    @classmethod
    def load(
        cls, tensors: Mapping[str, Tensor], description: Json, box: int, device: str | torch.device = 'cpu'
    ) -> MapPrior:
        """The guide that `tensors` and `description` describe."""
        own = {k: v for k, v in tensors.items() if k != 'spectrum' and not k.startswith(PREFIX)}
        found = cls(TemplateLibrary.load(own, box, device), 1.0, tensors['spectrum'])
        return found.recall(description, tensors)

    def recall(self, description: Json, tensors: Mapping[str, Tensor]) -> MapPrior:
        """Take up a `description` and, of the `tensors`, all but the library; gives itself."""
        device = self.plane.r.device
        self.spectrum, self.linear = tensors['spectrum'].to(device), CovarianceFilter.load(tensors, self.plane)
        self.gain, self.threshold = description['gain'], description['threshold']
        self.linear_weight = description.get('linear_weight', 0.0)
        self.bank.classes = description.get('classes', self.bank.classes)
        self.search, self.options = Search(**description['search']), MapPriorOptions(**description['options'])
        return self


def _tensor(values: ArrayLike, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=like.device)


def _rolled(images: Tensor, shifts: Shifts) -> Tensor:
    """Images moved by whole pixels: enough for a picture of uncertainty."""
    moves = np.rint(shifts).astype(int)
    return torch.stack([image.roll((int(dy), int(dx)), (0, 1)) for image, (dx, dy) in zip(images, moves)])
