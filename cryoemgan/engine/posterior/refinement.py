"""The best templates turned and moved to the maximum of their likelihood (Gauss-Newton); its curvature says what the
angle and the move may still be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..shapes import Tensor
from .search import Candidates, Particles, Prior, away

if TYPE_CHECKING:
    from .library import ReducedLibrary, TemplateLibrary
    from .posterior import Search


STEPS = 2


def approach(
    reduced: ReducedLibrary, particles: Particles, found: Candidates, prior: Prior, search: Search, steps: int = STEPS
) -> tuple[Candidates, Tensor]:
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


def refine(bank: TemplateLibrary, particles: Particles, found: Candidates, prior: Prior, search: Search) -> Candidates:
    """Candidates turned and moved to the top of their likelihood, with log_prior and axes.

    log_prior is what the integral over angle and move adds to the likelihood at the top (Laplace): its prior density
    there times the volume left by the curvature.
    """
    found, curvature = approach(bank.reduced(search.refining), particles, found, prior, search)
    moving = prior.shift_sd > 0
    log = found.log_prior + _log_volume(bank, curvature, found.shift, prior, moving)
    pose = torch.zeros_like(log)
    if prior.matrices is not None and prior.degrees:
        pose = _log_pose_density(bank, found, prior.matrices, prior.degrees)
    return replace(found, log_prior=log, log_pose=pose, axes=_axes(curvature, prior, moving, search.temperature))


def _slope(
    reduced: ReducedLibrary,
    particles: Particles,
    coefficients: Tensor,
    angle: Tensor,
    shift: Tensor,
    moving: bool,
    search: Search,
) -> tuple[Tensor, Tensor]:
    """Gradient [B, L, Q] of the log likelihood in angle (and move), and its Gauss-Newton curvature [B, L, Q, Q]."""
    plane = reduced.plane
    turned = reduced.turned(coefficients, angle)
    vectors = reduced.synthesise(torch.stack([turned, -1j * reduced.order * turned], 2))
    if moving:
        k = torch.stack([plane.kx, plane.ky]) * (-2j * math.pi / plane.box)
        seen = vectors.new_empty(*vectors.shape[:2], 4, vectors.shape[3])
        torch.mul(vectors, (plane.ramps(shift) * particles.transfer[:, None])[:, :, None], out=seen[:, :, :2])
        torch.mul(seen[:, :, :1], k, out=seen[:, :, 2:])
    else:
        seen = vectors * particles.transfer[:, None, None]
    seen = torch.view_as_real(seen).flatten(3)
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


def _step(start: Tensor, angle: Tensor, shift: Tensor, step: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Angle and shift after a step, at most ``reach`` from where the coarse search had them."""
    here = torch.cat([angle[..., None], shift], 2)
    here[..., : step.shape[-1]] += step
    here = start + (here - start).clamp(-reach, reach)
    return here[..., 0], here[..., 1:]


def _axes(curvature: Tensor, prior: Prior, moving: bool, temperature: float) -> Tensor:
    """Cholesky factors [B, L, Q, Q] of the covariance left by the likelihood to the power 1 / temperature."""
    tempered = curvature / temperature
    if moving:
        tempered[..., 1:, 1:] += torch.eye(2, device=tempered.device) * (1 - 1 / temperature) / prior.shift_sd**2
    return torch.linalg.cholesky(torch.linalg.inv(tempered))


def _log_volume(bank: TemplateLibrary, curvature: Tensor, shift: Tensor, prior: Prior, moving: bool) -> Tensor:
    """Log of the prior's density at the top times the volume under it: uniform in template and angle, normal in moves.
    No wider than half a turn."""
    size = curvature.shape[-1]
    volume = 0.5 * size * math.log(2 * math.pi) - 0.5 * torch.logdet(curvature)
    if not moving:
        return volume.clamp(max=math.log(2 * math.pi)) - math.log(2 * math.pi * len(bank))
    sd = prior.shift_sd
    density = -shift.square().sum(-1) / (2 * sd**2) - math.log(2 * math.pi * sd**2)
    return volume + density - math.log(2 * math.pi * len(bank))


def _log_pose_density(bank: TemplateLibrary, found: Candidates, matrices: Tensor, degrees: float) -> Tensor:
    """Log of the pose prior against the uniform one: a normal of ``degrees`` over rotations."""
    between = bank.matrices[found.template] @ matrices.float().transpose(1, 2)[:, None]
    sd = math.radians(degrees)
    # Uniform over rotations is 1 / (8 pi^2); wider than about 60 degrees the normal is no longer one.
    constant = max(0.0, math.log(8 * math.pi**2) - 1.5 * math.log(2 * math.pi * sd**2))
    return constant - 0.5 * (away(between, found.angle) / degrees) ** 2
