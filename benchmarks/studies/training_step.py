"""A training step of each network as a share of the convolution peak that the same machine reaches in the same run.

    python -m benchmarks.studies.training_step --output benchmarks/results/training_step.json

Peak: 3x3 convolution, 64 -> 64 channels, 64 x 64 px, batch 20, channels last, forward. Step: the product's own
(`training.step.Training`), of the autoencoder. Floating-point operations are counted by torch (convolutions and matrix
products; a multiplication and an addition are two). ``where``: share of the step's time by kind of operation (torch's
profiler, CPU only). Pair: an iteration of Algorithm 1 as in the paper: ``gan_share`` of the peak,
``gan_ratio`` its cost per generator step over that of the autoencoder's step. Times are process CPU seconds on one
thread (wall seconds on a GPU), the fastest of a few.
"""

import argparse
import json
import platform
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cryoemgan.engine import networks
from cryoemgan.engine.devices import choose_device, keep_freed_memory
from cryoemgan.engine.settings.adversary import Adversary
from cryoemgan.engine.settings.optimisation import Optimisation
from cryoemgan.engine.settings.train import preset_values
from cryoemgan.engine.training.batches import Batch
from cryoemgan.engine.training.step import Training

from .feed import parts_of
from .gpu import OnDevice

# Words in the names of torch's operations.
KINDS = {
    'convolutions and products': ('conv', 'mm', 'matmul', 'einsum'),
    'normalisation': ('norm',),
    'optimiser': ('adam', 'addcdiv', 'addcmul', 'lerp', 'sqrt'),
}
PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def fastest(function, repeats, device):
    """Seconds of the fastest of ``repeats`` calls, after one to warm up."""
    clock = time.process_time if device.type == 'cpu' else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        start = clock()
        function()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


class Untracked(nullcontext):
    """No modules are followed: all operations belong to the whole."""

    parents = ('Global',)


def count_flops(function):
    """Floating-point operations of a call."""
    counter = FlopCounterMode(display=False)
    # It follows modules by hooks, which the gradient penalty's own gradient does not allow.
    counter.mod_tracker = Untracked()
    with counter:
        function()
    return counter.get_total_flops()


def where_time_goes(function):
    """{kind of operation: share of the CPU time} of a call; what is in no kind is elementwise or a copy."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        function()
    spent = dict.fromkeys([*KINDS, 'elementwise and copies'], 0.0)
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((k for k, words in KINDS.items() if any(w in name for w in words)), 'elementwise and copies')
        spent[kind] += event.self_cpu_time_total
    return {k: round(v / sum(spent.values()), 2) for k, v in spent.items()}


def convolution_peak(precision, device, repeats):
    """FLOP/s of the reference convolution."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, PRECISIONS[precision], memory_format=torch.channels_last)
    x = torch.randn(20, 64, 64, 64, device=device, dtype=PRECISIONS[precision])
    x = x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def run():
        layer(x)

    return count_flops(run) / fastest(run, 4 * repeats, device)


class SameBatch:
    """Stands for Batches: one batch of noise, always the same, so that steps are timed and not the feeding of them."""

    def __init__(self, box: int, size: int, device: torch.device) -> None:
        self.size = size
        noisy, clean = (torch.randn(size, 1, box, box, device=device) for _ in range(2))
        self.batch = Batch(np.arange(size), noisy, clean, None)

    def next(self, progress: float) -> Batch:
        return self.batch


class InPrecision(OnDevice):
    """One process on a device, in a precision."""

    def __init__(self, device: torch.device, precision: str) -> None:
        super().__init__(device)
        self.lower = precision == 'bfloat16'

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.lower)

    def setup_module(self, module: torch.nn.Module) -> torch.nn.Module:
        module = super().setup_module(module)
        forward = module.forward

        def lowered(*args: Any) -> Any:
            with self.autocast():
                return forward(*args)

        module.forward = lowered
        return module


def training(name: str, box: int, batch: int, precision: str, device: torch.device, gan: str) -> Training:
    """The product's training of a network on one batch, with the settings of the paper and this adversary."""
    part = parts_of({**preset_values('paper', name), 'gan': gan, 'ema': 0.0})
    shape = networks.options(name, gan)
    pair, same = networks.create(name, box, **shape), SameBatch(box, batch, device)
    fabric = InPrecision(device, precision)
    return Training(pair, same, part(Optimisation), part(Adversary), 1, fabric)  # type: ignore[arg-type]


def measure(name, args, precision, peak, device):
    """One row of the table."""
    plain = training(name, args.box, args.batch, precision, device, 'none')
    per_iteration = plain.adversary.generator_steps

    def step():
        plain.iterate(0.5)

    flops, seconds = count_flops(step) / per_iteration, fastest(step, args.repeats, device) / per_iteration
    generator, noisy = plain.generator, plain.batches.batch.noisy

    @torch.inference_mode()
    def infer():
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16'):
            generator(noisy)

    gan_ratio, gan_share = {}, {}
    for gan in args.gans:
        opposed = training(name, args.box, args.batch, precision, device, gan)
        run = partial(opposed.iterate, 0.5)
        iteration = fastest(run, args.repeats, device)
        gan_ratio[gan] = float(f'{iteration / opposed.adversary.generator_steps / seconds:.3g}')
        gan_share[gan] = float(f'{count_flops(run) / iteration / peak:.3g}')
    generator.eval()
    images = args.batch / fastest(infer, args.repeats, device)
    row = dict(
        network=name,
        parameters=networks.parameter_count(generator),
        precision=precision,
        step_gflop=flops / 1e9,
        step_seconds=seconds,
        gflops=flops / seconds / 1e9,
        share_of_peak=flops / seconds / peak,
        inference_images_per_second=images,
        where=where_time_goes(step) if device.type == 'cpu' else {},
        gan_ratio=gan_ratio,
        gan_share=gan_share,
    )
    return {k: float(f'{v:.4g}') if isinstance(v, float) else v for k, v in row.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', default=['residual', 'paper128', 'plain', 'pggan'])
    parser.add_argument('--precisions', nargs='+', default=list(PRECISIONS))
    parser.add_argument('--gans', nargs='*', default=['beta', 'wgan-gp'])
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--batch', type=int, default=20)
    parser.add_argument('--repeats', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    device = choose_device(args.device)
    result = dict(
        command=' '.join(['python', *sys.argv]),
        box=args.box,
        batch=args.batch,
        torch=torch.__version__,
        machine=platform.machine(),
        peak_gflops={},
    )
    result['rows'] = []
    for precision in args.precisions:
        peak = convolution_peak(precision, device, args.repeats)
        result['peak_gflops'][precision] = round(peak / 1e9, 1)
        print(f'{precision}: convolution peak {peak / 1e9:.0f} GFLOP/s', flush=True)
        for name in args.networks:
            row = measure(name, args, precision, peak, device)
            result['rows'].append(row)
            print(f'{name:10} {precision:9} {row["step_seconds"]:7.3f} s/step {row["gflops"]:6.0f} GFLOP/s '
                  f'{100 * row["share_of_peak"]:3.0f} % of peak, {row["inference_images_per_second"]:.0f} images/s, '
                  f'GAN {row["gan_ratio"]} {row["gan_share"]}, {row["where"]}',
                  flush=True)  # fmt: skip
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
