"""All in-plane turns of templates at once: in a steerable basis a turn is a phase of each angular order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ..shapes import Tensor

if TYPE_CHECKING:
    from .library import ReducedLibrary


class InPlaneRotations:
    """Dot products of particles with every turn of templates. reduced: a ReducedLibrary, whose templates
    ``first`` are asked all at once. Orders beyond half the turns do not count."""

    def __init__(self, reduced: ReducedLibrary, turns: int) -> None:
        order, rows = reduced.order, slice(None) if reduced.first is None else reduced.first
        self.turns, self.columns, self.templates = turns, [], []
        for m in range(min(turns // 2, int(order.max()) + 1)):
            columns = torch.nonzero(order == m)[:, 0]
            a = reduced.coefficients[rows][:, columns]
            self.columns.append(columns)
            self.templates.append(torch.cat([a.real, a.imag], 1).T.contiguous())
        orders = torch.arange(len(self.columns), device=order.device)
        phase = 2 * math.pi / turns * torch.arange(turns, device=order.device)[:, None] * orders
        # c(angle) = Re sum_m exp(i m angle) w_m
        self.waves = torch.stack([torch.cos(phase), -torch.sin(phase)], 2).flatten(1)
        self._sums = (order[:, None] == orders).float()

    def __call__(self, b: Tensor, rows: slice | Tensor) -> Tensor:
        """float32[turns, n, d] of products complex64[n, K] and the templates ``rows`` (slice or int64[d])."""
        planes = []
        for columns, a in zip(self.columns, self.templates):
            x = b[:, columns]
            real, imag = torch.cat([x.real, x.imag], 1), torch.cat([x.imag, -x.real], 1)
            planes.append(torch.cat([real, imag]) @ a[:, rows])
        stacked = torch.stack(planes).view(2 * len(planes), -1)
        return (self.waves @ stacked).view(self.turns, len(b), -1)

    def of_each(self, b: Tensor, coefficients: Tensor) -> Tensor:
        """float32[B, L, turns] of products complex64[B, L, K], each with its own template complex64[B, L, K]."""
        product = b * coefficients.conj()
        planes = torch.stack([product.real @ self._sums, product.imag @ self._sums], -1).flatten(2)
        return planes @ self.waves.T
