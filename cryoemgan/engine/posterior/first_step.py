"""From the grid of moves towards the top of the likelihood, at next to no cost: a particle's products with the basis
have a slope with respect to its move, which is the same for all templates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..imaging.steerable import turned
from ..shapes import Tensor

if TYPE_CHECKING:
    from .library import ReducedLibrary
    from .search import Candidates, Particles, Prior


def step_of_move(
    reduced: ReducedLibrary, particles: Particles, seen: Tensor, prior: Prior, found: Candidates
) -> Candidates:
    """Candidates moved to where a parabola has its top, at most as far as the grid of moves is wide.

    The parabola's curvature is that of a transfer and of a template's power spectrum that are the same in all
    directions; seen: float32[B, R], power of the transfer in rings.
    """
    if not prior.shift_sd:
        return found
    slope = _slopes(reduced, particles, found, prior)
    wave = 2 * math.pi / reduced.plane.box * torch.arange(seen.shape[1], device=seen.device)
    # Of a squared distance, a direction has half.
    curvature = torch.einsum('br,blr->bl', 0.5 * seen * wave.square(), reduced.power[found.template])[..., None]
    step = (slope - found.shift / prior.shift_sd**2) / (curvature + 1 / prior.shift_sd**2)
    step = step.clamp(-prior.step, prior.step)
    higher = (slope * step - 0.5 * curvature * step.square()).sum(2)
    return replace(found, shift=found.shift + step, top=found.top + higher)


def _slopes(reduced: ReducedLibrary, particles: Particles, found: Candidates, prior: Prior) -> Tensor:
    """Derivatives float32[B, L, 2] of the products of particles and candidates with respect to their moves, at the
    grid's moves ``found.move``."""
    plane = reduced.plane
    k = torch.stack([plane.kx, plane.ky]) * (2j * math.pi / plane.box)
    z = (particles.transfer * particles.y)[:, None] * plane.ramps(-prior.shifts)
    b = reduced.products(z[:, :, None] * k)
    rows = torch.arange(len(b), device=b.device)[:, None] * b.shape[1] + found.move
    b = torch.view_as_real(b.flatten(0, 1).index_select(0, rows.flatten())).flatten(2)
    a = turned(reduced.coefficients[found.template], reduced.order, found.angle)
    return (b @ torch.view_as_real(a).flatten(0, 1).flatten(1)[..., None]).view(*found.angle.shape, 2)
