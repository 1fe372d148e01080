"""Terms of the losses: summed on the device, looked at when somebody asks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ..errors import WorkError
from ..shapes import Json, Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# In the order in which they lie in a tensor.
NAMES = {
    'generator': ('reconstruction', 'adversary', 'gradient_generator'),
    'discriminator': ('score_real', 'score_fake', 'penalty', 'gradient_discriminator'),
}


class Diverged(WorkError):
    """A loss term stopped being a finite number."""


class Terms:
    """Sums of loss terms since they were last cleared, means over processes; and whether all were finite so far."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._healthy = torch.ones((), dtype=torch.bool, device=fabric.device)
        # Iteration and terms of the latest step of each network; of the first bad one when there was one.
        self._latest: dict[str, Tensor] = {}

    def add(self, side: str, terms: dict[str, Tensor], iteration: int) -> Tensor:
        """Add the terms of one optimiser step, on the device.

        Parameters
        ----------
        side : str
            generator or discriminator.
        terms : dict
            Those of ``NAMES[side]``, and any others, which are not kept.
        iteration : int
            Of this step, from 1; for the message of `check`.

        Returns
        -------
        Tensor
            1.0 when this step must not be taken, since a term of it or of an earlier one is not finite; else 0.0.
        """
        found = torch.stack([terms[name].detach().float() for name in NAMES[side]])
        if self._fabric.world_size > 1:
            # Fabric's all_reduce would begin with a barrier, for which the host waits.
            torch.distributed.all_reduce(found)
            found /= self._fabric.world_size
        self._sums[side] = found.double() + self._sums.get(side, 0.0)
        self._counts[side] = self._counts.get(side, 0) + 1
        here = torch.cat([found.new_full((1,), iteration), found])
        self._latest[side] = torch.where(self._healthy, here, self._latest.get(side, here))
        self._healthy = self._healthy & torch.isfinite(found).all()
        return (~self._healthy).float()

    def check(self) -> None:
        """Raise Diverged, naming the term, when one was not finite. Waits for the device."""
        if bool(self._healthy):
            return
        for side, latest in self._latest.items():
            iteration, *values = latest.tolist()
            for name, value in zip(NAMES[side], values):
                if not math.isfinite(value):
                    raise Diverged(f'iteration {iteration:.0f}: the term {name!r} of the {side} became {value}')

    def means(self) -> dict[str, float]:
        """{term: mean over the steps since they were last cleared}. Waits for the device."""
        return {k: total / count for k, (total, count) in self.state().items()}

    def clear(self) -> None:
        """Forget the sums."""
        self._sums, self._counts = {}, {}

    def state(self) -> Json:
        """{term: [sum, count]}. Waits for the device."""
        return {
            name: [total, self._counts[side]]
            for side, sums in self._sums.items()
            for name, total in zip(NAMES[side], sums.tolist())
        }

    def restore(self, state: Json) -> None:
        """Go on from `state`."""
        self.clear()
        for side, names in NAMES.items():
            if names[0] in state:
                sums = [state[name][0] for name in names]
                self._sums[side] = torch.tensor(sums, dtype=torch.float64, device=self._fabric.device)
                self._counts[side] = state[names[0]][1]
