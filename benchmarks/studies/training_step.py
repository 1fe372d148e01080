"""A training step of each network as a share of the convolution peak that the same machine reaches in the same run.

    python -m benchmarks.studies.training_step --output benchmarks/results/training_step.json

Peak: 3x3 convolution, 64 -> 64 channels, 64 x 64 px, batch 20, channels last, forward. Step: forward, backward and
Adam of the l1 autoencoder. Floating-point operations are counted by torch (convolutions and matrix products; a
multiplication and an addition are two). ``where``: share of the step's time by kind of operation (torch's profiler,
CPU only). Pair: an iteration of Algorithm 1, one discriminator step and two generator steps: ``gan_share`` of the peak,
``gan_ratio`` its cost per generator step over that of the autoencoder's step. Times are process CPU seconds on one
thread (wall seconds on a GPU), the fastest of a few.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cryoemgan.engine import networks
from cryoemgan.engine.devices import choose_device, keep_freed_memory
from cryoemgan.engine.training import losses

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


def count_flops(function):
    """Floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
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


def training_step(name, box, batch, precision, device):
    """A function that does one step of the autoencoder."""
    generator = networks.create(name, box).generator.to(device)
    optimiser = torch.optim.Adam(generator.parameters(), 1e-3, fused=True)
    noisy, clean = (torch.randn(batch, 1, box, box, device=device) for _ in range(2))

    def run():
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16'):
            denoised = generator(noisy)
        loss = losses.reconstruction(denoised, clean)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return run, generator, noisy


def adversarial_iteration(name, box, batch, precision, device, gan):
    """A function that does one iteration of Algorithm 1: one discriminator step, two generator steps."""
    pair = networks.create(name, box, **networks.options(name, gan))
    generator, discriminator = pair.generator.to(device), pair.discriminator.to(device)
    optimise_g, optimise_d = (torch.optim.Adam(m.parameters(), 1e-3, fused=True) for m in (generator, discriminator))
    noisy, clean = (torch.randn(batch, 1, box, box, device=device) for _ in range(2))
    rule = losses.adversary(gan)
    lower = torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16')

    def descend(optimiser, loss):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def run():
        with lower:
            with torch.no_grad():
                denoised = generator(noisy)
            real, fake = discriminator(clean), discriminator(denoised)
        loss = losses.discriminator_loss(rule, real, fake)
        if gan == 'wgan-gp':
            loss = loss + 10 * losses.gradient_penalty(discriminator, clean, denoised)
        descend(optimise_d, loss)
        discriminator.requires_grad_(False)
        for _ in range(2):
            with lower:
                denoised = generator(noisy)
                fake = discriminator(denoised)
            descend(optimise_g, losses.generator_loss(rule, fake) + 10 * losses.reconstruction(denoised, clean))
        discriminator.requires_grad_(True)

    return run


def measure(name, args, precision, peak, device):
    """One row of the table."""
    step, generator, noisy = training_step(name, args.box, args.batch, precision, device)
    flops, seconds = count_flops(step), fastest(step, args.repeats, device)
    generator.eval()

    @torch.inference_mode()
    def infer():
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16'):
            generator(noisy)

    gan_ratio, gan_share = {}, {}
    for gan in args.gans:
        run = adversarial_iteration(name, args.box, args.batch, precision, device, gan)
        iteration = fastest(run, args.repeats, device)
        gan_ratio[gan] = float(f'{iteration / 2 / seconds:.3g}')
        gan_share[gan] = float(f'{count_flops(run) / iteration / peak:.3g}')
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
