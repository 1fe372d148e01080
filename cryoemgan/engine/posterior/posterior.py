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
from .library import TemplateLibrary
from .map_evidence import evidence_of_maps, probabilities
from .pose import directions_of, posed
from .refinement import refine
from .search import Candidates, Particles, Prior, coarse, log_ratio

MEMORY = 2**27  # bytes of templates handled at a time
SEEN = 0.1  # signal against noise, of rings in which the misfit is measured
LEFT_OUT = 3e-4  # probability of the candidates that are not weighed, by all that the refinement sees
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
    found, free = coarse(bank, particles.cut(rough.inside), prior, search, own)
    found = refine(bank, particles.cut(finer.inside), found, prior, search)
    order, counts = _ranked(found, search)
    found = found.take(order)
    return _by_count(
        counts,
        lambda rows, count: _weigh(
            bank, particles.rows(rows), prior.rows(rows), search, found.rows(rows, count), free.rows(rows, 1)
        ),
    )


def _ranked(found: Candidates, search: Search) -> tuple[Tensor, Tensor]:
    """(order int64 [B, L] of the candidates by their weight, the best first; how many of them count [B]: at most
    ``search.survivors``, and as many as leave out a probability of `LEFT_OUT`)."""
    weight = torch.softmax((found.top + found.log_pose) / search.temperature + found.log_prior, 1)
    weight, order = weight.sort(1, descending=True)
    count = (weight.cumsum(1) < 1 - LEFT_OUT).sum(1) + 1
    return order, count.clamp(max=min(search.survivors, weight.shape[1]))


def _by_count(counts: Tensor, posterior: Callable[[Tensor, int], Posterior]) -> Posterior:
    """The Posterior of all particles from ``posterior(rows, count)`` of some: particles that need about as many
    candidates go together, so that the few that need many do not hold up the others."""
    size = torch.exp2((counts.float().log2() * 2).ceil() / 2).round()
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
        vectors.mul_(plane.ramps(found.shift))
    vectors = torch.view_as_real(vectors).flatten(2)
    transfer, y = particles.transfer.repeat_interleave(2, 1), torch.view_as_real(particles.y).flatten(1)
    seen = vectors * transfer[:, None]
    c, n = (seen @ y[..., None])[..., 0], torch.linalg.vector_norm(seen, dim=-1).square()
    ratio = log_ratio(c, n, search.contrast)
    evidence = torch.logsumexp(ratio + found.log_pose + found.log_prior, 1)
    # The pose prior may be narrower than the bank's grid, too: it is weakened with the likelihood.
    weight = torch.softmax((ratio + found.log_pose) / search.temperature + found.log_prior, 1)
    mean = (weight[:, None] @ vectors)[:, 0]
    best = weight.argmax(1, keepdim=True)
    left = _left_over(bank, coefficients, found, weight, mean, best)
    spread = torch.cat([vectors.sub_(mean[:, None]).mul_(weight.sqrt()[..., None]), left], 1)
    v = search.contrast**2
    shown = mean * transfer
    scale = (1 + v * (shown * y).sum(1)) / (1 + v * shown.square().sum(1))
    classes = _classes(bank, found, ratio, seen.mul_(scale[:, None, None]), y, search)
    directions = directions_of(bank, found, weight, best)
    mean, variance, sd, moved = _update(plane, mean, spread, y, scale[:, None] * transfer, search, directions.steps)
    vector = torch.view_as_complex(mean.unflatten(1, (-1, 2)))
    pose = directions.pose(*moved, torch.softmax(ratio + found.log_pose + found.log_prior, 1), search.spread)
    return Posterior(
        vector, variance, sd * search.spread, evidence, scale,
        posed(bank, free)[:, 0],
        _misfit(bank, particles, scale[:, None] * vector), evidence - _other(bank, particles),
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
    """Directions [B, Q, 2 P] in which the mean may still turn and move, each one s.d. long."""
    turning = (weight[:, None] @ torch.view_as_real(coefficients).flatten(2))[:, 0].unflatten(1, (-1, 2))
    turning = bank.basis.synthesise(-1j * bank.basis.order * torch.view_as_complex(turning))[:, None]
    first = found.take(best)
    assert first.axes is not None
    axes = first.axes[:, 0]
    if axes.shape[-1] == 1:
        slopes = torch.view_as_real(turning).flatten(2)
    else:
        shift = torch.einsum('bl,blc->bc', weight, found.shift)
        turning = torch.view_as_real(turning * bank.plane.ramps(shift)[:, None]).flatten(2)
        slopes = torch.cat([turning, _slopes(bank.plane, mean)], 1)
    return axes.transpose(1, 2) @ slopes


def _slopes(plane: FourierPlane, mean: Tensor) -> Tensor:
    """Derivatives [B, 2, 2 P] of vectors [B, 2 P] with respect to a move in x and y."""
    k = torch.stack([plane.kx, plane.ky]) * (-2j * math.pi / plane.box)
    slopes = torch.view_as_complex(mean.unflatten(1, (-1, 2)))[:, None] * k
    return torch.view_as_real(slopes).flatten(2)


def _update(
    plane: FourierPlane, mean: Tensor, spread: Tensor, y: Tensor, transfer: Tensor, search: Search, poses: Tensor
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Posterior of the Gaussian (mean, spread^T spread) after the likelihood to the power 1 - 1/T: mean [B, 2 P],
    variance of its coefficients [B, P], and s.d. of the pixels [B, N, N]; where its directions are also steps of a pose
    ``poses`` [B, D, 5], the posterior's step [B, 5] and covariance [B, 5, 5] of that."""
    power = 1 - 1 / search.temperature
    seen = spread * transfer[:, None]
    # Single precision did not converge for hundreds of candidates that are nearly the same.
    values, rotation = (v.float() for v in torch.linalg.eigh((seen @ seen.transpose(1, 2)).double()))
    residual = (seen @ (y - transfer * mean)[..., None])[..., 0]
    shrink = 1 / (1 + power * values.clamp(min=0))
    steps = power * shrink * torch.einsum('blj,bl->bj', rotation, residual)
    steps = torch.einsum('blj,bj->bl', rotation, steps)
    mean = mean + (steps[:, None] @ spread)[:, 0]
    rotation = rotation * shrink[:, None].sqrt()
    axes = rotation.transpose(1, 2) @ spread
    turning = torch.einsum('blj,blq->bjq', rotation, poses)
    moved = torch.einsum('bl,blq->bq', steps, poses), turning.transpose(1, 2) @ turning
    images = plane.images(torch.view_as_complex(axes[:, -RANK:].unflatten(2, (-1, 2))))
    variance = axes.square_().sum(1).unflatten(1, (-1, 2)).sum(2)
    return mean, variance, images.square_().sum(1).sqrt_(), moved
