"""Denoising throughput: our path against onnxruntime on the same network, weights and images, one thread.

    python -m benchmarks.studies.inference_speed --onnx-python VENV/bin/python --work WORK [--boxes 64 128]

onnxruntime and onnx are not needed by the product and live in an environment of their own, whose Python is given
(`pip install onnxruntime onnx`; onnx itself is borrowed from there for the export). Each program runs in a process of
its own; the fastest of a few rounds counts, in process CPU seconds on one thread. Outputs are compared.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BATCH, ROUNDS = 32, 5

PEER = """
import sys, time, json
import numpy as np
import onnxruntime
path, images, output, repeats = sys.argv[1:4] + [int(sys.argv[4])]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
x = np.load(images)
name = session.get_inputs()[0].name
y = session.run(None, {name: x})[0]
times = []
for _ in range(repeats):
    start = time.process_time()
    session.run(None, {name: x})
    times.append(time.process_time() - start)
np.save(output, y)
print(json.dumps({'seconds': min(times), 'version': onnxruntime.__version__}))
"""


def ours(generator, images, precision):
    """(CPU seconds of the fastest round, outputs) of the code path of ``Model.denoise``."""
    import torch

    x = torch.from_numpy(images)
    times = []
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
        for _ in range(ROUNDS + 1):
            start = time.process_time()
            y = generator(x)
            times.append(time.process_time() - start)
    return min(times[1:]), y.float().numpy()


def export(name, box, path):
    """The generator as `Model.load` gives it, with statistics of a few batches, also written as ONNX."""
    import torch

    from cryoemgan.engine import networks

    torch.manual_seed(0)
    generator = networks.create(name, box).generator
    with torch.no_grad():
        for _ in range(3):
            generator(torch.randn(8, 1, box, box))
    generator = generator.eval().requires_grad_(False)
    torch.onnx.export(generator, (torch.randn(BATCH, 1, box, box),), str(path), dynamo=False)
    return generator


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--onnx-python', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--boxes', type=int, nargs='+', default=[64, 128])
    parser.add_argument('--networks', nargs='+', default=['residual', 'paper128'])
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    # Last in the path: everything but onnx and what it needs comes from here.
    where = [args.onnx_python, '-c', 'import sysconfig; print(sysconfig.get_paths()["purelib"])']
    sys.path.append(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    args.work.mkdir(parents=True, exist_ok=True)
    peer = args.work / 'peer.py'
    peer.write_text(PEER)
    for box in args.boxes:
        images = np.random.default_rng(0).standard_normal((BATCH, 1, box, box)).astype(np.float32)
        np.save(args.work / 'images.npy', images)
        for name in args.networks:
            path = args.work / f'{name}_{box}.onnx'
            generator = export(name, box, path)
            found = {p: ours(generator, images, p) for p in ('float32', 'bfloat16')}
            command = [args.onnx_python, peer, path, args.work / 'images.npy', args.work / 'out.npy', str(ROUNDS)]
            theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            difference = np.abs(np.load(args.work / 'out.npy') - found['float32'][1]).max()
            rates = {k: BATCH / v[0] for k, v in found.items()} | {'onnxruntime': BATCH / theirs['seconds']}
            print(f'{name} {box} px: ' + ', '.join(f'{k} {v:.0f} images/s' for k, v in rates.items())
                  + f'; onnxruntime {theirs["version"]} differs by {difference:.1e}', flush=True)  # fmt: skip


if __name__ == '__main__':
    sys.exit(main())
