"""Templates learned from particles alone: what a template library is made of where there is no map.

Expectation maximisation over 2D templates (as of Scheres et al. 2005 for class averages): every particle shows one of a
few hundred templates, or its mirror image (the view from behind), turned and moved, behind its CTF and in white noise.
Templates are not averages, however, but posterior means for the covariance of the images (`classical.cwf`), which is
learned with them: a template that few particles show is smooth, and shows more detail as it becomes better known. They
start as single particles behind the covariance Wiener filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..classical.base import Batch
from ..classical.cwf import Denoiser
from ..data.sampling import chunks, evenly_spread
from ..imaging.flips import flipped
from ..imaging.steerable import FourierPlane
from ..random_streams import generator
from ..shapes import Floats, Images, Tensor
from . import preparation
from .assignment import Assignment, assign
from .library import TemplateLibrary
from .posterior import Search
from .search import Particles, Prior

ROUNDS = 8
# Particles that are learned from; they stay in memory.
LARGEST_COUNT = 20000
# Templates: this often the square root of the particles (of 2,200 and 4,000 particles of five-state RNAP, half and
# twice as many were no better), but so many at least and at most.
GROWTH, FEWEST, MOST = 2.3, 30, 400
# A template that fewer particles than this show is left out.
LEAST_SHOWN = 0.5
# Part of the templates' power in their basis; the rest is what they have of the noise.
ENERGY = 0.9999
# Tempered: templates are fewer than views.
SEARCH = Search(candidates=8, survivors=8, temperature=1.5, contrast=0.05)
CHUNK = 500
# Particles that a pilot is asked about, and those that are learned from at least.
PILOT, FEWEST_LEARNED = 32, 200


@dataclass(frozen=True)
class Learned:
    """images: float32 [n, box, box], templates in the particles' grey scale and without CTF, those that most particles
    show first. shown: float32 [n], by how many particles. particles: that they were learned from, of so ``many``."""

    images: Images
    shown: Floats
    particles: int
    many: int


@dataclass(frozen=True)
class _Seen:
    """Particles less the background. vectors: complex64 [n, P]; transfer: float32 [n, P], CTF over the noise's s.d.;
    weights: float [n, f], its square at the frequencies of a profile."""

    vectors: Tensor
    transfer: Tensor
    weights: Floats

    def rows(self, rows: np.ndarray) -> _Seen:
        """Some of the particles."""
        return _Seen(self.vectors[rows], self.transfer[rows], self.weights[rows])

    def particles(self) -> Particles:
        """As a posterior sees them: the grey level of an image says nothing of what it shows."""
        transfer = self.transfer.clone()
        transfer[:, 0] = 0
        return Particles(self.vectors, transfer)


def learn(
    batches: Callable[[], Iterable[Batch]],
    box: int,
    reach: float,
    seed: int,
    tell: Callable[[int], object] = lambda rounds: None,
    templates: int | None = None,
    seconds: float | None = None,
) -> Learned:
    """Templates of a set of particles.

    Parameters
    ----------
    batches : callable
        Gives a fresh iterator over the particles, which stay in memory (about 7 `box` ^2 bytes each).
    box : int
        px, of the particles and the templates.
    reach : float
        How far particles may be off centre, px; twice their s.d.
    seed : int
        Of the particles that templates start from.
    tell : callable
        Called after each of `ROUNDS`.
    templates : int, optional
        How many to start with; default by the number of particles.
    seconds : float, optional
        What it may take; as many of the particles are learned from as fit.
    """
    method, plane = Denoiser(box), FourierPlane(box)
    method.fit(batches)
    seen = _seen(batches(), plane, method)
    count = len(seen.vectors)
    size = templates or int(np.clip(GROWTH * count**0.5, FEWEST, MOST))
    chosen = np.sort(generator(seed, 'templates').permutation(count)[: min(size, count)])
    found = _denoised(batches(), method, chosen)
    own = torch.full((count,), -1)
    own[chosen] = torch.arange(len(chosen))
    for number in range(ROUNDS):
        library = of_templates(found)
        finest = library.reduced(SEARCH.functions).plane.radius
        prior = Prior.moves(box, finest, reach, reach / 2, torch.device('cpu'))
        if seconds is not None and not number:
            kept = evenly_spread(count, _fitting(library, seen, prior, seconds))
            seen, own = seen.rows(kept), own[kept]
        # Later they are no longer made of one particle each.
        shown = assign(library, seen.particles(), prior, SEARCH, None if number else own)
        found, times = _templates(method, plane, seen, shown, len(found))
        tell(1)
    order = np.argsort(-times, kind='stable')
    return Learned(found[order], times[order], len(seen.vectors), count)


def _fitting(library: TemplateLibrary, seen: _Seen, prior: Prior, seconds: float) -> int:
    """How many particles can be learned from in this time, here and now."""
    some = seen.rows(evenly_spread(len(seen.vectors), PILOT)).particles()
    # The first question makes tables that all others use.
    assign(library, some.rows(slice(2)), prior, SEARCH)
    each = preparation.timed(lambda: assign(library, some, prior, SEARCH)) / len(some.y)
    return max(FEWEST_LEARNED, int(seconds / (ROUNDS * each)))


def of_templates(images: Images, device: str | torch.device = 'cpu') -> TemplateLibrary:
    """TemplateLibrary of templates and their mirror images."""
    both = torch.from_numpy(np.concatenate([images, flipped(images, 2)])).to(device)
    return TemplateLibrary.from_images(both, energy=ENERGY)


def _seen(batches: Iterable[Batch], plane: FourierPlane, method: Denoiser) -> _Seen:
    vectors, transfers, weights = [], [], []
    for batch in batches:
        sd = torch.as_tensor(batch.noise_sd, dtype=torch.float32)[:, None]
        vectors.append(plane.vectors(torch.from_numpy(batch.images - np.float32(method.background))) / sd)
        transfer = torch.ones(len(batch.images), len(plane))
        if batch.transfer is not None:
            transfer = torch.as_tensor(batch.transfer, dtype=torch.float32).flatten(1)[:, plane.index]
        transfers.append(transfer / sd)
        weights.append(method.squared(batch) / batch.noise_sd[:, None] ** 2)
    return _Seen(torch.cat(vectors), torch.cat(transfers), np.concatenate(weights))


def _denoised(batches: Iterable[Batch], method: Denoiser, chosen: np.ndarray) -> Images:
    """What the covariance Wiener filter makes of particles ``chosen`` (in order)."""
    found, start = [], 0
    for batch in batches:
        rows = chosen[(chosen >= start) & (chosen < start + len(batch.images))] - start
        start += len(batch.images)
        if len(rows):
            found.append(method.denoise(batch.rows(rows)))
    return np.concatenate(found)


def _templates(
    method: Denoiser, plane: FourierPlane, seen: _Seen, shown: Assignment, count: int
) -> tuple[Images, Floats]:
    """The templates that particles show, most likely: sums over particles in the template's position, and their
    posterior means for the covariance that follows from the sums. And by how many particles each is shown."""
    mirror, template = shown.template >= count, shown.template % count
    sums: list[Tensor] = []
    weights = np.zeros((count, seen.weights.shape[1]))
    for part in chunks(len(template), CHUNK):
        rows, weight = shown.particle[part], shown.weight[part]
        np.add.at(weights, template[part].numpy(), seen.weights[rows.numpy()] * weight.numpy()[:, None])
        moved = seen.vectors[rows] * seen.transfer[rows]
        if bool(shown.shift.any()):
            moved = moved * plane.ramps(-shown.shift[part])
        turned = _positioned(method.basis.expand(plane.images(moved)), shown.angle[part], mirror[part])
        sums = sums or [torch.zeros(count, *z.shape[1:]) for z in turned]
        for total, z in zip(sums, turned):
            total.index_add_(0, template[part], z * weight[:, None, None])
    times = torch.zeros(count).index_add_(0, template, shown.weight)
    kept = times >= LEAST_SHOWN
    sums, weights = [z[kept] for z in sums], weights[kept.numpy()]
    method.relearn(sums, weights)
    return method.posterior_means(sums, weights), times[kept].numpy()


def _positioned(coefficients: list[Tensor], angle: Tensor, mirror: Tensor) -> list[Tensor]:
    """Coefficients [n, 1 or 2, q] of images turned back by ``angle`` [n], then mirrored in x where ``mirror`` [n]."""
    found = [coefficients[0]]
    for k, z in enumerate(coefficients[1:], 1):
        cosine, sine = (f(k * angle)[:, None] for f in (torch.cos, torch.sin))
        turned = torch.stack([z[:, 0] * cosine + z[:, 1] * sine, z[:, 1] * cosine - z[:, 0] * sine], 1)
        sign = 1.0 if k % 2 == 0 else -1.0
        flipped = turned * torch.tensor([sign, -sign])[:, None]
        found.append(torch.where(mirror[:, None, None], flipped, turned))
    return found
