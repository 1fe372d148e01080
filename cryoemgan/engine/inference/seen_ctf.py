"""What a network is told of particles whose CTF it takes account of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ..data.image_state import particles_shown_as
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.ctf_table import CtfTable, plane_of_ctf
from ..posterior.map_prior import Context, ImagePosterior
from ..shapes import Tensor


@dataclass(frozen=True)
class SeenCtf:
    """planes: float32 [n, N, N], the CTF of each particle about N // 2 (`ctf_table.plane_of_ctf`)."""

    planes: Tensor

    @classmethod
    def of(cls, context: Context, box: int, device: torch.device) -> SeenCtf:
        """Of particles with this Context."""
        assert context.ctf is not None
        table = CtfTable(box, context.pixel_size, context.ctf, device)
        count = len(np.asarray(context.ctf['defocus_u']))
        return cls(plane_of_ctf(table(torch.arange(count, device=device))))

    def channels(self, scale: float, offset: float) -> Tensor:
        """What the network sees beside the particles, float32 [n, 1, N, N]; a CTF has no grey scale."""
        return self.planes[:, None]

    def turned(self) -> SeenCtf:
        """That of the particles turned by 180 degrees: the same."""
        return self


# What a network is told of particles beside their pixels.
Knowledge: TypeAlias = ImagePosterior | SeenCtf


def require_ctf(table: ParticleTable, holds: str) -> None:
    """InputError unless the particles of a table hold their CTF as the model's did, and say what it is."""
    if not table.has('rlnDefocusU'):
        raise InputError(
            f'{table.path}: the model takes account of the CTF of each particle, and the table has no defocus '
            '(_rlnDefocusU); add it, or train a model for particles without CTF'
        )
    held = particles_shown_as(table, holds).value
    if held != holds:
        raise InputError(
            f'{table.path}: the particles hold their CTF as "{held}", those that the model was trained on as '
            f'"{holds}"; give particles in the same state'
        )
