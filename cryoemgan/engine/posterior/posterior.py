"""What a bank of projections says about particles: evidence, posterior mean and spread.

Model of a particle: y = scale * F t + noise, F t the template turned, moved, multiplied by the particle's CTF and
whitened by the noise's spectrum; scale ~ N(1, contrast^2) is integrated out; at k = 0 F is zero, so an offset does
not matter. The empty hypothesis is y = noise.

A bank is a grid, and at the noise's end the likelihood may be narrower than the grid. So the candidates that
`search` found are weighed with the likelihood (and the pose prior) to the power 1 / T, which makes a Gaussian (mean
and covariance of the weighted templates, and what is left of angle and move), and the rest of the likelihood, its
power 1 - 1 / T, then updates that Gaussian exactly: templates are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..imaging.steerable import FourierPlane
from ..shapes import Tensor
from .library import ReducedLibrary, TemplateLibrary
from .map_evidence import evidence_of_maps, probabilities
from .pose import directions_of, posed
from .refinement import approach, refine
from .search import Candidates, Particles, Prior, coarse, log_ratio

MEMORY = 2**27  # bytes of templates handled at a time
SEEN = 0.1  # signal against noise, of rings in which the misfit is measured
# Log weights below the best candidate's at which another does not count any more: by all that the refinement sees, and
# by the few functions of the coarse search, which are wrong by more.
NEGLIGIBLE, ROUGHLY = 10.0, 10.0
RANK = 12  # directions of the posterior's covariance that its s.d. is made of


@dataclass
class Search:
    """How hard to look. functions: of the basis, in the coarse search; refining: in the search for angle and move;
    turns: in-plane rotations of the coarse search; groups: of a large bank, whose members are looked at; candidates:
    templates refined; survivors: of them, weighed with all functions; temperature: T; contrast: s.d. of the scale;
    empty: prior probability of the empty hypothesis; spread: factor of the s.d., measured."""

    functions: int = 96
    refining: int = 200
    turns: int = 36
    groups: int = 64
    candidates: int = 48
    survivors: int = 32
    temperature: float = 2.7
    contrast: float = 0.1
    empty: float = 0.1
    spread: float = 1.0

    def widen(self, candidates: int) -> None:
        """Look at so many candidates, and weigh two thirds of them."""
        self.candidates, self.survivors = candidates, max(1, 2 * candidates // 3)


@dataclass
class Posterior:
    """vector: complex64[B, P], posterior mean (the empty hypothesis not mixed in); variance: float32[B, P], of its
    coefficients. spread: float32[B, N, N], s.d. of its pixels. evidence: [B], log p(y | bank) / p(y | empty). scale:
    [B]. free_matrices: [B, 3, 3], pose of the best candidate when the pose prior is ignored. misfit: [B], see
    `_misfit`. match: [B], log p(y | bank) / p(y | another object), see `_other`. matrices, shifts, angle_spread,
    shift_spread: as of `Pose`. classes: [B, K], probability of each map."""

    vector: torch.Tensor
    variance: torch.Tensor
    spread: torch.Tensor
    evidence: torch.Tensor
    scale: torch.Tensor
    free_matrices: torch.Tensor
    misfit: torch.Tensor
    match: torch.Tensor
    matrices: torch.Tensor
    shifts: torch.Tensor
    angle_spread: torch.Tensor
    shift_spread: torch.Tensor
    classes: torch.Tensor


@torch.no_grad()
def infer(
    bank: TemplateLibrary, particles: Particles, prior: Prior, search: Search, own: Tensor | None = None
) -> Posterior:
    """Posterior of Particles; own: int64[B], template of the bank that each must not use (-1: none)."""
    chunk = max(1, MEMORY // (16 * len(bank.plane) * (search.survivors + search.candidates)))
    parts = []
    for start in range(0, len(particles.y), chunk):
        rows = slice(start, start + chunk)
        parts.append(_infer(bank, particles.rows(rows), prior.rows(rows), search, None if own is None else own[rows]))
    return Posterior(*(torch.cat(values) for values in zip(*(vars(p).values() for p in parts))))


def _infer(bank: TemplateLibrary, particles: Particles, prior: Prior, search: Search, own: Tensor | None) -> Posterior:
    rough, finer = bank.reduced(search.functions), bank.reduced(search.refining)
    inside = particles.cut(rough.inside)
    found, free = coarse(bank, inside, prior, search, own)
    found, _ = approach(rough, inside, found, prior, search, steps=1)
    order, counts = _ranked(rough, inside, found, search, ROUGHLY, search.candidates)
    found = found.take(order)
    return _by_count(
        counts,
        lambda rows, count: _finish(
            bank, finer, particles.rows(rows), prior.rows(rows), search, found.rows(rows, count), free.rows(rows, 1)
        ),
    )


def _finish(
    bank: TemplateLibrary,
    finer: ReducedLibrary,
    particles: Particles,
    prior: Prior,
    search: Search,
    found: Candidates,
    free: Candidates,
) -> Posterior:
    inside = particles.cut(finer.inside)
    found = refine(bank, inside, found, prior, search)
    order, counts = _ranked(finer, inside, found, search, NEGLIGIBLE, search.survivors)
    found = found.take(order)
    return _by_count(
        counts,
        lambda rows, count: _weigh(
            bank, particles.rows(rows), prior.rows(rows), search, found.rows(rows, count), free.rows(rows, 1)
        ),
    )


def _ranked(
    reduced: ReducedLibrary, particles: Particles, found: Candidates, search: Search, within: float, most: int
) -> tuple[Tensor, Tensor]:
    """(order int64 [B, L] of the candidates by their weight with the functions of a ReducedLibrary, the best first;
    how many carry weight [B]: those whose log weight is ``within`` of the best one's, at least 1, at most ``most``)."""
    vectors = reduced.synthesise(reduced.turned(reduced.coefficients[found.template], found.angle))
    seen, y = as_seen(reduced.plane, vectors, found.shift, particles)
    c, n = torch.einsum('blp,bp->bl', seen, y), torch.linalg.vector_norm(seen, dim=-1).square()
    weight = (log_ratio(c, n, search.contrast) + found.log_pose) / search.temperature + found.log_prior
    weight, order = weight.sort(1, descending=True)
    return order, (weight > weight[:, :1] - within).sum(1).clamp(1, min(most, weight.shape[1]))


def _by_count(counts: Tensor, posterior: Callable[[Tensor, int], Posterior]) -> Posterior:
    """The Posterior of all particles from ``posterior(rows, count)`` of some: particles that need about as many
    candidates go together, so that the few that need many do not hold up the others."""
    size = torch.exp2(counts.float().log2().ceil()).long()
    rows = [torch.nonzero(size == k)[:, 0] for k in size.unique()]
    parts = [vars(posterior(r, int(counts[r].max()))) for r in rows]
    back = torch.argsort(torch.cat(rows))
    return Posterior(**{k: torch.cat([p[k] for p in parts])[back] for k in parts[0]})


def as_seen(plane: FourierPlane, vectors: Tensor, shift: Tensor, particles: Particles) -> tuple[Tensor, Tensor]:
    """(vectors [B, L, P] as the particles show them, particles), real: float32[B, L, 2 P] and [B, 2 P]."""
    if bool(shift.any()):
        vectors = vectors * plane.ramps(shift)
    seen = torch.view_as_real(vectors) * particles.transfer[:, None, :, None]
    return seen.flatten(2), torch.view_as_real(particles.y).flatten(1)


def _weigh(
    bank: TemplateLibrary, particles: Particles, prior: Prior, search: Search, found: Candidates, free: Candidates
) -> Posterior:
    plane, basis = bank.plane, bank.basis
    coefficients = basis.turned(bank.coefficients[found.template], found.angle)
    vectors = basis.synthesise(coefficients)
    if bool(found.shift.any()):
        vectors *= plane.ramps(found.shift)
    vectors = torch.view_as_real(vectors)
    transfer, y = particles.transfer[:, :, None], torch.view_as_real(particles.y)
    seen = (vectors * transfer[:, None]).flatten(2)
    c, n = torch.einsum('blp,bp->bl', seen, y.flatten(1)), torch.linalg.vector_norm(seen, dim=-1).square()
    ratio = log_ratio(c, n, search.contrast)
    evidence = torch.logsumexp(ratio + found.log_pose + found.log_prior, 1)
    # The pose prior may be narrower than the bank's grid, too: it is weakened with the likelihood.
    weight = torch.softmax((ratio + found.log_pose) / search.temperature + found.log_prior, 1)
    mean = torch.einsum('bl,blpc->bpc', weight, vectors)
    best = weight.argmax(1, keepdim=True)
    spread = torch.cat(
        [
            weight.sqrt()[..., None, None] * (vectors - mean[:, None]),
            _left_over(bank, coefficients, found, weight, mean, best),
        ],
        1,
    )
    v = search.contrast**2
    shown = mean * transfer
    scale = (1 + v * (shown * y).sum((1, 2))) / (1 + v * shown.square().sum((1, 2)))
    classes = _classes(bank, found, ratio, scale[:, None, None] * seen, y.flatten(1), search)
    directions = directions_of(bank, found, weight, best)
    mean, variance, sd, moved = _update(
        plane, mean, spread, y, scale[:, None, None] * transfer, search, directions.steps
    )
    pose = directions.pose(*moved, torch.softmax(ratio + found.log_pose + found.log_prior, 1), search.spread)
    return Posterior(
        torch.view_as_complex(mean), variance, sd * search.spread, evidence, scale,
        posed(bank, free)[:, 0],
        _misfit(bank, particles, scale[:, None] * torch.view_as_complex(mean)), evidence - _other(bank, particles),
        pose.matrices, pose.shifts, pose.angle_spread, pose.shift_spread,
        classes,
    )  # fmt: skip


def _classes(
    bank: TemplateLibrary, found: Candidates, ratio: Tensor, seen: Tensor, y: Tensor, search: Search
) -> Tensor:
    """Probability float32[B, K] of each map that templates were made of."""
    if len(bank.classes) == 1:
        return torch.ones_like(ratio[:, :1])
    log_weight = (ratio + found.log_pose) / search.temperature + found.log_prior
    source = bank.source[found.template]
    return probabilities(evidence_of_maps(seen, y, log_weight, source, len(bank.classes), search.temperature))


def _misfit(bank: TemplateLibrary, particles: Particles, shown: Tensor) -> Tensor:
    """What the explanation complex64[B, P] leaves of each particle: its power beyond noise, in standard deviations of
    the power of noise, in the rings where signal is expected. About 0 when the bank holds the particle."""
    inside = _expected(bank, particles) > SEEN
    left = (particles.y - particles.transfer * shown).abs().square()
    freedom = 2 * inside.sum(1).clamp(min=1)
    return ((left * inside).sum(1) - freedom) / (2 * freedom).sqrt()


def _expected(bank: TemplateLibrary, particles: Particles) -> Tensor:
    """Signal against noise float32[B, P] that the bank's mean power spectrum lets expect in each coefficient."""
    plane = bank.plane
    # Noise has unit variance in each of the two parts of a coefficient.
    expected = 0.5 * bank.power[plane.r.round().long()] * particles.transfer**2
    expected[:, 0] = 0
    return expected


def _other(bank: TemplateLibrary, particles: Particles) -> Tensor:
    """log p(y | some object) / p(y | empty), [B]: the object's coefficients are Gaussian, of the bank's mean power."""
    expected = _expected(bank, particles)
    gain = expected / (1 + expected)
    return (0.5 * particles.y.abs().square() * gain - torch.log1p(expected)).sum(1)


def _left_over(
    bank: TemplateLibrary, coefficients: Tensor, found: Candidates, weight: Tensor, mean: Tensor, best: Tensor
) -> Tensor:
    """Directions [B, Q, P, 2] in which the mean may still turn and move, each one s.d. long."""
    turning = torch.einsum('bl,blk->bk', weight.to(coefficients.dtype), -1j * bank.basis.order * coefficients)
    turning = bank.basis.synthesise(turning)[:, None]
    first = found.take(best)
    assert first.axes is not None
    axes = first.axes[:, 0]
    if axes.shape[-1] == 1:
        slopes = torch.view_as_real(turning)
    else:
        shift = torch.einsum('bl,blc->bc', weight, found.shift)
        turning = torch.view_as_real(turning * bank.plane.ramps(shift)[:, None])
        slopes = torch.cat([turning, _slopes(bank.plane, mean)], 1)
    return torch.einsum('bqj,bqpc->bjpc', axes, slopes)


def _slopes(plane: FourierPlane, mean: Tensor) -> Tensor:
    """Derivatives [B, 2, P, 2] of vectors [B, P, 2] with respect to a move in x and y."""
    k = torch.stack([plane.kx, plane.ky]) * (2 * math.pi / plane.box)
    return torch.stack([mean[:, None, :, 1] * k, -mean[:, None, :, 0] * k], -1)


def _update(
    plane: FourierPlane, mean: Tensor, spread: Tensor, y: Tensor, transfer: Tensor, search: Search, poses: Tensor
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Posterior of the Gaussian (mean, spread^T spread) after the likelihood to the power 1 - 1/T: mean [B, P, 2],
    variance of its coefficients [B, P], and s.d. of the pixels [B, N, N]; where its directions are also steps of a pose
    ``poses`` [B, D, 5], the posterior's step [B, 5] and covariance [B, 5, 5] of that."""
    power = 1 - 1 / search.temperature
    seen = (spread * transfer[:, None]).flatten(2)
    # Single precision did not converge for hundreds of candidates that are nearly the same.
    values, rotation = (v.float() for v in torch.linalg.eigh((seen @ seen.transpose(1, 2)).double()))
    residual = torch.einsum('blp,bp->bl', seen, (y - transfer * mean).flatten(1))
    shrink = 1 / (1 + power * values.clamp(min=0))
    steps = power * shrink * torch.einsum('blj,bl->bj', rotation, residual)
    steps = torch.einsum('blj,bj->bl', rotation, steps)
    mean = mean + torch.einsum('bl,blpc->bpc', steps, spread)
    rotation = rotation * shrink[:, None].sqrt()
    axes = torch.einsum('blj,blpc->bjpc', rotation, spread)
    turning = torch.einsum('blj,blq->bjq', rotation, poses)
    moved = torch.einsum('bl,blq->bq', steps, poses), turning.transpose(1, 2) @ turning
    images = plane.images(torch.view_as_complex(axes[:, -RANK:].contiguous()))
    return mean.contiguous(), axes.square().sum((1, 3)), images.square().sum(1).sqrt(), moved
