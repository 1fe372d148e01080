"""From where and at which place each particle is seen, and how well that is known.

The posterior of the image is a Gaussian around weighed candidates (`posterior`). Each direction in which the image may
still differ is also a change of the pose: from one candidate to the mean of those near the best one, or the turn and
the move that are left within a template. So the pose follows the image, between the templates too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..shapes import Tensor
from .library import TemplateLibrary
from .pose_columns import SHARE
from .search import Candidates

# Degrees from the best candidate, beyond which another one is another view and not its neighbour.
NEAR = 20.0


@dataclass
class Pose:
    """matrices: float32[B, 3, 3]; shifts: float32[B, 2] px, by which the template is moved; angle_spread (degrees) and
    shift_spread (px): float32[B], within which of them the posterior holds SHARE."""

    matrices: Tensor
    shifts: Tensor
    angle_spread: Tensor
    shift_spread: Tensor


@dataclass
class PoseDirections:
    """What the directions of a posterior's image are in its pose. matrices: float32[B, 3, 3], shifts: [B, 2], the pose
    that they start from; steps: [B, D, 5], each direction's rotation vector in the frame of the image (radians) and
    move (px). found: all candidates float32[B, L, 3, 3], and their moves [B, L, 2]; near: bool [B, L], which of them
    the directions join."""

    matrices: Tensor
    shifts: Tensor
    steps: Tensor
    found: tuple[Tensor, Tensor]
    near: Tensor

    def pose(self, step: Tensor, covariance: Tensor, weight: Tensor, spread: float) -> Pose:
        """The Pose a step [B, 5] away, of which the covariance [B, 5, 5] is left, and of the candidates their
        probabilities [B, L]. spread: by how much the s.d. of images is larger than it seems; it is because templates
        are apart, by views, not by turns and moves."""
        scale = covariance.new_tensor([spread, spread, 1.0, 1.0, 1.0]).sqrt()
        covariance = covariance * scale * scale[:, None]
        matrices, shifts = rotations(step[:, :3]) @ self.matrices, self.shifts + step[:, 3:]
        turns, moves = self.found
        away = torch.rad2deg(_angles(turns @ matrices.transpose(1, 2)[:, None]))
        distance = torch.linalg.vector_norm(moves - shifts[:, None], dim=2)
        here = (weight * self.near).sum(1)
        return Pose(
            matrices,
            shifts,
            _spread(math.degrees(1) ** 2 * covariance[:, :3, :3], here, away, weight),
            _spread(covariance[:, 3:, 3:], here, distance, weight),
        )


def directions_of(library: TemplateLibrary, found: Candidates, weight: Tensor, best: Tensor) -> PoseDirections:
    """PoseDirections of Candidates with weights [B, L], and of what the one at ``best`` [B, 1] leaves within it."""
    matrices = posed(library, found)
    centre = matrices.gather(1, best[..., None, None].expand(-1, 1, 3, 3))
    between = matrices @ centre.transpose(2, 3)
    near = _angles(between) < math.radians(NEAR)
    steps = torch.cat([rotation_vectors(between), found.shift], 2)
    part = weight * near
    mean = torch.einsum('bl,blq->bq', part / part.sum(1, keepdim=True), steps)
    steps = part.sqrt()[..., None] * (steps - mean[:, None])
    first = found.take(best)
    assert first.axes is not None
    axes = first.axes[:, 0].transpose(1, 2)
    left = axes.new_zeros(*axes.shape[:2], 5)
    # A turn of the image is about its own z.
    left[..., 2 : 2 + axes.shape[2]] = axes
    start = rotations(mean[:, :3]) @ centre[:, 0]
    return PoseDirections(start, mean[:, 3:], torch.cat([steps, left], 1), (matrices, found.shift), near)


def posed(library: TemplateLibrary, found: Candidates) -> Tensor:
    """Poses float32[B, L, 3, 3] of candidates."""
    c, s = torch.cos(found.angle), torch.sin(found.angle)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    spin = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return spin @ library.matrices[found.template]


def rotation_vectors(matrices: Tensor) -> Tensor:
    """Rotation vectors [..., 3] (radians) of rotations [..., 3, 3]; near half a turn the axis is not exact."""
    axis, sine = _axes(matrices), _angles(matrices).sin()
    return axis * (_angles(matrices) / sine.clamp(min=1e-6)).where(sine > 1e-6, 1.0)[..., None]


def _axes(matrices: Tensor) -> Tensor:
    """Axis [..., 3] of rotations, times the sine of the angle."""
    m = matrices
    return torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1) / 2


def _angles(matrices: Tensor) -> Tensor:
    """Angles (radians) of rotations, exact for small ones too."""
    sine = torch.linalg.vector_norm(_axes(matrices), dim=-1)
    return torch.atan2(sine, (matrices.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2)


def rotations(vectors: Tensor) -> Tensor:
    """Rotations [..., 3, 3] of rotation vectors [..., 3] (radians)."""
    angle = torch.linalg.vector_norm(vectors, dim=-1)[..., None, None]
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    # sin(a) / a and (1 - cos(a)) / a^2.
    first, second = torch.sinc(angle / torch.pi), 0.5 * torch.sinc(angle / (2 * torch.pi)) ** 2
    return torch.eye(3, device=vectors.device) + first * cross + second * (cross @ cross)


def _spread(covariance: Tensor, here: Tensor, distance: Tensor, weight: Tensor) -> Tensor:
    """Distance [B] within which SHARE of the posterior lies: a normal of this covariance [B, Q, Q] holds ``here`` [B]
    of it, and what lies at other poses is at the ``distance`` [B, L] of the candidates with these weights."""
    total = covariance.diagonal(dim1=1, dim2=2).sum(1)
    # A sum of squares of normals of different s.d. is nearly a chi-squared one of fewer degrees of freedom, and its
    # cube root nearly normal (Wilson and Hilferty).
    share = 2 / 9 * covariance.square().sum((1, 2)) / total.square().clamp(min=1e-30)
    part = (SHARE / here).clamp(max=0.995)
    near = (total * (1 - share + share.sqrt() * torch.special.ndtri(part)) ** 3).sqrt()
    distance, order = distance.sort(1)
    place = (weight.gather(1, order).cumsum(1) < SHARE).sum(1, keepdim=True).clamp(max=distance.shape[1] - 1)
    return torch.where(here > SHARE, near, torch.maximum(near, distance.gather(1, place)[:, 0]))
