"""Parameters of commands whose work several processes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from .base import option


@dataclass
class Processes:
    """How many processes share the work."""

    GROUP: ClassVar[str] = 'Processes'

    devices: int | None = option(
        None,
        'Number of processes, one per GPU (or, with --device cpu, processes on the processor). Default: the GPUs '
        'named by --device. Under torchrun or SLURM their number decides.',
        ge=1,
        le=1024,
        expert=True,
        label='Processes',
    )
    nodes: int = option(
        1, 'Number of computers, for runs started by torchrun or SLURM.', ge=1, le=1024, expert=True, label='Nodes'
    )


class Shared(Protocol):
    """What such a command says of the machine."""

    device: str
    devices: int | None
    nodes: int
