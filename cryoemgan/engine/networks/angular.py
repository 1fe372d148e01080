"""Functions of the in-plane angle, by their Fourier coefficients and at angles, and what is linear in them.

Coefficients are [frequencies, 2 (cosine, sine) * channels, B] and values [ANGLES, channels, B]: with particles last
each step is one product of matrices, and a device has few things to start.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ..shapes import Tensor

ANGLES = 64
# Of the power of an image that shows nothing.
LEAST_POWER = 1e-6


def series(highest: int) -> Tensor:
    """cos(m angle), sin(m angle) side by side, times sqrt 2 but for m = 0: [ANGLES, 2 (highest + 1)]."""
    m, angle = torch.arange(highest + 1), 2 * math.pi * torch.arange(ANGLES) / ANGLES
    norm = torch.where(m == 0, 1.0, 2**0.5)
    return torch.stack([norm * f(angle[:, None] * m) for f in (torch.cos, torch.sin)], -1).flatten(1)


def values(x: Tensor, series: Tensor) -> Tensor:
    """Fourier series [ANGLES, channels, B] of coefficients [frequencies, 2 channels, B]."""
    return torch.mm(series, x.view(series.shape[1], -1)).view(ANGLES, -1, x.shape[-1])


def add_values(to: Tensor, x: Tensor, series: Tensor, times: float) -> Tensor:
    """``to`` [ANGLES, channels, B] and ``times`` the `values` of x."""
    return torch.addmm(to.view(ANGLES, -1), series, x.view(series.shape[1], -1), alpha=times).view_as(to)


def coefficients(x: Tensor, analysis: Tensor) -> Tensor:
    """Coefficients [frequencies, 2 channels, B] of functions [ANGLES, channels, B].

    analysis: [2 frequencies, ANGLES], a transposed series over ANGLES.
    """
    return torch.mm(analysis, x.view(ANGLES, -1)).view(len(analysis) // 2, -1, x.shape[-1])


def real_matrices(*weights: Tensor) -> tuple[Tensor, ...]:
    """Complex matrices as real ones that take cosine and sine parts at once.

    Parameters
    ----------
    weights : Tensor
        [frequencies, inputs, 2 outputs] each, real parts first; of one shape.

    Returns
    -------
    tuple of Tensor
        [frequencies, 2 outputs, 2 inputs] each.
    """
    device = weights[0].device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        weights = tuple(w.to(torch.get_autocast_dtype(device)) for w in weights)
    found: tuple[Tensor, ...] = _RealMatrices.apply(*weights)
    return tuple(f.mT for f in found)


class _RealMatrices(torch.autograd.Function):
    """[[re, im], [-im, re]] of each, transposed: all of them in a few operations."""

    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        frequencies, inputs, outputs = weights[0].shape
        found = weights[0].new_empty(len(weights), frequencies, 2, inputs, 2, outputs // 2)
        above, below = found.unbind(2)
        below_left, below_right = below.unbind(-2)
        parts = [w.view(frequencies, inputs, 2, -1) for w in weights]
        halves = [p.unbind(-2) for p in parts]
        to = [*above.unbind(), *below_left.unbind(), *below_right.unbind()]
        torch._foreach_copy_(to, [*parts, *(im for _, im in halves), *(re for re, _ in halves)])
        below_left.neg_()
        return found.view(len(weights), frequencies, 2 * inputs, outputs).unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        found = []
        for gradient in gradients:
            frequencies, inputs, outputs = gradient.shape
            (a, b), (c, d) = (
                row.unbind(-2) for row in gradient.view(frequencies, 2, inputs // 2, 2, outputs // 2).unbind(1)
            )
            found.append(torch.stack([a + d, b - c], -2).flatten(-2))
        return tuple(found)


def levelled(x: Tensor, channels: int) -> Tensor:
    """Coefficients [frequencies, 2 channels, B] over the square root of their power a channel, one number an image."""
    found: Tensor = _Levelled.apply(x, channels)
    return found


class _Levelled(torch.autograd.Function):
    """`levelled`; half of the operations that torch would need by itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> Tensor:
        flat = x.flatten(0, 1)
        power = flat.float().square().sum(0)
        factor = power.div_(channels).add_(LEAST_POWER).rsqrt_()
        ctx.save_for_backward(flat, factor)
        ctx.channels = channels
        return (flat * factor.to(x.dtype)).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, factor = ctx.saved_tensors
        flat = gradient.flatten(0, 1)
        along = (flat * x).float().sum(0)
        along *= factor.pow(3).div_(-ctx.channels)
        found = (flat * factor.to(x.dtype)).addcmul_(x, along.to(x.dtype))
        return found.view_as(gradient), None
