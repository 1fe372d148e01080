"""How likely poses are before a particle is seen, where a refinement has an opinion: a normal over rotations."""

from __future__ import annotations

import math

import torch

from ..shapes import Tensor


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


def log_pose_density(templates: Tensor, angle: Tensor, matrices: Tensor, degrees: float) -> Tensor:
    """Log of the pose prior against the uniform one, float32[B, L]: a normal of ``degrees`` over rotations, around
    ``matrices`` [B, 3, 3]. templates: [B, L, 3, 3], turned by ``angle`` [B, L]."""
    between = templates @ matrices.float().transpose(1, 2)[:, None]
    sd = math.radians(degrees)
    # Uniform over rotations is 1 / (8 pi^2); wider than about 60 degrees the normal is no longer one.
    constant = max(0.0, math.log(8 * math.pi**2) - 1.5 * math.log(2 * math.pi * sd**2))
    return constant - 0.5 * (away(between, angle) / degrees) ** 2
