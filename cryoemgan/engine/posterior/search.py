"""Where in a bank a particle lies: from coarse to fine, in memory that does not grow with the bank.

1. Every template at ``turns`` in-plane angles and on a grid of moves, in the few basis functions that hold most of the
   signal. A turn is a phase of each angular order, so all turns of a template are one small sum over orders. Of a
   large bank one representative of each group of views is looked at, then the members of the best groups.
2. The best templates are turned and moved to the maximum of their likelihood (Gauss-Newton); its curvature says what
   the angle and the move may still be.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

BLOCK = 2**21  # scores computed at a time: they stay in the processor's cache
GATHERED = 2**23  # coefficients of members of groups held at a time
STEPS = 2


@dataclass
class Candidates:
    """What is left of the bank: template int64[B, L]; angle float32[B, L], radians from x to y; shift [B, L, 2] px;
    log_prior [B, L], log probability of the candidate before its likelihood, without the pose prior log_pose; axes
    [B, L, Q, Q], s.d. left to the angle and the move (rows: a Cholesky factor of the inverse curvature; Q = 1 without
    moves)."""

    template: torch.Tensor
    angle: torch.Tensor
    shift: torch.Tensor
    log_prior: torch.Tensor
    log_pose: torch.Tensor
    axes: torch.Tensor | None = None

    def take(self, order):
        """The candidates at places ``order`` int64[B, M]."""
        rows = torch.arange(len(order), device=order.device)[:, None]
        parts: dict[str, Any] = {k: v if v is None else v[rows, order] for k, v in vars(self).items()}
        return Candidates(**parts)

    def rows(self, rows, count):
        """The first ``count`` candidates of some of the particles."""
        parts: dict[str, Any] = {k: v if v is None else v[rows, :count] for k, v in vars(self).items()}
        return Candidates(**parts)

    @classmethod
    def joined(cls, parts):
        """Candidates of several batches of particles."""
        columns = {key: [vars(p)[key] for p in parts] for key in vars(parts[0])}
        joined: dict[str, Any] = {k: None if c[0] is None else torch.cat(c) for k, c in columns.items()}
        return cls(**joined)


def log_ratio(c, n, contrast):
    """log p(y | template) / p(y | empty) from c = <Ft, y> and n = <Ft, Ft>, the scale integrated out."""
    fixed = c - 0.5 * n
    if not contrast:
        return fixed
    v = contrast**2
    return fixed + 0.5 * v * (c - n) ** 2 / (1 + v * n) - 0.5 * torch.log1p(v * n)


def coarse(bank, particles, prior, search, own=None):
    """(Candidates, one turn and move of each of the best templates; the single best one when the pose prior is
    ignored). own: int64[B], template that a particle must not use, -1 for none."""
    reduced = bank.reduced(search.functions)
    b = _moved(reduced, particles, prior.shifts)
    seen = reduced.plane.ring_means(particles.transfer**2)
    if bank.groups is None:
        score, free, which = _every(reduced, b, seen, prior, search, own)
        value, best = score.topk(min(search.candidates, len(bank)), 1)
        first = free.argmax(1, keepdim=True)
        _, found = _turned(reduced, b, seen, prior, search, best, which.gather(1, best), prior.matrices)
        _, alone = _turned(reduced, b, seen, prior, search, first, which.gather(1, first), None)
    else:
        score, free, which = _every(reduced, b, seen, prior, search)
        found, value = _members(bank, b, seen, prior, search, score, which, prior.matrices, own)
        alone, _ = _members(bank, b, seen, prior, replace(search, candidates=1, groups=8), free, which, None, own)
    # A small bank may be taken whole, the forbidden template too.
    found.log_prior[value == -math.inf] = -math.inf
    return found, alone


def _members(bank, b, seen, prior, search, score, which, matrices, own):
    """(Candidates, their scores [B, L]): the best of the members of the best groups; score, which: of the
    representatives, as from `_every`."""
    groups = score.topk(min(search.groups, score.shape[1]), 1).indices
    width = bank.groups.members.shape[1]
    reduced, parts = bank.reduced(search.functions), []
    for rows in torch.arange(len(b), device=b.device).split(max(1, GATHERED // (groups.shape[1] * width * b.shape[2]))):
        templates = bank.groups.members[groups[rows]].flatten(1)
        move = which[rows].gather(1, groups[rows]).repeat_interleave(width, 1)
        own_pose = None if matrices is None else matrices[rows]
        value, found = _turned(reduced, b[rows], seen[rows], prior, search, templates.clamp(min=0), move, own_pose)
        forbidden = templates < 0
        if own is not None:
            forbidden |= templates == own[rows, None]
        value = (value + prior.log_shift[move]).masked_fill(forbidden, -math.inf)
        value, order = value.topk(min(search.candidates, value.shape[1]), 1)
        parts.append((found.take(order), value))
    return Candidates.joined([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _moved(reduced, particles, shifts):
    """Products complex64[B, S, K] of the basis with particles moved back by each of the shifts."""
    z = particles.transfer * particles.y
    return reduced.products(z[:, None] * reduced.plane.ramps(shifts).conj())


def _every(reduced, b, seen, prior, search, own=None):
    """For each of the templates that are looked at first its best log ratio with the prior of moves float32[B, D], with
    and without the pose prior, and the move int64[B, D] it has there. seen: float32[B, R], power of the transfer."""
    turning, chosen = reduced.turning(search.turns), slice(None) if reduced.first is None else reduced.first
    n = seen @ reduced.power[chosen].T
    poses = None if prior.templates is None else prior.templates[chosen]
    count, moves = b.shape[:2]
    size = n.shape[1]
    score, free = n.new_full(n.shape, -math.inf), n.new_full(n.shape, -math.inf)
    which = torch.zeros(n.shape, dtype=torch.int64, device=n.device)
    width = max(64, BLOCK // (count * search.turns))
    for start in range(0, size, width):
        rows = slice(start, min(start + width, size))
        pose = _log_pose(prior, poses, rows, search.turns)
        for s in range(moves):
            c = turning(b[:, s], rows)
            # The ratio grows with c wherever c is not far below zero: the best turn has the largest c.
            plain = log_ratio(c.amax(0), n[:, rows], search.contrast) + prior.log_shift[s]
            posed = plain
            if pose is not None:
                posed = (log_ratio(c, n[:, rows], search.contrast) + pose).amax(0) + prior.log_shift[s]
            better = posed > score[:, rows]
            which[:, rows] = torch.where(better, s, which[:, rows])
            score[:, rows] = torch.maximum(posed, score[:, rows])
            free[:, rows] = torch.maximum(plain, free[:, rows])
    if own is not None:
        masked = torch.nonzero(own >= 0)[:, 0]
        score[masked, own[masked]] = free[masked, own[masked]] = -math.inf
    return score, free, which


def _log_pose(prior, poses, rows, turns):
    """Log pose prior [turns, B, d] of templates with these poses, or None."""
    if prior.matrices is None or not prior.degrees:
        return None
    return log_pose_prior(poses[rows], prior.matrices, prior.degrees, turns).permute(2, 0, 1)


def log_pose_prior(templates, matrices, degrees, turns):
    """-angle^2 / (2 degrees^2), float32[B, D, turns]: the angle between each template's pose ``templates``
    [D, 3, 3], turned, and ``matrices`` [B, 3, 3]. Not normalised."""
    between = torch.einsum('dij,bkj->bdik', templates, matrices.float())
    angle = torch.arange(turns, device=matrices.device) * (2 * math.pi / turns)
    return -0.5 * (_away(between[:, :, None], angle) / degrees) ** 2


def _away(between, angle):
    """Degrees of the rotation turn(angle) times ``between`` [..., 3, 3]."""
    trace = (
        torch.cos(angle) * (between[..., 0, 0] + between[..., 1, 1])
        + torch.sin(angle) * (between[..., 0, 1] - between[..., 1, 0])
        + between[..., 2, 2]
    )
    return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))


def _turned(reduced, b, seen, prior, search, templates, move, matrices):
    """(log ratio float32[B, L] without the prior of moves, Candidates) of ``templates`` int64[B, L] at moves ``move``,
    each at its best turn. matrices: of the pose prior, or None."""
    rows = torch.arange(len(b), device=b.device)[:, None]
    c = reduced.turning(search.turns).of_each(b[rows, move], reduced.coefficients[templates])
    n = torch.einsum('br,blr->bl', seen, reduced.power[templates])
    value = log_ratio(c, n[..., None], search.contrast)
    if matrices is not None and prior.degrees:
        between = prior.templates[templates] @ matrices.float().transpose(1, 2)[:, None]
        angles = torch.arange(search.turns, device=b.device) * (2 * math.pi / search.turns)
        value = value - 0.5 * (_away(between[:, :, None], angles) / prior.degrees) ** 2
    value, turn = value.max(2)
    nothing = torch.zeros_like(value)
    angle = turn * (2 * math.pi / search.turns)
    return value, Candidates(templates, angle, prior.shifts[move], nothing, nothing.clone())


def approach(reduced, particles, found, prior, search, steps=STEPS):
    """(Candidates turned and moved towards the top of their likelihood, its Gauss-Newton curvature [B, L, Q, Q]) by the
    functions of a ReducedLibrary, in whose part of the Fourier plane the particles are."""
    coefficients = reduced.coefficients[found.template]
    moving = prior.shift_sd > 0
    angle, shift = found.angle, found.shift
    reach = torch.tensor([math.pi / search.turns] + [prior.step] * 2, device=angle.device)
    start = torch.cat([angle[..., None], shift], 2)
    for _ in range(steps):
        gradient, curvature = _slope(reduced, particles, coefficients, angle, shift, moving, search)
        if moving:
            gradient[..., 1:] -= shift / prior.shift_sd**2
            curvature[..., 1:, 1:] += torch.eye(2, device=angle.device) / prior.shift_sd**2
        step = torch.linalg.solve(curvature, gradient[..., None])[..., 0]
        angle, shift = _step(start, angle, shift, step, reach)
    return replace(found, angle=angle, shift=shift), curvature


def refine(bank, particles, found, prior, search):
    """Candidates turned and moved to the top of their likelihood, with log_prior and axes.

    log_prior is what the integral over angle and move adds to the likelihood at the top (Laplace): its prior density
    there times the volume left by the curvature.
    """
    found, curvature = approach(bank.reduced(search.refining), particles, found, prior, search)
    moving = prior.shift_sd > 0
    log = found.log_prior + _log_volume(bank, curvature, found.shift, prior, moving)
    pose = torch.zeros_like(log)
    if prior.matrices is not None and prior.degrees:
        pose = _log_pose_density(bank, found.template, found.angle, prior)
    return replace(found, log_prior=log, log_pose=pose, axes=_axes(curvature, prior, moving, search.temperature))


def _slope(reduced, particles, coefficients, angle, shift, moving, search):
    """Gradient [B, L, Q] of the log likelihood in angle (and move), and its Gauss-Newton curvature [B, L, Q, Q]."""
    plane = reduced.plane
    turned = reduced.turned(coefficients, angle)
    vectors = reduced.synthesise(torch.stack([turned, -1j * reduced.order * turned], 2))
    if moving:
        vectors = vectors * plane.ramps(shift)[:, :, None]
        k = torch.stack([plane.kx, plane.ky]) * (-2j * math.pi / plane.box)
        vectors = torch.cat([vectors, vectors[:, :, :1] * k], 2)
    seen = torch.view_as_real(vectors * particles.transfer[:, None, None]).flatten(3)
    y = torch.view_as_real(particles.y).flatten(1)
    product = torch.einsum('blqp,bp->blq', seen, y)
    gram = seen @ seen.transpose(2, 3)
    v = search.contrast**2
    scale = (1 + v * product[..., 0]) / (1 + v * gram[..., 0, 0])
    gradient = scale[..., None] * (product[..., 1:] - scale[..., None] * gram[..., 0, 1:])
    curvature = scale[..., None, None] ** 2 * gram[..., 1:, 1:]
    # Farther than a turn of the coarse search the angle is another candidate's.
    curvature[..., 0, 0] += (search.turns / (2 * math.pi)) ** 2
    ridge = 1e-3 * curvature.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
    return gradient, curvature + torch.diag_embed(ridge.expand(curvature.shape[:-1]))


def _step(start, angle, shift, step, reach):
    """Angle and shift after a step, at most ``reach`` from where the coarse search had them."""
    here = torch.cat([angle[..., None], shift], 2)
    here[..., : step.shape[-1]] += step
    here = start + (here - start).clamp(-reach, reach)
    return here[..., 0], here[..., 1:]


def _axes(curvature, prior, moving, temperature):
    """Cholesky factors [B, L, Q, Q] of the covariance left by the likelihood to the power 1 / temperature."""
    tempered = curvature / temperature
    if moving:
        tempered[..., 1:, 1:] += torch.eye(2, device=tempered.device) * (1 - 1 / temperature) / prior.shift_sd**2
    return torch.linalg.cholesky(torch.linalg.inv(tempered))


def _log_volume(bank, curvature, shift, prior, moving):
    """Log of the prior's density at the top times the volume under it: uniform in template and angle, normal in moves.
    No wider than half a turn."""
    size = curvature.shape[-1]
    volume = 0.5 * size * math.log(2 * math.pi) - 0.5 * torch.logdet(curvature)
    if not moving:
        return volume.clamp(max=math.log(2 * math.pi)) - math.log(2 * math.pi * len(bank))
    sd = prior.shift_sd
    density = -shift.square().sum(-1) / (2 * sd**2) - math.log(2 * math.pi * sd**2)
    return volume + density - math.log(2 * math.pi * len(bank))


def _log_pose_density(bank, template, angle, prior):
    """Log of the pose prior against the uniform one: a normal of ``degrees`` over rotations."""
    between = bank.matrices[template] @ prior.matrices.float().transpose(1, 2)[:, None]
    sd = math.radians(prior.degrees)
    # Uniform over rotations is 1 / (8 pi^2); wider than about 60 degrees the normal is no longer one.
    constant = max(0.0, math.log(8 * math.pi**2) - 1.5 * math.log(2 * math.pi * sd**2))
    return constant - 0.5 * (_away(between, angle) / prior.degrees) ** 2
