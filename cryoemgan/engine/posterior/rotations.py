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
    ``first`` are asked all at once. turns: even; orders beyond half of them do not count."""

    def __init__(self, reduced: ReducedLibrary, turns: int) -> None:
        if turns % 2:
            raise ValueError(f'turns: {turns} is odd')
        order, rows = reduced.order, slice(None) if reduced.first is None else reduced.first
        self.turns, self._columns, self._templates = turns, [], []
        count = min(turns // 2, int(order.max()) + 1)
        # Even orders first: half a turn changes the sign of the others.
        sequence = [*range(0, count, 2), *range(1, count, 2)]
        for m in sequence:
            columns = torch.nonzero(order == m)[:, 0]
            a = reduced.coefficients[rows][:, columns]
            self._columns.append(columns)
            self._templates.append(torch.cat([a.real, a.imag], 1).T.contiguous())
        orders = torch.tensor(sequence, device=order.device)
        phase = 2 * math.pi / turns * torch.arange(turns, device=order.device)[:, None] * orders
        # c(angle) = Re sum_m exp(i m angle) w_m
        self._waves = torch.stack([torch.cos(phase), -torch.sin(phase)], 2).flatten(1)
        self._even = (count + 1) // 2
        self._sums = (order[:, None] == orders).float()

    def of_particles(self, b: Tensor) -> list[Tensor]:
        """Products complex64[n, K] as `halves` takes them: for each order the real and imaginary part's factors."""
        parts = [b[:, columns] for columns in self._columns]
        return [torch.cat([torch.cat([x.real, x.imag], 1), torch.cat([x.imag, -x.real], 1)]) for x in parts]

    def halves(self, particles: list[Tensor], rows: slice) -> tuple[Tensor, Tensor]:
        """float32[turns / 2, n, d] and the same: their sum is the product at each of the first half of the turns with
        the templates ``rows``, their difference that at half a turn more."""
        n, d = len(particles[0]) // 2, self._templates[0][:, rows].shape[1]
        planes = particles[0].new_empty(len(particles), 2 * n, d)
        for plane, x, a in zip(planes, particles, self._templates):
            torch.mm(x, a[:, rows], out=plane)
        planes = planes.view(2 * len(particles), n * d)
        waves, even = self._waves[: self.turns // 2], 2 * self._even
        return (
            (waves[:, :even] @ planes[:even]).view(-1, n, d),
            (waves[:, even:] @ planes[even:]).view(-1, n, d),
        )

    def __call__(self, b: Tensor, rows: slice) -> Tensor:
        """float32[turns, n, d] of products complex64[n, K] and the templates ``rows``."""
        even, odd = self.halves(self.of_particles(b), rows)
        return torch.cat([even + odd, even - odd])

    def of_each(self, b: Tensor, coefficients: Tensor) -> Tensor:
        """float32[B, L, turns] of products complex64[B, L, K], each with its own template complex64[B, L, K]."""
        product = b * coefficients.conj()
        planes = torch.stack([product.real @ self._sums, product.imag @ self._sums], -1).flatten(2)
        return planes @ self._waves.T
