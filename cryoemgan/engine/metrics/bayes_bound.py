"""The Bayes-optimal denoiser for known maps and known noise: no method has a smaller expected squared error.

E[x | y] = sum_t w_t t / sum_t w_t, w_t = exp(-|y - c_t|^2 / (2 sigma^2)), over templates t of every conformation, view,
in-plane angle and shift drawn from the prior; c_t is the template as the image shows it, with the image's own CTF.
Where the noise is coloured, y and c_t are whitened first.
An oracle for benchmarks: it is told what no denoiser may know. A finite bank approaches the limit from above, so the
search is refined around the candidates of the coarse bank until the answer stops changing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.ctf import ctf_rfft
from ..imaging.grey_scale import to_unit
from ..imaging.projection import FourierProjector
from ..imaging.simulation import noise_power
from ..shapes import AnyPath, Floats, Images, Rows, Tensor, Volume

# Shifts looked at in the coarse search reach to so many s.d.; so many of them at once.
REACH, TOGETHER = 3.0, 64


@dataclass
class Poses:
    """Hypotheses: rotations float [n, 3, 3], conformations int [n], shifts float [n, 2] px or None (known to be 0)."""

    rotations: np.ndarray
    states: np.ndarray
    shifts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, rows: Rows | slice) -> Poses:
        return Poses(self.rotations[rows], self.states[rows], None if self.shifts is None else self.shifts[rows])

    def __add__(self, other: Poses) -> Poses:
        shifts = None if self.shifts is None else np.concatenate([self.shifts, other.shifts])
        return Poses(
            np.concatenate([self.rotations, other.rotations]), np.concatenate([self.states, other.states]), shifts
        )


class BayesBound:
    """Posterior mean over maps float [n, n, n], one a conformation, all equally likely, seen from everywhere.

    noise_sd: of the noise. noise_power: float [n, n // 2 + 1], of coloured noise on the grid of rfft2, its mean over
    the whole plane 1; None: white. views: orientations of the coarse bank of each map. rank: principal components in
    which the bank is searched. kept: candidates refined. What the data set did to projections: gain and offset of all,
    or ``unit``, each scaled to [0, 1] (with CTF: after it). shift_sd: particles lie off the centre by Gaussian shifts
    of this s.d. (px) in x and in y, unknown. clean_ctf: 'full', the truth carries the CTF as the image does; 'none',
    the truth is without CTF (and ``unit`` was done before the CTF). ``effective``: of the last ``denoise``, the
    effective number of templates in the mean of each image (1 / sum of squared weights); near 1 the sum is a guess.
    """

    def __init__(self, volumes: Sequence[Volume], noise_sd: float, views: int = 8000, rank: int = 96, kept: int = 64,
                 seed: int = 0, gain: float = 1.0, offset: float = 0.0, unit: bool = False, shift_sd: float = 0.0,
                 clean_ctf: str = 'full', noise_power: ArrayLike | None = None) -> None:  # fmt: skip
        if clean_ctf not in ('full', 'none'):
            raise ValueError(f"clean_ctf: 'full' or 'none', not {clean_ctf!r}")
        self.projectors = [FourierProjector(v, interpolation='linear') for v in volumes]
        self.noise_sd, self.kept, self.gain, self.offset, self.unit = noise_sd, kept, gain, offset, unit
        self.shift_sd, self.clean_ctf = shift_sd, clean_ctf
        # Brings the noise to white noise of noise_sd.
        self._whitening = None if noise_power is None else torch.as_tensor(noise_power).float().rsqrt()
        self.box = self.projectors[0].box
        self.effective = np.empty(0)
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self.rotations = Rotation.random(views * len(volumes), random_state=seed).as_matrix()
        self.state = np.arange(len(self.rotations)) % len(volumes)
        self._search(rank)

    # Templates

    def _draw(self, poses: Poses, ctf: Tensor | None = None) -> Tensor:
        """(truths, templates) float32 [n, box^2]: what is to be found, and what the image shows of it."""
        out = torch.empty(2, len(poses), self.box**2)
        for s, projector in enumerate(self.projectors):
            for rows in np.array_split(
                np.flatnonzero(poses.states == s), max(1, int((poses.states == s).sum()) // 256)
            ):
                if len(rows):
                    shifts = None if poses.shifts is None else poses.shifts[rows]
                    plain = self._scaled(projector.project(poses.rotations[rows], shifts).flatten(1))
                    out[0, rows], out[1, rows] = self._seen(plain, ctf)
        return out

    def _seen(self, plain: Tensor, ctf: Tensor | None) -> tuple[Tensor, Tensor]:
        if ctf is None:
            return plain, self._whitened(plain)
        seen = self._filtered(plain, ctf)
        # A range of [0, 1] before the CTF and after it, or after it only, is the same.
        seen = to_unit(seen)[0] if self._ranged else seen
        return (seen if self.clean_ctf == 'full' else plain), self._whitened(seen)

    def _whitened(self, images: Tensor) -> Tensor:
        return images if self._whitening is None else self._filtered(images, self._whitening)

    @property
    def _ranged(self) -> bool:
        """Whether images are scaled to [0, 1] after the CTF."""
        return self.unit and self.clean_ctf == 'full'

    def _filtered(self, images: Tensor, ctf: Tensor) -> Tensor:
        n = self.box
        return torch.fft.irfft2(torch.fft.rfft2(images.view(-1, n, n)) * ctf, s=(n, n)).flatten(1)

    def _scaled(self, templates: Tensor) -> Tensor:
        return to_unit(templates)[0] if self.unit else templates * self.gain + self.offset

    # The coarse bank

    def _search(self, rank: int) -> None:
        """Principal components of the coarse bank; the bank itself is kept in them only."""
        bank = Poses(self.rotations, self.state, None)
        sample = self._rng.choice(len(bank), min(3000, len(bank)), replace=False)
        some = self._draw(bank[sample])[0]
        self._mean = some.mean(0)
        rank = min(rank, *some.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self._axes = torch.svd_lowrank(some - self._mean, rank, niter=3)[2]
        parts = np.array_split(np.arange(len(bank)), max(1, len(bank) // 2000))
        self._bank = torch.cat([(self._draw(bank[p])[0] - self._mean) @ self._axes for p in parts])
        self._norms = (self._bank**2).sum(1)

    def _candidates(self, y: Tensor, ctf: Tensor | None) -> Poses:
        """The best ``kept`` entries of the bank for an image [box^2], each at its best shift of a grid."""
        shifts = _grid(self.shift_sd, self.box)
        moved = torch.stack([torch.roll(y.view(self.box, self.box), (dy, dx), (0, 1)) for dx, dy in shifts]).flatten(1)
        towards, norms = self._coarse(moved, ctf)
        prior = torch.zeros(len(shifts))
        if self.shift_sd:
            prior = -torch.as_tensor((shifts**2).sum(1) / (2 * self.shift_sd**2)).float() * self.noise_sd**2
        score, best = torch.full((len(self._bank),), -torch.inf), torch.zeros(len(self._bank), dtype=torch.long)
        for rows in torch.arange(len(shifts)).split(TOGETHER):
            here, where = (towards(rows) - norms + prior[rows]).max(1)
            best, score = torch.where(here > score, rows[where], best), torch.maximum(score, here)
        top = score.topk(min(self.kept, len(score))).indices
        found = shifts[best[top]].astype(float) if self.shift_sd else None
        return Poses(self.rotations[top.numpy()], self.state[top.numpy()], found)

    def _coarse(self, moved: Tensor, ctf: Tensor | None) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Inner products [bank, shifts] of bank and moved images as a function of the rows of ``moved``, and half the
        squared norms [bank, 1]; both up to what is the same for all of the bank."""
        own, ranged = ctf, self._ranged and ctf is not None
        if self._whitening is not None:
            ctf = self._whitening if ctf is None else ctf * self._whitening
        if ctf is None:
            weights, level = (moved - self._mean) @ self._axes, (moved - moved[0]) @ self._mean
            return lambda rows: self._bank @ weights[rows].T + level[rows], self._norms[:, None] / 2
        mean, axes = self._filtered(self._mean[None], ctf)[0], self._filtered(self._axes.T, ctf)
        if ranged:
            mean, axes, moved = (x - x.mean(-1, keepdim=True) for x in (mean, axes, moved))
        norms = ((self._bank @ (axes @ axes.T)) * self._bank).sum(1) + 2 * self._bank @ (axes @ mean) + mean @ mean
        gain = torch.ones(())
        if ranged:
            # The range of a template with CTF is not known before it is drawn; its s.d. in parts of it hardly varies.
            some = self._draw(Poses(self.rotations, self.state, None)[:64], own)[1]
            gain = some.std(1).mean() * self.box / norms.clamp_min(1e-12).sqrt()
        weights, level = axes @ moved.T, mean @ moved.T
        return lambda rows: (
            gain[..., None] * (self._bank @ weights[:, rows] + level[rows])
        ), (gain**2 * norms)[:, None] / 2  # fmt: skip

    # The answer

    def denoise(
        self,
        images: Images,
        rounds: int = 3,
        samples: int = 240,
        start_degrees: float = 8.0,
        draws: int = 480,
        ctf: ArrayLike | None = None,
    ) -> Images:
        """float32 [n, box, box]: posterior means of images [n, box, box], one by one.

        rounds: refinements; each draws ``samples`` orientations around the best candidates, at an angle that halves
        from ``start_degrees``. draws: orientations in the mean, each in every conformation. ctf: float32
        [n, box, box // 2 + 1], the CTF of every image on the grid of rfft2; without it images have none. With unknown
        shifts there is more to search: 5 rounds of 480, 960 draws, and a look at ``effective``.
        """
        seen = self._whitened(torch.as_tensor(images, dtype=torch.float32).flatten(1))
        each = [None] * len(seen) if ctf is None else torch.as_tensor(ctf, dtype=torch.float32)
        found = [self._one(y, c, rounds, samples, start_degrees, draws) for y, c in zip(seen, each, strict=True)]
        self.effective = np.array([f[1] for f in found])
        return torch.stack([f[0] for f in found]).view(-1, self.box, self.box).numpy()

    def _one(
        self, y: Tensor, ctf: Tensor | None, rounds: int, samples: int, degrees: float, draws: int
    ) -> tuple[Tensor, float]:
        poses = self._candidates(y, ctf)
        for _ in range(rounds):
            centre = self._rng.integers(len(poses), size=samples)
            # Half of the draws also try another conformation.
            other = self._rng.integers(len(self.projectors), size=samples)
            drawn = np.where(self._rng.random(samples) < 0.5, poses.states[centre], other)
            around = self._around(poses[centre], degrees)
            poses = poses + Poses(around.rotations, drawn, around.shifts)
            order = np.argsort(-self._score(y, self._draw(poses, ctf)[1], poses).numpy())[: self.kept]
            poses, degrees = poses[order], degrees / 2
        # A first sample of the posterior says where it lies; the second, about it, is the answer.
        _, _, poses = self._posterior(y, ctf, poses, 2 * degrees, draws // 2)
        return self._posterior(y, ctf, poses, 2 * degrees, draws)[:2]

    def _around(self, centres: Poses, degrees: float) -> Poses:
        """Poses drawn about others: a turn moves pixels at a quarter of the box as far as a shift does."""
        turn = np.deg2rad(degrees) * self._rng.normal(size=(len(centres), 3))
        shifts = centres.shifts
        if shifts is not None:
            shifts = shifts + self._width(degrees) * self._rng.normal(size=shifts.shape)
        return Poses(Rotation.from_rotvec(turn).as_matrix() @ centres.rotations, centres.states, shifts)

    def _width(self, degrees: float) -> float:
        """S.d. of drawn shifts (px): no more than their prior has."""
        return min(np.deg2rad(degrees) * self.box / 4, self.shift_sd)

    def _score(self, y: Tensor, templates: Tensor, poses: Poses) -> Tensor:
        """log weight [n] of templates [n, box^2] of poses, up to a constant."""
        score = (templates @ y - (templates**2).sum(1) / 2) / self.noise_sd**2
        if poses.shifts is not None:
            score = score - torch.as_tensor((poses.shifts**2).sum(1) / (2 * self.shift_sd**2)).float()
        return score

    def _posterior(
        self, y: Tensor, ctf: Tensor | None, centres: Poses, degrees: float, count: int
    ) -> tuple[Tensor, float, Poses]:
        """Importance sampling: poses from clouds about the centres, weighed by what they undo, in every state.

        Gives (mean [box^2], effective number, poses drawn anew by their weights).
        """
        states = len(self.projectors)
        drawn = self._around(centres[self._rng.integers(len(centres), size=count)], degrees)
        density = torch.from_numpy(np.tile(_log_density(drawn, centres, degrees, self._width(degrees)), states))
        rows = np.tile(np.arange(count), states)
        every = Poses(drawn.rotations[rows], np.repeat(np.arange(states), count), drawn[rows].shifts)
        truths, templates = self._draw(every, ctf)
        weight = torch.softmax(self._score(y, templates, every).double() - density, 0)
        share = weight.view(states, count).sum(0).numpy()
        again = drawn[self._rng.choice(count, self.kept, p=share / share.sum())]
        return weight.float() @ truths, float(1 / (weight**2).sum()), again


def _grid(sd: float, box: int) -> Rows:
    """Whole shifts int [n, 2] (x, y) px that a Gaussian prior makes likely, the nearest first."""
    step = max(1, round(sd / 3))
    far = min(int(REACH * sd), box // 2 - 1) // step * step
    axis = np.arange(-far, far + 1, step)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    grid = grid[(grid**2).sum(1) <= max(far, 0) ** 2]
    return grid[np.argsort((grid**2).sum(1), kind='stable')]


def _log_density(drawn: Poses, centres: Poses, degrees: float, width: float = 0.0) -> Floats:
    """log of the mixture of Gaussian clouds of poses, up to a constant. width: of the shifts, px."""
    cosine = (np.einsum('nij,mij->nm', drawn.rotations, centres.rotations) - 1) / 2
    away = (np.arccos(np.clip(cosine, -1, 1)) / np.deg2rad(degrees)) ** 2
    if drawn.shifts is not None:
        away = away + ((drawn.shifts[:, None] - centres.shifts) ** 2).sum(2) / width**2
    return np.logaddexp.reduce(-away / 2, axis=1)


def of_simulation(folder: AnyPath, table: ParticleTable, **options: Any) -> tuple[BayesBound, Images | None]:
    """(BayesBound, CTF of the table's particles or None) for a set that ``simulate`` made.

    folder: of the simulation; table: ParticleTable of particles of it, in the order in which they will be denoised.
    options: of BayesBound. InputError when the set has what the limit does not know.
    """
    summary = json.loads((Path(folder) / 'summary.json').read_text())
    made = summary['settings']
    for name, known in (('snr_per', 'set'), ('clip', False), ('view_spread', None)):
        if made[name] != known:
            raise InputError(f'{folder}: simulated with {name} {made[name]}; the limit is known for {known} only')
    maps = [mrcfile.read(p) for p in sorted(Path(folder).glob('volume_*.mrc'), key=lambda p: (len(p.name), p.name))]
    ctf = None
    if made['ctf'] or made['ctf_table']:
        ctf = ctf_rfft(table.box, table.pixel_size, table.ctf()).numpy()
    power = noise_power(table.box) if made['noise'] == 'coloured' else None
    limit = BayesBound(maps, summary['noise_variance'] ** 0.5, unit=made['scale'] == 'unit', shift_sd=made['shift_sd'],
                  clean_ctf=made['clean_ctf'], noise_power=power, **options)  # fmt: skip
    return limit, ctf
