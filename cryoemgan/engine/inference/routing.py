"""Which fold models may denoise which particle: those that never saw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.half_sets import HALF
from ..data.identity import who
from ..data.table import ParticleTable
from ..posterior.joint_library import ALL
from .model import Model


@dataclass(frozen=True)
class Routing:
    """Which members denoise which particle. weights: float32 [n, members], rows sum to 1; leaked: bool [n]; joint: bool
    [n], particles that all members denoise together, by the templates of all (`Model.joins`)."""

    members: list
    weights: np.ndarray
    leaked: np.ndarray
    joint: np.ndarray

    @property
    def leakage(self) -> int:
        """Particles that no blind member is left for."""
        return int(self.leaked.sum())

    @property
    def judges(self) -> list[str]:
        """Whose scores some particle has: members, or ALL."""
        return [*self.members, *([ALL] if self.joint.any() else [])]

    def labels(self) -> list[str]:
        """Per particle the member that denoised it; 'mean' where it was several."""
        single = [*self.members, 'mean']
        which = np.where((self.weights > 0).sum(1) == 1, self.weights.argmax(1), len(self.members))
        return [single[i] for i in which]


def route(model: Model, table: ParticleTable) -> Routing:
    """Routing of a table's particles through a Model: members that never saw a particle, all where none is left.

    A particle is known among a member's training particles by place or name, and by its half set: half map 1 holds the
    noise of all of half 1, whether they trained or not.
    """
    seen = model.trained_on(who(table))
    halves = table.half_sets()
    if halves is not None:
        for name in seen:
            if half := HALF.fullmatch(name):
                seen[name] |= halves == int(half[1])
    blind = ~np.stack(list(seen.values()), axis=1)
    leaked = ~blind.any(axis=1)
    joint = blind.all(axis=1) & model.joins
    blind[leaked] = True
    weights = blind / blind.sum(axis=1, keepdims=True)
    return Routing(list(seen), weights.astype(np.float32), leaked, joint)
