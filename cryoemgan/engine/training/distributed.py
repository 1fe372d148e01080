"""Starting the processes of a training run: one, or one a GPU, on one computer or many."""

import os
import re

from lightning_fabric import Fabric

from ..devices import choose_device, choose_precision
from ..errors import InputError


def choose_devices(settings):
    """(torch.device, GPU numbers or count, 'float32' or 'bfloat16') of --device, --devices, --precision."""
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    named = re.fullmatch(r'cuda:([\d,]+)', settings.device)
    numbers = [int(n) for n in named[1].split(',')] if named else None
    if numbers and settings.devices not in (None, len(numbers)):
        raise InputError(f'--devices: {settings.devices} processes for the {len(numbers)} GPUs of {settings.device}')
    return device, numbers or settings.devices or (1 if device.type == 'cpu' else 'auto'), precision


def launch(settings):
    """(Fabric with all its processes running, precision). Under torchrun or SLURM those are already there."""
    device, devices, precision = choose_devices(settings)
    devices, nodes = _started() or (devices, settings.nodes)
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        precision='bf16-mixed' if precision == 'bfloat16' else '32-true',
    )
    fabric.launch()
    return fabric, precision


def _started():
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
