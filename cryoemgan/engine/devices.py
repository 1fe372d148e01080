"""Where a network runs and in which arithmetic."""

import re

import torch
from lightning_fabric import Fabric

from .errors import InputError


def parse_device(text):
    """('cpu' or 'cuda', list of GPU numbers or None) of auto, cpu, cuda, cuda:0,1. InputError when not there."""
    if text == 'auto':
        return ('cuda', None) if torch.cuda.is_available() else ('cpu', None)
    found = re.fullmatch(r'(cpu)|cuda(?::(\d+(?:,\d+)*))?', text)
    if not found:
        raise InputError(f'--device: {text!r} is not auto, cpu, cuda or cuda:0,1')
    if found[1]:
        return 'cpu', None
    numbers = [int(n) for n in found[2].split(',')] if found[2] else None
    if not torch.cuda.is_available():
        raise InputError(f'--device: {text}: this torch sees no GPU (driver missing, or torch built without CUDA); '
                         'use --device cpu')
    if numbers and max(numbers) >= torch.cuda.device_count():
        raise InputError(f'--device: {text}: there are only {torch.cuda.device_count()} GPUs, numbered from 0')
    return 'cuda', numbers


def choose_precision(kind, precision):
    """'float32' or 'bfloat16' for auto: bfloat16 where it is computed by the hardware."""
    if precision != 'auto':
        return precision
    if kind == 'cuda':
        return 'bfloat16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'float32'
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return 'bfloat16' if capable else 'float32'


def launch(settings):
    """(Fabric with all its processes running, 'float32' or 'bfloat16'). settings: device, precision, devices, nodes."""
    kind, numbers = parse_device(settings.device)
    precision = choose_precision(kind, settings.precision)
    devices = numbers or settings.devices or (1 if kind == 'cpu' else 'auto')
    if settings.devices and numbers and settings.devices != len(numbers):
        raise InputError(f'--devices: {settings.devices} processes for the {len(numbers)} GPUs of {settings.device}')
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=settings.nodes,
                    precision='bf16-mixed' if precision == 'bfloat16' else '32-true')
    fabric.launch()
    return fabric, precision
