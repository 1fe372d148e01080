"""Pairs whose particle does not show its reference: wrong angles, junk, a reference of something else.

A particle that shows its reference agrees with it better than with those of other particles. The fraction of others
that agree as well or better is a p-value of the hypothesis that the reference is just another one. How it is spread
where all pairs are right is known from simulated particles, which show their references as much as the real ones do on
the average; what the real ones have beyond that is wrong (a mixture, as of Efron 2008). Where particles are too noisy
to tell, both spreads are alike, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..data.sampling import chunks, evenly_spread
from ..imaging.ctf import ctf_rfft, seen
from ..imaging.resample import resampled
from ..imaging.steerable import FourierPlane
from ..job import Job
from ..random_streams import generator
from ..settings.train import Train
from ..shapes import CtfParameters, Flags, Floats, Rows, Tensor
from .interfaces import TrainingPairs
from .loading import read
from .pairs import ReferencePairs

# References of others that each particle is compared with; pairs that simulated particles are made of; fewest pairs.
OTHERS, SAMPLE, FEWEST = 64, 1000, 100
# Images are compared at this box: it holds what tells views apart.
LARGEST_BOX = 64
CHUNK = 256
# Bins of the p-value.
EDGES = np.array([0, 0.05, 0.15, 0.3, 0.5, 0.75, 1 + 1e-9])
# The part of wrong pairs from which on any are left out.
LEAST_PART = 0.03
# With more than this, what the wrong ones have in common would be taken for what is right.
MOST_PART = 0.5


@dataclass(frozen=True)
class Found:
    """kept: bool [n], of all pairs. part: of the pairs that are wrong, at least."""

    kept: Flags
    part: float


@dataclass(frozen=True)
class _Model:
    """gain: float32 [P], of references in particles, by frequency; noise: [P], power of the noise."""

    gain: Tensor
    noise: Tensor


def kept(settings: Train, pairs: TrainingPairs, job: Job) -> Flags:
    """Which pairs a network may learn from: bool [len(pairs)]. What is left out is said."""
    everything = np.ones(len(pairs), bool)
    if not settings.leave_out_wrong or not isinstance(pairs, ReferencePairs):
        return everything
    with job.progress(len(pairs), 'looking for wrong pairs') as bar:
        found = find(pairs, settings.seed, bar.update)
    wrong = int((~found.kept).sum())
    if not wrong:
        return everything
    about = (
        f'about {found.part:.0%} of the pairs are wrong: the particle agrees with its reference no better than with '
        'those of other particles (wrong angles, junk, or a reference of something else)'
    )
    if found.part > MOST_PART:
        job.warn(f'{about}. So many cannot be told from the right ones: none is left out')
        return everything
    job.warn(f'{about}. {wrong} of {len(pairs)} are not trained on; --no-leave-out-wrong keeps them')
    return found.kept


def find(pairs: ReferencePairs, seed: int, tell: Callable[[int], object] = lambda count: None) -> Found:
    """Which pairs are more likely wrong than right.

    tell: called with the number of pairs that were looked at.
    """
    positions = np.arange(len(pairs))
    if len(positions) < FEWEST or '' in pairs.image_model:
        return Found(np.ones(len(positions), bool), 0.0)
    rng = generator(seed, 'wrong pairs')
    chosen = np.sort(rng.choice(positions, min(OTHERS, len(positions)), replace=False))
    sample = evenly_spread(len(positions), SAMPLE)
    vectors = _Reader.of(pairs)
    others, model = vectors(chosen)[1], _model(vectors, sample)
    values = []
    for rows in chunks(len(positions), CHUNK):
        some = positions[rows]
        values.append(_p_values(model, *vectors(some), others, some, chosen))
        tell(len(some))
    return _mixture(np.concatenate(values), lambda part: _simulated(vectors, model, sample, others, chosen, part, seed))


@dataclass(frozen=True)
class _Reader:
    """Pairs as they are compared: on a plane. ctf: of all particles of the table, None where it does not matter."""

    pairs: ReferencePairs
    plane: FourierPlane
    ctf: CtfParameters | None

    @classmethod
    def of(cls, pairs: ReferencePairs) -> _Reader:
        held, given = pairs.image_model
        # Once for the whole set: a large table takes seconds to parse.
        ctf = None if held == given else pairs.particles.ctf()
        return cls(pairs, FourierPlane(min(pairs.box, LARGEST_BOX)), ctf)

    def __call__(self, positions: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """(particles, references complex64 [n, P], what the particles have that the references lack [n, P])."""
        found = read(self.pairs, positions)
        noisy, clean = (self.plane.vectors(resampled(x[:, 0], self.plane.box)) for x in (found.noisy, found.clean))
        noisy[:, 0] = clean[:, 0] = 0
        return noisy, clean, self._transfer(positions)

    def _transfer(self, positions: Rows) -> Tensor:
        pairs, plane = self.pairs, self.plane
        if self.ctf is None:
            return torch.ones(len(positions), len(plane))
        held, given = pairs.image_model
        ctf = {name: values[pairs.rows[positions]] for name, values in self.ctf.items()}
        whole = ctf_rfft(plane.box, pairs.pixel_size * pairs.box / plane.box, ctf)
        shown = seen(whole, held) if given == 'none' else whole.sign()
        return shown.flatten(1)[:, plane.index]


def _model(vectors: _Reader, sample: Rows) -> _Model:
    """Gain and noise by rings, from pairs that are right for the most part."""
    plane = vectors.plane
    sums = torch.zeros(3, plane.radius + 1)
    for rows in chunks(len(sample), CHUNK):
        y, r, t = vectors(sample[rows])
        shown = r * t
        for total, x in zip(sums, ((y * shown.conj()).real, shown.abs().square(), y.abs().square())):
            total += plane.rings(x.sum(0))
    cross, reference, power = sums
    gain = (cross / reference.clamp(min=1e-20)).clamp(min=0)
    count = len(sample) * plane.rings(torch.ones_like(plane.r))
    noise = (power - gain**2 * reference).clamp(min=1e-3 * float(power.max())) / count
    ring = plane.r.round().long()
    return _Model(gain[ring], noise[ring])


def _p_values(model: _Model, y: Tensor, r: Tensor, t: Tensor, others: Tensor, positions: Rows, chosen: Rows) -> Floats:
    """float64 [n]: fraction of ``others`` [m, P] that particles y agree with as well as with their own references r.

    positions [n], chosen [m]: whose they are; nobody is compared with himself.
    """
    seen_as = t * model.gain
    matched, weight = y * seen_as / model.noise, seen_as.square() / model.noise
    own = (matched * r.conj()).real.sum(1) - weight.mul(r.abs().square()).sum(1) / 2
    flat = torch.view_as_real(matched).flatten(1) @ torch.view_as_real(others.resolve_conj()).flatten(1).T
    likelihood = flat - weight @ others.abs().square().T / 2
    foreign = torch.from_numpy(positions[:, None] != chosen)
    better = ((likelihood >= own[:, None]) & foreign).sum(1)
    found: Floats = ((1 + better) / (1 + foreign.sum(1))).double().numpy()
    return found


def _simulated(
    vectors: _Reader, model: _Model, sample: Rows, others: Tensor, chosen: Rows, part: float, seed: int
) -> Floats:
    """p-values of particles that show their references, if ``part`` of the real ones does not."""
    found = []
    rng = torch.Generator().manual_seed(seed)
    right = _Model(model.gain / (1 - part), model.noise)
    for rows in chunks(len(sample), CHUNK):
        some = sample[rows]
        _, r, t = vectors(some)
        noise = torch.complex(*(torch.randn(r.shape, generator=rng) for _ in range(2)))
        y = right.gain * t * r + noise * (model.noise / 2).sqrt()
        found.append(_p_values(model, y, r, t, others, some, chosen))
    return np.concatenate(found)


def _mixture(values: Floats, right: Callable[[float], Floats]) -> Found:
    """Which pairs are right, by their p-values. right: those of right pairs, if a part of the real ones is wrong."""
    part = 0.0
    for _ in range(2):
        expected, real = (_spread(x) for x in (right(part), values))
        part = float(np.maximum(real - expected, 0).sum())
    error = float(np.sqrt(real * (1 - real) / len(values)).sum()) / 2
    if part < max(LEAST_PART, 3 * error):
        return Found(np.ones(len(values), bool), part)
    likely = (1 - part) * expected > 0.5 * real
    # The likelier a pair is right, the smaller its p-value: never one bin without those below it.
    likely = np.logical_and.accumulate(likely)
    return Found(likely[np.digitize(values, EDGES) - 1], part)


def _spread(values: Floats) -> Floats:
    """Fraction of p-values in each bin."""
    found: Floats = np.histogram(values, EDGES)[0] / len(values)
    return found
