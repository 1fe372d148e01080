"""Starting the processes of a training run: one, or one a GPU, on one computer or many."""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies import DDPStrategy

from ..devices import choose_device, choose_precision
from ..errors import InputError
from ..settings.train import Train
from ..shapes import Tensor


def choose_devices(settings: Train) -> tuple[torch.device, list[int] | int, str]:
    """(torch.device, GPU numbers or number of processes, 'float32' or 'bfloat16') of --device, --devices,
    --precision."""
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    named = re.fullmatch(r'cuda:([\d,]+)', settings.device)
    numbers = [int(n) for n in named[1].split(',')] if named else None
    if numbers and settings.devices not in (None, len(numbers)):
        raise InputError(f'--devices: {settings.devices} processes for the {len(numbers)} GPUs of {settings.device}')
    if settings.nodes > 1 and _started() is None and 'NODE_RANK' not in os.environ:
        raise InputError(
            f'--nodes: {settings.nodes} computers, but neither torchrun nor srun has started this process on them, and '
            'it would wait for the others for ever: start it by one of these, or leave --nodes out'
        )
    return device, numbers or settings.devices or (1 if device.type == 'cpu' else torch.cuda.device_count()), precision


class Autocast(MixedPrecision):
    """bfloat16 where networks compute; what they are given stays float32. Fabric's own would round particles, targets
    and CTFs to 8 bits before a loss sees them."""

    def convert_input(self, data: Any) -> Any:
        """The same."""
        return data


def launch(settings: Train, unused_weights: bool = False) -> tuple[Fabric, str]:
    """Start the processes; under torchrun or SLURM they are already there.

    Parameters
    ----------
    settings : Train
        Filled.
    unused_weights : bool
        Whether there are weights that a step does not use; to look for them costs time.

    Returns
    -------
    fabric : Fabric
        With all its processes running.
    precision : str
        float32 or bfloat16.
    """
    device, devices, precision = choose_devices(settings)
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
    return fabric, precision


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


def summed(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum of a tensor over all processes; every one must give as many numbers."""
    found = fabric.all_reduce(values.to(fabric.device), reduce_op='sum')
    assert isinstance(found, torch.Tensor)
    return found
