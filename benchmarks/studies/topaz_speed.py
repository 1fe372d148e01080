"""Denoising throughput: our networks against topaz's U-Net in the same box, one thread of one core, in turns.

    python -m benchmarks.studies.topaz_speed --topaz-python VENV/bin/python [--boxes 64 128] [--networks ...]

topaz lives in an environment of its own (`pip install torch==2.13.0 topaz-em 'setuptools<80'`; it finds its models
with setuptools). Its pretrained ``unet`` gets the same batch of images as ours, without its own reading and
normalisation; ours likewise. The programs take turns, each round in a process of its own; the fastest counts, in
process CPU seconds. Speed only: topaz's model was made for micrographs, and what the two make of images is not
compared.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

BATCH, ROUNDS = 16, 2

PEER = """
import json, sys, time
import torch
name, box, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
if name.startswith('topaz '):
    from topaz.denoising.models import load_model
    model = load_model(name.removeprefix('topaz '))
else:
    from cryoemgan.engine import networks
    model = networks.create(name, box).generator
model = model.eval().requires_grad_(False)
x = torch.randn(batch, 1, box, box)
found = {'parameters': sum(p.numel() for p in model.parameters())}
for precision in ('float32', 'bfloat16'):
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
        times = []
        for _ in range(3):
            start = time.process_time()
            model(x)
            times.append(time.process_time() - start)
    found[precision] = min(times[1:])
print(json.dumps(found))
"""


def measure(python, name, box):
    """CPU seconds of a batch in one process: {'parameters', 'float32', 'bfloat16'}."""
    command = [python, '-c', PEER, name, str(box), str(BATCH)]
    out = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    return json.loads(out.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--topaz-python', type=Path, required=True)
    parser.add_argument('--boxes', type=int, nargs='+', default=[64, 128])
    parser.add_argument('--networks', nargs='+', default=['residual', 'equivariant', 'paper128'])
    args = parser.parse_args()

    programs = {'topaz unet': args.topaz_python} | dict.fromkeys(args.networks, Path(sys.executable))
    for box in args.boxes:
        best = {}
        for _ in range(ROUNDS):
            for name, python in programs.items():
                found = measure(python, name, box)
                kept = best.setdefault(name, found)
                kept.update({k: min(v, kept[k]) for k, v in found.items()})
        peer = BATCH / best['topaz unet']['float32']
        for name, found in best.items():
            rates = {k: BATCH / found[k] for k in ('float32', 'bfloat16')}
            print(f'| {name} | {box} | {found["parameters"]:,} | {rates["float32"]:.0f} | {rates["bfloat16"]:.0f} | '
                  f'{rates["float32"] / peer:.1f} | {rates["bfloat16"] / peer:.1f} |', flush=True)  # fmt: skip
    print('load', ' '.join(f'{v:.0f}' for v in os.getloadavg()))


if __name__ == '__main__':
    main()
