"""What a GPU makes of training and of denoising, and how much of the time it computes.

    python -m benchmarks.studies.gpu [--json FILE] [--small]

Networks ``equivariant`` (preset recommended), ``residual`` and ``paper128`` or ``paper256`` at 64, 128 and 256 px:
steps and pairs a second, the part of the time in which the device computes (torch's profiler: sum of the kernels over
the wall time of the same steps), peak memory; images a second of denoising. ``--small``: little of it, on any computer,
to see that it runs; the part of the time is then not known.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from cryoemgan.engine import networks
from cryoemgan.engine.settings.adversary import Adversary
from cryoemgan.engine.settings.optimisation import Optimisation
from cryoemgan.engine.settings.pairs import Augmentation, SelfSupervision
from cryoemgan.engine.settings.train import preset_values
from cryoemgan.engine.training.batches import Batches
from cryoemgan.engine.training.fresh_pairs import FreshPairs
from cryoemgan.engine.training.pairs import ReferencePairs
from cryoemgan.engine.training.shares import Share
from cryoemgan.engine.training.step import Training

from .feed import OneProcess, open_set, parts_of

BOXES, SMALL_BOXES, COUNT, SMALL_COUNT = (64, 128, 256), (32,), 2000, 40
SECONDS, SMALL_SECONDS = 8.0, 0.2


class OnDevice(OneProcess):
    """Stands for Lightning Fabric with one process on a device, in bfloat16 where it is a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def setup_module(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to(self.device)

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == 'cuda')


def training(pairs: ReferencePairs, network: str, device: torch.device, batch: int) -> Training:
    """A Training of a network with the preset ``recommended``; ``paper*`` with its adversary."""
    preset = 'paper' if network.startswith('paper') else 'recommended'
    part = parts_of(preset_values(preset, network))
    adversary = part(Adversary)
    shape = networks.options(network, adversary.gan)
    if 'particles_hold' in shape:
        shape['particles_hold'], shape['references_hold'] = pairs.image_model
        pairs.show_ctf()
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1)
    batches = Batches(
        pairs,
        np.arange(len(pairs)),
        fresh,
        part(Augmentation),
        0.0,
        SelfSupervision(),
        1,
        batch,
        Share(0, 1, 2),
        device,
    )
    pair = networks.create(network, pairs.box, **shape)
    return Training(pair, batches, part(Optimisation), adversary, 1, OnDevice(device))  # type: ignore[arg-type]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def steps_a_second(run: Training, device: torch.device, seconds: float) -> float:
    """Iterations a second."""
    for _ in range(3):
        run.iterate(0.5)
    wait(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        run.iterate(0.5)
        count += 1
        if count % 20 == 0:
            wait(device)
    wait(device)
    return count / (time.perf_counter() - start)


def computing(run: Training, device: torch.device, steps: int = 10) -> float | None:
    """Part of the time in which the GPU computes; None without one."""
    if device.type != 'cuda':
        return None
    wait(device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        start = time.perf_counter()
        for _ in range(steps):
            run.iterate(0.5)
        wait(device)
        wall = time.perf_counter() - start
    return sum(e.self_device_time_total for e in seen.key_averages()) / 1e6 / wall


def denoised_a_second(run: Training, box: int, device: torch.device, seconds: float) -> float:
    """Images a second through the generator, from memory of the host and back to it."""
    channels = 2 if run.batches.pairs.shows_ctf else 1
    images = torch.randn(256 if device.type == 'cuda' else 8, channels, box, box)
    network, count, start = run.average.eval(), 0, time.perf_counter()
    with torch.inference_mode(), run.fabric.autocast():
        while time.perf_counter() - start < seconds or not count:
            network(images.to(device, non_blocking=True)).float().cpu()
            count += len(images)
    return count / (time.perf_counter() - start)


def measure(folder: Path, box: int, network: str, device: torch.device, small: bool) -> dict[str, Any]:
    """The figures of a network at a box."""
    seconds, batch = (SMALL_SECONDS, 4) if small else (SECONDS, 96 if network == 'equivariant' else 32)
    pairs = open_set(folder, SMALL_COUNT if small else COUNT, box)
    run = training(pairs, network, device, batch)
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    rate = steps_a_second(run, device, seconds)
    share = computing(run, device)
    memory = torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else None
    return {
        'box': box,
        'network': network,
        'batch': batch,
        'steps/s': rate,
        'pairs/s': rate * batch,
        'computing': share,
        'peak bytes': memory,
        'denoised/s': denoised_a_second(run, box, device, seconds / 4),
    }


def main(argv: list[str] | None = None) -> None:
    """The table, and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=Path)
    parser.add_argument('--small', action='store_true')
    given = parser.parse_args(argv)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.type == 'cpu' and not given.small:
        parser.error('there is no GPU here; --small runs a little of it on any computer')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for box in SMALL_BOXES if given.small else BOXES:
            for network in ('equivariant', 'residual', 'paper256' if box > 128 else 'paper128'):
                rows.append(measure(Path(folder), box, network, device, given.small))
                shown = {k: f'{v:.4g}' if isinstance(v, float) else v for k, v in rows[-1].items()}
                print('  '.join(f'{k} {v}' for k, v in shown.items()), flush=True)
    if given.json:
        name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'
        given.json.write_text(json.dumps({'device': name, 'torch': torch.__version__, 'rows': rows}, indent=1))


if __name__ == '__main__':
    main()
