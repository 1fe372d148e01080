"""The best templates turned and moved to the maximum of their likelihood (Gauss-Newton); its curvature says what the
angle and the move may still be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..imaging.steerable import FourierPlane, turned
from ..shapes import Tensor
from .pose_prior import log_pose_density
from .search import Candidates, Particles, Prior, log_ratio

if TYPE_CHECKING:
    from .library import ReducedLibrary, TemplateLibrary
    from .posterior import Search


# Log weight below the best candidate's at which another does not count any more, and the part of the best one's by
# which weights may be wrong: as the coarse search expects them, and after the first step.
EXPECTED, ROUGHLY = (12.0, 0.06), (10.0, 0.02)
AT_A_TIME = 512  # candidates whose slopes are computed together: they stay in the processor's cache


def refine(bank: TemplateLibrary, particles: Particles, found: Candidates, prior: Prior, search: Search) -> Candidates:
    """Candidates turned and moved to the top of their likelihood, with log_prior and axes; those that carry no weight
    are left where they are, with a log_prior of -inf. particles: in the part of the Fourier plane of the ReducedLibrary
    of ``search.refining``.

    log_prior is what the integral over angle and move adds to the likelihood at the top (Laplace): its prior density
    there times the volume left by the curvature.
    """
    step = _Steps(bank.reduced(search.refining), particles, found, prior, search)
    for within, wrong in (EXPECTED, ROUGHLY):
        found, curvature = step(found, within, wrong)
    moving = prior.shift_sd > 0
    log = found.log_prior + _log_volume(bank, curvature, found.shift, prior, moving)
    pose = torch.zeros_like(log)
    if prior.matrices is not None and prior.degrees:
        pose = log_pose_density(bank.matrices[found.template], found.angle, prior.matrices, prior.degrees)
    return replace(found, log_prior=log, log_pose=pose, axes=_axes(curvature, prior, moving, search.temperature))


class _Steps:
    """Steps of Gauss and Newton of Candidates, not farther from where they are at first than the coarse search's grid
    is wide."""

    def __init__(
        self, reduced: ReducedLibrary, particles: Particles, found: Candidates, prior: Prior, search: Search
    ) -> None:
        self._prior, self._search = prior, search
        self._slopes = _Slopes(reduced, particles, prior.shift_sd > 0, search.contrast)
        self._start = _place(found)
        self._reach = torch.tensor([math.pi / search.turns] + [prior.step] * 2, device=found.angle.device)
        size = 3 if prior.shift_sd > 0 else 1
        self._curvature = torch.eye(size, device=found.angle.device).repeat(*found.angle.shape, 1, 1)

    def __call__(self, found: Candidates, within: float, wrong: float) -> tuple[Candidates, Tensor]:
        """(Candidates a step nearer to their top, the curvature there, made invertible, [B, L, Q, Q]); those whose log
        weight is more than ``within``, and the part ``wrong`` of the best one's, below that do not take part."""
        weight = found.top / self._search.temperature + found.log_prior
        best = weight.amax(1, keepdim=True)
        taken = torch.nonzero(weight >= best - within - wrong * best.clamp(min=0), as_tuple=True)
        before = _place(found)
        here, gradient, curvature = self._slopes(taken[0], found.template[taken], before[taken])
        pull, stiff = gradient.clone(), _stiffened(curvature, self._search)
        size, sd = gradient.shape[-1], self._prior.shift_sd
        if size > 1:
            pull[:, 1:] -= found.shift[taken] / sd**2
            stiff[:, 1:, 1:] += torch.eye(2, device=stiff.device) / sd**2
        after, start = before[taken], self._start[taken]
        after[:, :size] += torch.linalg.solve(stiff, pull)
        after = start + (after - start).clamp(-self._reach, self._reach)
        step = (after - before[taken])[:, :size]
        top = torch.full_like(found.top, -math.inf)
        top[taken] = here + (step * (gradient - 0.5 * (curvature @ step[..., None])[..., 0])).sum(-1)
        before[taken], self._curvature[taken] = after, stiff
        log_prior = found.log_prior.masked_fill(top == -math.inf, -math.inf)
        found = replace(found, angle=before[..., 0], shift=before[..., 1:], top=top, log_prior=log_prior)
        return found, self._curvature


class _Slopes:
    """Log likelihood, gradient and Gauss-Newton curvature of particles with candidates, in angle (and move)."""

    def __init__(self, reduced: ReducedLibrary, particles: Particles, moving: bool, contrast: float) -> None:
        self._reduced, self._moving, self._contrast = reduced, moving, contrast
        self._y = particles.transfer * particles.y
        self._transfer = particles.transfer.repeat_interleave(2, 1)
        self._waves = _waves(reduced.plane)

    def __call__(self, rows: Tensor, template: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of particles ``rows`` int64[n] with templates [n], angle and move [n, 3]: log likelihood ratio [n], gradient
        [n, Q], curvature [n, Q, Q]."""
        parts = [self._some(*part) for part in zip(*(x.split(AT_A_TIME) for x in (rows, template, place)))]
        product, gram = (torch.cat(x) for x in zip(*parts))
        v, c, n = self._contrast**2, product[:, 0], gram[:, 0, 0]
        scale = ((1 + v * c) / (1 + v * n))[:, None]
        gradient = scale * (product[:, 1:] - scale * gram[:, 0, 1:])
        return log_ratio(c, n, self._contrast), gradient, scale[..., None] ** 2 * gram[:, 1:, 1:]

    def _some(self, rows: Tensor, template: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Products [n, 1 + Q] of the particles with the templates and their derivatives, and those of the latter with
        each other [n, 1 + Q, 1 + Q].

        A move is a factor of modulus 1: the particle is moved back, and what templates have in common does not know of
        it. Its derivative is -i k times the template.
        """
        order, angle, shift = self._reduced.order, place[:, 0], place[:, 1:]
        a = turned(self._reduced.coefficients[template], order, angle)
        both = self._reduced.synthesise(torch.stack([a, -1j * order * a], 1))
        y = self._y.index_select(0, rows)
        if self._moving:
            y = self._reduced.plane.ramps(-shift).mul_(y)
        flat = torch.view_as_real(both).flatten(2)
        seen = flat * self._transfer.index_select(0, rows)[:, None]
        product = (flat @ torch.view_as_real(y).flatten(1)[..., None])[..., 0]
        gram = seen @ seen.transpose(1, 2)
        if not self._moving:
            return product, gram
        odd, even = self._waves
        pushed = -torch.view_as_real(y.mul_(both[:, 0].conj())).flatten(1) @ odd
        first, second = torch.view_as_complex(seen.unflatten(2, (-1, 2))).unbind(1)
        cross = torch.view_as_real(first * second.conj()).flatten(1) @ odd
        xx, xy, yy = (seen[:, 0].square() @ even).unbind(1)
        whole = gram.new_zeros(len(gram), 4, 4)
        whole[:, :2, :2] = gram
        whole[:, 1, 2:] = whole[:, 2:, 1] = cross
        whole[:, 2, 2], whole[:, 3, 3] = xx, yy
        whole[:, 2, 3] = whole[:, 3, 2] = xy
        return torch.cat([product, pushed], 1), whole


def _waves(plane: FourierPlane) -> tuple[Tensor, Tensor]:
    """What sums over both parts of P coefficients are weighed with: k times the imaginary part float32[2 P, 2], and kx
    kx, kx ky, ky ky times each part, [2 P, 3]."""
    kx, ky = torch.stack([plane.kx, plane.ky]) * (2 * math.pi / plane.box)
    odd = torch.stack([torch.zeros_like(kx), kx, torch.zeros_like(ky), ky]).view(2, 2, -1).transpose(1, 2).flatten(1)
    return odd.T.contiguous(), torch.stack([kx * kx, kx * ky, ky * ky]).repeat_interleave(2, 1).T.contiguous()


def _place(found: Candidates) -> Tensor:
    """Angle and move [B, L, 3]."""
    return torch.cat([found.angle[..., None], found.shift], 2)


def _stiffened(curvature: Tensor, search: Search) -> Tensor:
    """A curvature [n, Q, Q] that can be inverted."""
    # Farther than a turn of the coarse search the angle is another candidate's.
    stiff = curvature.clone()
    stiff[:, 0, 0] += (search.turns / (2 * math.pi)) ** 2
    ridge = 1e-3 * stiff.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
    return stiff + torch.diag_embed(ridge.expand(stiff.shape[:2]))


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
