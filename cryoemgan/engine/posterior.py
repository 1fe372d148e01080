"""What a bank of projections says about particles: evidence, posterior mean and spread.

Model of a particle: y = scale * F t + noise, F t the template turned, moved, multiplied by the particle's CTF and
whitened by the noise's spectrum; scale ~ N(1, contrast^2) is integrated out; at k = 0 F is zero, so an offset does
not matter. The empty hypothesis is y = noise.

A bank is a grid, and at the noise's end the likelihood may be narrower than the grid. So the grid is weighed with
the likelihood to the power 1 / T, which makes a Gaussian (mean and covariance of the weighted templates), and the
rest of the likelihood, its power 1 - 1 / T, then updates that Gaussian exactly: templates are interpolated.
"""

import math
from dataclasses import dataclass

import torch

MEMORY = 2**28
RANK = 12  # directions of the posterior's covariance that its s.d. is made of


@dataclass
class Particles:
    """Particles as the posterior sees them.

    y: complex64[B, P], whitened vectors. transfer: float32[B, P], gain * CTF / s.d. of the noise.
    """

    y: torch.Tensor
    transfer: torch.Tensor


@dataclass
class Prior:
    """Where the pose is expected. shifts: float32[S, 2] px, the grid of moves; log_shift: [S], its log prior.
    shift_sd: px, spread within a cell of that grid. matrices: [B, 3, 3] or None; degrees: its s.d."""

    shifts: torch.Tensor
    log_shift: torch.Tensor
    shift_sd: float = 0.0
    matrices: torch.Tensor | None = None
    degrees: float | None = None


@dataclass
class Search:
    """How hard to look. functions: of the basis, in the search; turns: in-plane rotations; candidates: weighed
    exactly; temperature: T; contrast: s.d. of the scale; empty: prior probability of the empty hypothesis."""

    functions: int = 200
    turns: int = 72
    candidates: int = 64
    temperature: float = 2.7
    contrast: float = 0.1
    empty: float = 0.1


@dataclass
class Posterior:
    """vector: complex64[B, P], posterior mean (the empty hypothesis not mixed in). spread: float32
    [B, N, N], s.d. of its pixels. evidence: [B], log p(y | bank) / p(y | empty). scale: [B]. matrices: [B, 3, 3],
    pose of the best candidate; shifts: [B, 2]; free_matrices: of the best one when the pose prior is ignored."""

    vector: torch.Tensor
    spread: torch.Tensor
    evidence: torch.Tensor
    scale: torch.Tensor
    matrices: torch.Tensor
    shifts: torch.Tensor
    free_matrices: torch.Tensor


def log_ratio(c, n, contrast):
    """log p(y | template) / p(y | empty) from c = <Ft, y> and n = <Ft, Ft>, the scale integrated out."""
    fixed = c - 0.5 * n
    if not contrast:
        return fixed
    v = contrast**2
    return fixed + 0.5 * v * (c - n) ** 2 / (1 + v * n) - 0.5 * torch.log1p(v * n)


@torch.no_grad()
def infer(bank, particles, prior, search, own=None):
    """Posterior of Particles; own: int64[B], template of the bank that each must not use (-1: none)."""
    cells = len(prior.shifts) * len(bank) * search.turns
    chunk = max(1, MEMORY // (16 * cells))
    parts = []
    for start in range(0, len(particles.y), chunk):
        rows = slice(start, start + chunk)
        some = Particles(particles.y[rows], particles.transfer[rows])
        matrices = None if prior.matrices is None else prior.matrices[rows]
        here = Prior(prior.shifts, prior.log_shift, prior.shift_sd, matrices, prior.degrees)
        parts.append(
            _weigh(bank, some, here, search, *_find(bank, some, here, search, None if own is None else own[rows]))
        )
    return Posterior(*(torch.cat(values) for values in zip(*(vars(p).values() for p in parts))))


def _find(bank, particles, prior, search, own):
    """(indices [B, L] of the best candidates, their log prior [B, L], best index [B] without pose prior)."""
    score = _scores(bank, particles, prior, search)
    score += prior.log_shift[:, None, None]
    if own is not None:
        rows = torch.nonzero(own >= 0)[:, 0]
        score[rows, :, own[rows]] = -math.inf
    free = score.flatten(1).argmax(1)
    grid = -math.log(len(bank) * search.turns)
    pose = None
    if prior.matrices is not None and prior.degrees:
        pose = log_pose_prior(bank, prior.matrices, prior.degrees, search.turns)
        score += pose[:, None]
    best = score.flatten(1).topk(min(search.candidates, score[0].numel()), 1).indices
    shift = best // (len(bank) * search.turns)
    log_prior = prior.log_shift[shift] + (grid if pose is None else pose.flatten(1).gather(1, best % pose[0].numel()))
    return best, log_prior, free


def _scores(bank, particles, prior, search):
    """log_ratio of all candidates in the subspace, float32[B, S, D, turns]."""
    basis, turns, count = bank.basis, search.turns, min(search.functions, len(bank.basis))
    z = particles.transfer * particles.y
    moved = z[:, None] * bank.plane.ramps(prior.shifts).conj()
    b = basis.products(moved.flatten(0, 1), count)
    order, a = basis.order[:count], bank.coefficients[:, :count].conj()
    waves = b.new_zeros(len(b), len(bank), turns // 2 + 1)
    for m in range(min(turns // 2, int(order.max()) + 1)):
        columns = torch.nonzero(order == m)[:, 0]
        if len(columns):
            waves[:, :, m] = b[:, columns] @ a[:, columns].T * (turns if m == 0 else turns / 2)
    c = torch.fft.irfft(waves, n=turns).unflatten(0, moved.shape[:2])
    # Rotation does not change the power in a ring; an astigmatic CTF is averaged over the ring here only.
    n = bank.plane.ring_means(particles.transfer**2) @ bank.power.T
    return log_ratio(c, n[:, None, :, None], search.contrast)


def log_pose_prior(bank, matrices, degrees, turns):
    """Log prior float32[B, D, turns]: normal in the angle between each candidate's pose and ``matrices`` [B, 3, 3]."""
    between = torch.einsum('dij,bkj->bdik', bank.matrices, matrices.float())
    angle = torch.arange(turns, device=matrices.device) * (2 * math.pi / turns)
    trace = (
        torch.cos(angle) * (between[..., 0, 0] + between[..., 1, 1])[..., None]
        + torch.sin(angle) * (between[..., 0, 1] - between[..., 1, 0])[..., None]
        + between[..., 2, 2, None]
    )
    away = torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))
    log = -0.5 * (away / degrees) ** 2
    return log - torch.logsumexp(log.flatten(1), 1)[:, None, None]


def _poses(bank, index, turns):
    """(template, angle) of flat indices into [S, D, turns]."""
    return index // turns % len(bank), (index % turns) * (2 * math.pi / turns)


def _matrices(bank, index, turns):
    template, angle = _poses(bank, index, turns)
    c, s, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    spin = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return spin @ bank.matrices[template]


def _weigh(bank, particles, prior, search, best, log_prior, free):
    plane, turns = bank.plane, search.turns
    template, angle = _poses(bank, best, turns)
    shift = prior.shifts[best // (len(bank) * turns)]
    coefficients = bank.basis.turned(bank.coefficients[template], angle)
    vectors = bank.basis.synthesise(coefficients)
    if len(prior.shifts) > 1 or bool(prior.shifts.any()):
        vectors *= plane.ramps(shift)
    vectors = torch.view_as_real(vectors)
    transfer = particles.transfer[:, None, :, None]
    y = torch.view_as_real(particles.y)
    seen = (vectors * transfer).flatten(2)
    c, n = torch.einsum('blp,bp->bl', seen, y.flatten(1)), seen.square().sum(-1)
    ratio = log_ratio(c, n, search.contrast)
    evidence = torch.logsumexp(ratio + log_prior, 1)
    weight = torch.softmax(ratio / search.temperature + log_prior, 1)
    mean = torch.einsum('bl,blpc->bpc', weight, vectors)
    spread = weight.sqrt()[..., None, None] * (vectors - mean[:, None])
    if prior.shift_sd:
        spread = torch.cat([spread, prior.shift_sd * _slopes(plane, mean)], 1)
    v = search.contrast**2
    seen = mean * transfer[:, 0]
    scale = (1 + v * (seen * y).sum((1, 2))) / (1 + v * seen.square().sum((1, 2)))
    mean, sd = _update(plane, mean, spread, y, scale[:, None, None] * transfer[:, 0], search)
    first = best[:, 0]
    return Posterior(
        torch.view_as_complex(mean), sd, evidence, scale,
        _matrices(bank, first, turns), shift[:, 0], _matrices(bank, free, turns),
    )  # fmt: skip


def _slopes(plane, mean):
    """Derivatives [B, 2, P, 2] of vectors [B, P, 2] with respect to a move in x and y."""
    k = torch.stack([plane.kx, plane.ky]) * (2 * math.pi / plane.box)
    return torch.stack([mean[:, None, :, 1] * k, -mean[:, None, :, 0] * k], -1)


def _update(plane, mean, spread, y, transfer, search):
    """Posterior of the Gaussian (mean, spread^T spread) after the likelihood to the power 1 - 1/T: mean, and s.d. of
    the pixels [B, N, N]."""
    power = 1 - 1 / search.temperature
    seen = (spread * transfer[:, None]).flatten(2)
    values, rotation = torch.linalg.eigh(seen @ seen.transpose(1, 2))
    residual = torch.einsum('blp,bp->bl', seen, (y - transfer * mean).flatten(1))
    shrink = 1 / (1 + power * values.clamp(min=0))
    steps = power * shrink * torch.einsum('blj,bl->bj', rotation, residual)
    steps = torch.einsum('blj,bj->bl', rotation, steps)
    mean = mean + torch.einsum('bl,blpc->bpc', steps, spread)
    top = rotation[:, :, -RANK:] * shrink[:, None, -RANK:].sqrt()
    axes = torch.einsum('blj,blpc->bjpc', top, spread).contiguous()
    images = plane.images(torch.view_as_complex(axes))
    return mean.contiguous(), images.square().sum(1).sqrt()
