"""Memory and rate of ``denoise`` over a very large set: neither may depend on the number of particles.

    python -m benchmarks.studies.denoise_memory --count 200000 --output benchmarks/results/denoise_memory.json

The stack is a sparse file of zeros with a valid header, the model a residual network of random weights; the output
is real (``--count`` x 128 px x 128 px x 4 bytes: 13 GB for 200,000), written to ``--scratch`` and removed. A narrow
network (``--width``) shows the cost of everything but the network.
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import mrcfile
import numpy as np

from cryoemgan.engine.__main__ import parse, run, use_threads
from cryoemgan.engine.data.table import ParticleTable


def make_particles(folder, count, box):
    """A table of ``count`` particles in one sparse stack."""
    with mrcfile.new_mmap(folder / 'raw.mrcs', shape=(count, box, box), mrc_mode=2) as mrc:
        mrc.set_image_stack()
    columns = {
        'rlnImageName': [f'{i + 1:06d}@raw.mrcs' for i in range(count)],
        'rlnOpticsGroup': np.ones(count, int),
        'rlnAngleRot': np.zeros(count),
        'rlnOriginXAngst': np.zeros(count),
        'rlnDefocusU': np.full(count, 1e4),
    }
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': np.array([2.0]), 'rlnImageSize': [box]}
    ParticleTable.create(folder / 'p.star', columns, optics).write(folder / 'p.star')
    return folder / 'p.star'


def make_model(folder, box, width):
    """A model folder of random weights."""
    from cryoemgan.engine import networks
    from cryoemgan.engine.inference.model_writer import save_model

    card = dict(network={'name': 'residual', 'options': {'width': width}}, box=box, pixel_size=2.0, ctf='none',
                input={'mean': 0.0, 'sd': 1.0}, grey={'gain': 1.0, 'offset': 0.0}, units={'scale': 1.0, 'offset': 0.0},
                settings={}, data={}, metrics={}, versions={})  # fmt: skip
    generator = networks.create('residual', box, width=width).generator
    save_model(folder / 'model', card, {'all': generator}, {'all': ['1@none.mrcs']})
    return folder / 'model'


class Watch(threading.Thread):
    """Images on disk over time, for the rates of the first and the last tenth."""

    def __init__(self, path, bytes_an_image):
        super().__init__(daemon=True)
        self.path, self.bytes, self.seen, self.done = path, bytes_an_image, [], threading.Event()

    def run(self):
        while not self.done.wait(0.5):
            if self.path.exists():
                self.seen.append((time.perf_counter(), self.path.stat().st_blocks * 512 / self.bytes))

    def rate(self, low, high):
        """Images a second between two shares of the whole."""
        times, images = np.array(self.seen).T
        bounds = np.interp([low * images[-1], high * images[-1]], images, times)
        return float((high - low) * images[-1] / (bounds[1] - bounds[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=200_000)
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--width', type=int, default=32)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--scratch', type=Path)
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    use_threads(args.threads)
    folder = Path(tempfile.mkdtemp(dir=args.scratch))
    try:
        star, model = make_particles(folder, args.count, args.box), make_model(folder, args.box, args.width)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        command = ['denoise', '--particles', star, '--model', model, '--output', folder / 'out', '--device', 'cpu',
                   '--threads', args.threads]  # fmt: skip
        watch = Watch(folder / 'out' / 'denoised.mrcs.partial', 4 * args.box**2)
        watch.start()
        start = time.perf_counter()
        results = run(*parse([str(c) for c in command]))
        wall = time.perf_counter() - start
        watch.done.set()
        found = dict(command=' '.join(['python', *sys.argv]),
                     count=args.count, box=args.box, width=args.width, threads=args.threads,
                     precision=results['precision'], wall_seconds=round(wall, 1),
                     images_per_second=results['images_per_second'],
                     images_per_second_first_tenth=round(watch.rate(0, 0.1), 1),
                     images_per_second_last_tenth=round(watch.rate(0.9, 1), 1),
                     peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                     memory_before_mb=round(before))  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found, indent=2))
    if args.output:
        args.output.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
    main()
