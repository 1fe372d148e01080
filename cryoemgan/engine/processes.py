"""The processes of a run: one, or one a GPU, on one computer or many; and a stream of batches shared among them."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch

from .devices import choose_device
from .errors import InputError
from .settings.processes import Shared
from .shapes import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar('T')
Numbers: TypeAlias = list[int] | int


def choose_devices(settings: Shared) -> tuple[torch.device, Numbers]:
    """(torch.device, GPU numbers or number of processes) of --device and --devices."""
    device = choose_device(settings.device)
    named = re.fullmatch(r'cuda:([\d,]+)', settings.device)
    numbers = [int(n) for n in named[1].split(',')] if named else None
    if numbers and settings.devices not in (None, len(numbers)):
        raise InputError(f'--devices: {settings.devices} processes for the {len(numbers)} GPUs of {settings.device}')
    if settings.nodes > 1 and _started() is None and 'NODE_RANK' not in os.environ:
        raise InputError(
            f'--nodes: {settings.nodes} computers, but neither torchrun nor srun has started this process on them, and '
            'it would wait for the others for ever: start it by one of these, or leave --nodes out'
        )
    return device, numbers or settings.devices or (1 if device.type == 'cpu' else torch.cuda.device_count())


def own_device(settings: Shared) -> torch.device:
    """The device of this process, before or after `launch`."""
    device, numbers = choose_devices(settings)
    if device.type == 'cpu':
        return device
    place = int(os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0')))
    return torch.device('cuda', numbers[place] if isinstance(numbers, list) else place)


def launch(settings: Shared, precision: str = 'float32', unused_weights: bool = False) -> Fabric:
    """Fabric with all its processes running; under torchrun or SLURM they are already there.

    Parameters
    ----------
    settings : Shared
        Filled.
    precision : str
        float32 or bfloat16.
    unused_weights : bool
        Whether there are weights that a step of training does not use; to look for them costs time.
    """
    # Here, since it takes seconds that a command of one process is spared.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    from .precision import Autocast

    device, devices = choose_devices(settings)
    devices, nodes = _started() or (devices, settings.nodes)
    # Small things that only the host needs go by gloo: over NCCL the host would wait for the GPU.
    backend = 'cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo'
    # Buffers are the same in all processes: statistics of batch norm are shared, the others do not change.
    ddp = DDPStrategy(process_group_backend=backend, broadcast_buffers=False, find_unused_parameters=unused_weights)
    several = nodes * (len(devices) if isinstance(devices, list) else devices) > 1
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy=ddp if several else 'auto',
        plugins=[Autocast('bf16-mixed', device.type)] if precision == 'bfloat16' else None,
    )
    fabric.launch()
    return fabric


def _started() -> tuple[int, int] | None:
    """(processes a node, nodes) that torchrun or srun has started, or None."""
    of = os.environ
    if 'LOCAL_WORLD_SIZE' in of:
        local = int(of['LOCAL_WORLD_SIZE'])
        return local, int(of['WORLD_SIZE']) // local
    if 'SLURM_STEP_NUM_TASKS' in of and of.get('SLURM_JOB_NAME') not in ('bash', 'interactive'):
        nodes = int(of.get('SLURM_STEP_NUM_NODES', 1))
        tasks = int(of['SLURM_STEP_NUM_TASKS'])
        return (tasks // nodes, nodes) if tasks > 1 else None
    return None


@dataclass(frozen=True)
class Team:
    """Processes that share a stream of batches in turn: batch k is that of process k modulo their number. The first
    one gets what all have found, and writes it.

    By hand, of torch's collectives for objects: Fabric's are for tensors of one shape, given to all processes.
    """

    rank: int = 0
    size: int = 1

    def agreed(self, value: T) -> T:
        """The value of the first process, for all."""
        if self.size == 1:
            return value
        shared = [value]
        torch.distributed.broadcast_object_list(shared)
        return shared[0]

    def in_order(self, found: Iterator[T], batches: int) -> Generator[T, None, None]:
        """What all processes find, in order, in the first one; nothing in the others, which must ask for it, too.

        Parameters
        ----------
        found : iterator
            What this process finds for each of its batches.
        batches : int
            Of all processes.
        """
        if self.size == 1:
            yield from found
            return
        for start in range(0, batches, self.size):
            every: list[Any] | None = [None] * self.size if self.rank == 0 else None
            torch.distributed.gather_object(next(found, None), every)
            yield from (every or [])[: batches - start]


def gather_team(settings: Shared) -> Team:
    """The processes of a command that works on batches."""
    devices = choose_devices(settings)[1]
    if _started() is None and settings.nodes == 1 and (devices if isinstance(devices, int) else len(devices)) == 1:
        return Team()
    fabric = launch(settings)
    return Team(fabric.global_rank, fabric.world_size)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the run is gone."""
    lost = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe', 'remote process', 'NCCL')
    distributed = isinstance(error, torch.distributed.DistError) or 'gloo' in str(error)
    return isinstance(error, RuntimeError) and (distributed or any(word in str(error) for word in lost))


def summed(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum of a tensor over all processes; every one must give as many numbers."""
    found = fabric.all_reduce(values.to(fabric.device), reduce_op='sum')
    assert isinstance(found, torch.Tensor)
    return found
