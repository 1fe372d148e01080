"""Where in a bank a particle lies, coarsely, in memory that does not grow with the bank; `refinement` goes on.

Every template at ``turns`` in-plane angles and on a grid of moves, in the few basis functions that hold most of the
signal. A turn is a phase of each angular order, so all turns of a template are one small sum over orders. Of a large
bank one representative of each group of views is looked at, then the members of the best groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ..shapes import Tensor

if TYPE_CHECKING:
    from .library import ReducedLibrary, TemplateLibrary
    from .posterior import Search

BLOCK = 2**21  # scores computed at a time: they stay in the processor's cache
SHORTLIST = 3  # times as many templates as candidates are turned to their best pose, with a pose prior
GATHERED = 2**23  # coefficients of members of groups held at a time


@dataclass
class Particles:
    """Particles as the posterior sees them.

    y: complex64[B, P], whitened vectors. transfer: float32[B, P], gain * CTF / s.d. of the noise.
    """

    y: Tensor
    transfer: Tensor

    def rows(self, rows: slice | Tensor) -> Particles:
        """Some of the particles."""
        return Particles(self.y[rows], self.transfer[rows])

    def cut(self, inside: Tensor) -> Particles:
        """The particles in a part of the Fourier plane."""
        return Particles(self.y[:, inside], self.transfer[:, inside])


@dataclass
class Prior:
    """Where the pose is expected. shifts: float32[S, 2] px, the grid of moves, ``step`` px apart; log_shift: [S], its
    log prior; shift_sd: px, of the moves' normal prior, 0 = none. matrices: [B, 3, 3] or None; degrees: its s.d.;
    templates: [D, 3, 3], poses of the bank."""

    shifts: torch.Tensor
    log_shift: torch.Tensor
    shift_sd: float = 0.0
    step: float = 1.0
    matrices: torch.Tensor | None = None
    degrees: float | None = None
    templates: torch.Tensor | None = None

    @classmethod
    def moves(cls, box: int, finest: float, reach: float, sd: float, device: torch.device) -> Prior:
        """Of particles that lie up to ``reach`` px off centre, s.d. ``sd``; nothing is known of their angles.

        finest: radius of the part of the Fourier plane in which a coarse search looks, px.
        """
        # It is as good a quarter of its finest wave beside the particle: 2 px of 64, 4 px of 128.
        step = min(max(1.0, box / (2 * finest)), max(reach, 1.0))
        count = int(reach / step + 0.5)
        steps = step * torch.arange(-count, count + 1, device=device).float()
        grid = torch.cartesian_prod(steps, steps)
        grid = grid[grid.square().sum(1) <= max(reach, 0.5) ** 2 + 0.5 * step**2]
        log = torch.log_softmax(-grid.square().sum(1) / (2 * max(sd, 0.3) ** 2), 0)
        return cls(grid, log, sd if reach else 0.0, step)

    def rows(self, rows: slice | Tensor) -> Prior:
        """Of some of the particles."""
        matrices = None if self.matrices is None else self.matrices[rows]
        return Prior(self.shifts, self.log_shift, self.shift_sd, self.step, matrices, self.degrees, self.templates)


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

    def take(self, order: Tensor) -> Candidates:
        """The candidates at places ``order`` int64[B, M]."""
        rows = torch.arange(len(order), device=order.device)[:, None]
        parts: dict[str, Any] = {k: v if v is None else v[rows, order] for k, v in vars(self).items()}
        return Candidates(**parts)

    def rows(self, rows: slice | Tensor, count: int) -> Candidates:
        """The first ``count`` candidates of some of the particles."""
        parts: dict[str, Any] = {k: v if v is None else v[rows, :count] for k, v in vars(self).items()}
        return Candidates(**parts)

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Candidates of several batches of particles."""
        columns = {key: [vars(p)[key] for p in parts] for key in vars(parts[0])}
        joined: dict[str, Any] = {k: None if c[0] is None else torch.cat(c) for k, c in columns.items()}
        return cls(**joined)


def log_ratio(c: Tensor, n: Tensor, contrast: float) -> Tensor:
    """log p(y | template) / p(y | empty) from c = <Ft, y> and n = <Ft, Ft>, the scale integrated out."""
    fixed = c - 0.5 * n
    if not contrast:
        return fixed
    v = contrast**2
    return fixed + 0.5 * v * (c - n) ** 2 / (1 + v * n) - 0.5 * torch.log1p(v * n)


def coarse(
    bank: TemplateLibrary, particles: Particles, prior: Prior, search: Search, own: Tensor | None = None
) -> tuple[Candidates, Candidates]:
    """(Candidates, one turn and move of each of the best templates; the single best one when the pose prior is
    ignored). own: int64[B], template that a particle must not use, -1 for none."""
    reduced = bank.reduced(search.functions)
    b = _moved(reduced, particles, prior.shifts)
    seen = reduced.plane.ring_means(particles.transfer**2)
    if bank.groups is None:
        score, free, which = _every(reduced, b, seen, prior, search, own)
        # With a pose prior a score is a bound: more than are wanted, to sort them by what they are at their turn.
        posed = prior.matrices is not None and bool(prior.degrees)
        best = score.topk(min(search.candidates * (SHORTLIST if posed else 1), len(bank)), 1).indices
        first = free.argmax(1, keepdim=True)
        move = which.gather(1, best)
        value, found = _turned(reduced, b, seen, prior, search, best, move, prior.matrices)
        value = (value + prior.log_shift[move]).masked_fill(score.gather(1, best) == -math.inf, -math.inf)
        if posed:
            value, order = value.topk(min(search.candidates, len(bank)), 1)
            found = found.take(order)
        _, alone = _turned(reduced, b, seen, prior, search, first, which.gather(1, first), None)
    else:
        score, free, which = _every(reduced, b, seen, prior, search)
        found, value = _members(bank, b, seen, prior, search, score, which, prior.matrices, own)
        alone, _ = _members(bank, b, seen, prior, replace(search, candidates=1, groups=8), free, which, None, own)
    # A small bank may be taken whole, the forbidden template too.
    found.log_prior[value == -math.inf] = -math.inf
    return found, alone


def _members(
    bank: TemplateLibrary,
    b: Tensor,
    seen: Tensor,
    prior: Prior,
    search: Search,
    score: Tensor,
    which: Tensor,
    matrices: Tensor | None,
    own: Tensor | None,
) -> tuple[Candidates, Tensor]:
    """(Candidates, their scores [B, L]): the best of the members of the best groups; score, which: of the
    representatives, as from `_every`."""
    assert bank.groups is not None
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


def _moved(reduced: ReducedLibrary, particles: Particles, shifts: Tensor) -> Tensor:
    """Products complex64[B, S, K] of the basis with particles moved back by each of the shifts."""
    z = particles.transfer * particles.y
    return reduced.products(z[:, None] * reduced.plane.ramps(shifts).conj())


def _every(
    reduced: ReducedLibrary, b: Tensor, seen: Tensor, prior: Prior, search: Search, own: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """For each of the templates that are looked at first its best log ratio with the prior of moves float32[B, D], with
    and without the pose prior, and the move int64[B, D] it has there. seen: float32[B, R], power of the transfer.

    With the pose prior it is a bound: each takes the turn that it likes best, so that the few that are close can be
    looked at again, and not all templates at all turns.
    """
    turning, chosen = reduced.turning(search.turns), slice(None) if reduced.first is None else reduced.first
    n = seen @ reduced.power[chosen].T
    poses = None if prior.templates is None else prior.templates[chosen]
    count, moves = b.shape[:2]
    size = n.shape[1]
    score, free = n.new_full(n.shape, -math.inf), n.new_full(n.shape, -math.inf)
    which = torch.zeros(n.shape, dtype=torch.int64, device=n.device)
    width = max(64, BLOCK // (count * search.turns))
    moved = [turning.of_particles(b[:, s]) for s in range(moves)]
    for start in range(0, size, width):
        rows = slice(start, min(start + width, size))
        pose = _log_pose(prior, poses, rows)
        for s in range(moves):
            even, odd = turning.halves(moved[s], rows)
            # The ratio grows with c wherever c is not far below zero: the best turn has the largest c. Of two turns
            # half a turn apart that is even + |odd|.
            c = even.add_(odd.abs_()).amax(0)
            plain = log_ratio(c, n[:, rows], search.contrast) + prior.log_shift[s]
            best = plain if pose is None else plain + pose
            which[:, rows] = torch.where(best > score[:, rows], s, which[:, rows])
            score[:, rows] = torch.maximum(best, score[:, rows])
            if pose is not None:
                free[:, rows] = torch.maximum(plain, free[:, rows])
    if prior.matrices is None or not prior.degrees or poses is None:
        free = score.clone()
    if own is not None:
        masked = torch.nonzero(own >= 0)[:, 0]
        score[masked, own[masked]] = free[masked, own[masked]] = -math.inf
    return score, free, which


def _log_pose(prior: Prior, poses: Tensor | None, rows: slice) -> Tensor | None:
    """Log pose prior [B, d] of templates with these poses, or None."""
    if poses is None or prior.matrices is None or not prior.degrees:
        return None
    return log_pose_prior(poses[rows], prior.matrices, prior.degrees)


def log_pose_prior(templates: Tensor, matrices: Tensor, degrees: float) -> Tensor:
    """-angle^2 / (2 degrees^2), float32[B, D]: the angle between the pose of each template ``templates`` [D, 3, 3],
    turned in the plane as close as it comes, and ``matrices`` [B, 3, 3]. Not normalised."""
    between = torch.einsum('dij,bkj->bdik', templates, matrices.float())
    # The trace of turn(angle) times that is a cosine of the angle, of this height.
    closest = torch.hypot(between[..., 0, 0] + between[..., 1, 1], between[..., 0, 1] - between[..., 1, 0])
    angle = torch.rad2deg(torch.arccos(((closest + between[..., 2, 2] - 1) / 2).clamp(-1, 1)))
    return -0.5 * (angle / degrees) ** 2


def away(between: Tensor, angle: Tensor) -> Tensor:
    """Degrees of the rotation turn(angle) times ``between`` [..., 3, 3]."""
    trace = (
        torch.cos(angle) * (between[..., 0, 0] + between[..., 1, 1])
        + torch.sin(angle) * (between[..., 0, 1] - between[..., 1, 0])
        + between[..., 2, 2]
    )
    return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))


def _turned(
    reduced: ReducedLibrary,
    b: Tensor,
    seen: Tensor,
    prior: Prior,
    search: Search,
    templates: Tensor,
    move: Tensor,
    matrices: Tensor | None,
) -> tuple[Tensor, Candidates]:
    """(log ratio float32[B, L] without the prior of moves, Candidates) of ``templates`` int64[B, L] at moves ``move``,
    each at its best turn. matrices: of the pose prior, or None."""
    rows = torch.arange(len(b), device=b.device)[:, None]
    c = reduced.turning(search.turns).of_each(b[rows, move], reduced.coefficients[templates])
    n = torch.einsum('br,blr->bl', seen, reduced.power[templates])
    value = log_ratio(c, n[..., None], search.contrast)
    if matrices is not None and prior.degrees and prior.templates is not None:
        between = prior.templates[templates] @ matrices.float().transpose(1, 2)[:, None]
        angles = torch.arange(search.turns, device=b.device) * (2 * math.pi / search.turns)
        value = value - 0.5 * (away(between[:, :, None], angles) / prior.degrees) ** 2
    value, turn = value.max(2)
    nothing = torch.zeros_like(value)
    angle = turn * (2 * math.pi / search.turns)
    return value, Candidates(templates, angle, prior.shifts[move], nothing, nothing.clone())
