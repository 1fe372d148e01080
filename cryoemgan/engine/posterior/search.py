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
from .first_step import step_of_move
from .pose_prior import away, log_pose_prior

if TYPE_CHECKING:
    from .library import ReducedLibrary, TemplateLibrary
    from .posterior import Search
    from .rotations import InPlaneRotations

BLOCK = 2**21  # scores computed at a time: they stay in the processor's cache
# Times as many templates as candidates, and the least number, that are looked at at all turns.
SHORTLIST, FEWEST = 3, 16
ROWS = 1024  # particles at moves that are compared with templates at a time
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
    log_prior [B, L], log probability of the candidate before its likelihood, without the pose prior log_pose; top
    [B, L], its log likelihood ratio, as far as it is known; move int64[B, L], where the search found it; axes
    [B, L, Q, Q], s.d. left to the angle and the move (rows: a Cholesky factor of the inverse curvature; Q = 1 without
    moves)."""

    template: torch.Tensor
    angle: torch.Tensor
    shift: torch.Tensor
    log_prior: torch.Tensor
    log_pose: torch.Tensor
    top: torch.Tensor
    move: torch.Tensor
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
    posed = prior.matrices is not None and bool(prior.degrees)
    # Of a group another member may be asked.
    score, free, which = _every(reduced, b, seen, prior, search, own if bank.groups is None else None)
    if bank.groups is None:
        found = _best(reduced, b, seen, prior, search, score, which, prior.matrices)
        alone = replace(search, candidates=1)
        free_one = _best(reduced, b, seen, prior, alone, free, which, None) if posed else None
    else:
        found = _members(bank, b, seen, prior, search, score, which, prior.matrices, own)
        alone = replace(search, candidates=1, groups=8)
        free_one = _members(bank, b, seen, prior, alone, free, which, None, own) if posed else None
    # A small bank may be taken whole, the forbidden template too.
    found.log_prior[found.top == -math.inf] = -math.inf
    found = step_of_move(reduced, particles, seen, prior, found)
    return found, found.rows(slice(None), 1) if free_one is None else free_one


def _best(
    reduced: ReducedLibrary,
    b: Tensor,
    seen: Tensor,
    prior: Prior,
    search: Search,
    score: Tensor,
    which: Tensor,
    matrices: Tensor | None,
) -> Candidates:
    """The best templates by score float32[B, D] at moves ``which`` [B, D], each at its best turn, sorted. matrices: of
    the pose prior, or None."""
    # Scores are of few turns, and with a pose prior bounds: more than are wanted, to sort them by what they are.
    best = score.topk(min(max(search.candidates * SHORTLIST, FEWEST), score.shape[1]), 1).indices
    found = _turned(reduced, b, seen, prior, search, best, which.gather(1, best), matrices)
    found.top.masked_fill_(score.gather(1, best) == -math.inf, -math.inf)
    return found.take(found.top.topk(min(search.candidates, found.top.shape[1]), 1).indices)


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
) -> Candidates:
    """As `_best`, of the members of the best groups; score, which: of the representatives, as from `_every`."""
    assert bank.groups is not None
    groups = score.topk(min(search.groups, score.shape[1]), 1).indices
    width = bank.groups.members.shape[1]
    reduced, parts = bank.reduced(search.functions), []
    for rows in torch.arange(len(b), device=b.device).split(max(1, GATHERED // (groups.shape[1] * width * b.shape[2]))):
        templates = bank.groups.members[groups[rows]].flatten(1)
        move = which[rows].gather(1, groups[rows]).repeat_interleave(width, 1)
        own_pose = None if matrices is None else matrices[rows]
        found = _turned(reduced, b[rows], seen[rows], prior, search, templates.clamp(min=0), move, own_pose)
        forbidden = templates < 0
        if own is not None:
            forbidden |= templates == own[rows, None]
        found.top.masked_fill_(forbidden, -math.inf)
        parts.append(found.take(found.top.topk(min(search.candidates, found.top.shape[1]), 1).indices))
    return Candidates.joined(parts)


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
    # Members of a group take the move of its representative: that is looked at more closely.
    turns = _fewer(search.turns) if reduced.first is None else search.turns
    turning, chosen = reduced.turning(turns), slice(None) if reduced.first is None else reduced.first
    n = seen @ reduced.power[chosen].T
    parts = [_best_moves(turning, some, prior.log_shift, n.shape[1]) for some in b.split(max(1, ROWS // b.shape[1]))]
    score, which = (torch.cat(values) for values in zip(*parts))
    shift = prior.log_shift[which]
    free = log_ratio(score.sub_(shift), n, search.contrast) + shift
    score = free.clone()
    if prior.matrices is not None and prior.degrees and prior.templates is not None:
        score += log_pose_prior(prior.templates[chosen], prior.matrices, prior.degrees)
    if own is not None:
        masked = torch.nonzero(own >= 0)[:, 0]
        score[masked, own[masked]] = free[masked, own[masked]] = -math.inf
    return score, free, which


def _best_moves(turning: InPlaneRotations, b: Tensor, log_shift: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For each of ``size`` templates the product with particles at the best turn and move, plus the log prior log_shift
    [S] of that move, float32[n, size]; and the move. b: complex64[n, S, K], products with the basis at each move."""
    count, moves = b.shape[:2]
    particles, parts = turning.of_particles(b.flatten(0, 1)), []
    width = max(64, BLOCK // (count * moves * turning.turns))
    for block in (slice(start, start + width) for start in range(0, size, width)):
        even, odd = turning.halves(particles, block)
        # The ratio grows with the product wherever that is not far below zero: the best turn has the largest one. Of
        # two turns half a turn apart it is even + |odd|.
        c = even.add_(odd.abs_()).amax(0).view(count, moves, -1)
        parts.append(c.add_(log_shift[:, None]).max(1))
    score, which = (torch.cat(values, 1) for values in zip(*parts))
    return score, which


def _fewer(turns: int) -> int:
    """Five sixths of the turns, even: enough to tell which templates are worth all of them."""
    return max(2, 2 * (5 * turns // 12))


def _turned(
    reduced: ReducedLibrary,
    b: Tensor,
    seen: Tensor,
    prior: Prior,
    search: Search,
    templates: Tensor,
    move: Tensor,
    matrices: Tensor | None,
) -> Candidates:
    """Candidates of ``templates`` int64[B, L] at moves ``move``, each at its best turn, by a parabola through that and
    its neighbours. matrices: of the pose prior, or None."""
    rows = torch.arange(len(b), device=b.device)[:, None]
    turning, step = reduced.turning(search.turns), 2 * math.pi / search.turns
    c = turning.of_each(b.flatten(0, 1), rows * b.shape[1] + move, templates)
    n = torch.einsum('br,blr->bl', seen, reduced.power[templates])
    value = c
    if matrices is not None and prior.degrees and prior.templates is not None:
        between = prior.templates[templates] @ matrices.float().transpose(1, 2)[:, None]
        angles = torch.arange(search.turns, device=b.device) * step
        pose = -0.5 * (away(between[:, :, None], angles) / prior.degrees) ** 2
        value = log_ratio(c, n[..., None], search.contrast) + pose
    turn = value.argmax(2, keepdim=True)
    beside = torch.tensor([-1, 0, 1], device=b.device)
    before, here, after = c.gather(2, (turn + beside) % search.turns).unbind(2)
    offset = 0.5 * (before - after) / (before - 2 * here + after).clamp(max=-1e-20)
    offset = offset.clamp(-0.5, 0.5)
    higher = 0.5 * offset * (after - before) + 0.5 * offset**2 * (before - 2 * here + after)
    top = log_ratio(here + higher, n, search.contrast) + prior.log_shift[move]
    if value is not c:
        top += pose.gather(2, turn)[..., 0]
    nothing = torch.zeros_like(top)
    angle = (turn[..., 0] + offset) * step
    return Candidates(templates, angle, prior.shifts[move], nothing, nothing.clone(), top, move)
