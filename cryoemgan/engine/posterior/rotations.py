"""All in-plane turns of templates at once: in a steerable basis a turn is a phase of each angular order."""

from __future__ import annotations

import functools
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
        order = reduced.order
        self.turns, self._reduced = turns, reduced
        count = min(turns // 2, int(order.max()) + 1)
        # Even orders first: half a turn changes the sign of the others.
        sequence = [*range(0, count, 2), *range(1, count, 2)]
        self._columns = [torch.nonzero(order == m)[:, 0] for m in sequence]
        # c(angle) = Re sum_m exp(i m angle) w_m
        self._waves = self._wave(torch.tensor(sequence, device=order.device))
        self._even = (count + 1) // 2

    def _wave(self, orders: Tensor) -> Tensor:
        """float32[turns, 2 M]: what the real and imaginary part of each order's w_m count at each turn."""
        phase = 2 * math.pi / self.turns * torch.arange(self.turns, device=orders.device)[:, None] * orders
        return torch.stack([torch.cos(phase), -torch.sin(phase)], 2).flatten(1)

    @functools.cached_property
    def _templates(self) -> list[Tensor]:
        """float32[2 K_m, D] for each order: real and imaginary parts of the templates ``first``."""
        first = self._reduced.first
        chosen = self._reduced.coefficients if first is None else self._reduced.coefficients[first]
        parts = (chosen[:, columns] for columns in self._columns)
        return [torch.cat([a.real, a.imag], 1).T.contiguous() for a in parts]

    @functools.cached_property
    def _each(self) -> tuple[Tensor, Tensor]:
        """(conjugate coefficients complex64[D, K] of all templates; waves float32[2 K, turns] of each function)."""
        order = self._reduced.order
        waves = (self._wave(order) * (order < self.turns // 2).repeat_interleave(2)).T.contiguous()
        return self._reduced.coefficients.conj().resolve_conj().contiguous(), waves

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

    def of_each(self, b: Tensor, which: Tensor, templates: Tensor) -> Tensor:
        """float32[..., turns] of products complex64[n, K]: of those at ``which`` int64[...], each with its own template
        of the library, int64[...]."""
        coefficients, waves = self._each
        product = b.index_select(0, which.flatten()).mul_(coefficients.index_select(0, templates.flatten()))
        return (torch.view_as_real(product).flatten(1) @ waves).view(*templates.shape, self.turns)
