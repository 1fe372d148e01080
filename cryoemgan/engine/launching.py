"""Starting the processes of a training run: one, or one a GPU, on one computer or many."""

import re

from lightning_fabric import Fabric

from .devices import choose_device, choose_precision
from .errors import InputError


def plan(settings):
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
    device, devices, precision = plan(settings)
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=settings.nodes,
        precision='bf16-mixed' if precision == 'bfloat16' else '32-true',
    )
    fabric.launch()
    return fabric, precision
