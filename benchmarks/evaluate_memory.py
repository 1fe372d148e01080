"""Memory and rate of ``evaluate`` on very many particles: peak below 1.5 GB, rate flat.

    python benchmarks/evaluate_memory.py --count 200000 --box 128

Tables have --count rows; their images come from a stack of 2,000 that repeats (the disk of a laptop would not hold the
rest; every row is read, compared and written as if it were its own). Rates are CPU seconds of one thread, from the
summaries of runs with a tenth, and all, of the rows.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable

DISTINCT = 2000


def write_sets(folder, count, box):
    """references.star and noisy.star with ``count`` rows."""
    rng = np.random.default_rng(0)
    distinct = min(DISTINCT, count)
    with (
        StackWriter(folder / 'clean.mrcs', distinct, box, 2.0) as clean,
        StackWriter(folder / 'noisy.mrcs', distinct, box, 2.0) as noisy,
    ):
        for _ in range(distinct):
            image = rng.normal(size=(1, box, box)).astype(np.float32)
            clean.append(image)
            noisy.append(image + 2 * rng.normal(size=image.shape).astype(np.float32))
    labels = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst', 'rlnDefocusU')
    poses = {label: rng.normal(0, 50, count) for label in labels}
    for name in ('clean', 'noisy'):
        columns = {
            'rlnImageName': [f'{i % distinct + 1:06d}@{name}.mrcs' for i in range(count)],
            'rlnImageId': np.arange(1, count + 1),
            'rlnOpticsGroup': np.ones(count, int),
            **poses,
        }
        optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': [2.0], 'rlnImageSize': [box]}
        ParticleTable.create(folder / f'{name}.star', columns, optics).write(folder / f'{name}.star')


def measure(folder, count, box):
    """Peak memory and CPU time of one run in a process of its own."""
    write_sets(folder, count, box)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'cryoemgan.engine',
            'evaluate',
            '--threads',
            '1',
            '--overwrite',
            '--output',
            str(folder / 'out'),
            '--references',
            str(folder / 'clean.star'),
            '--particles',
            f'noisy={folder / "noisy.star"}',
        ],
        check=True,
    )
    summary = json.loads((folder / 'out' / 'summary.json').read_text())
    return {
        'count': count,
        'box': box,
        'peak_gb': round(summary['peak_memory_bytes'] / 1e9, 3),
        'cpu_ms_per_particle': round(1e3 * summary['cpu_seconds'] / count, 3),
        'wall_ms_per_particle': round(1e3 * summary['wall_seconds'] / count, 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=200_000)
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--output', type=Path, help='JSON file for the numbers')
    arguments = parser.parse_args()
    runs = []
    for count in (arguments.count // 10, arguments.count):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(Path(folder), count, arguments.box))
        print(runs[-1], flush=True)
    report = {
        'command': f'python benchmarks/evaluate_memory.py --count {arguments.count} --box {arguments.box}',
        'python': platform.python_version(),
        'processor': platform.machine(),
        'runs': runs,
        'below_1.5_gb': runs[-1]['peak_gb'] < 1.5,
        'rate_ratio': round(runs[0]['cpu_ms_per_particle'] / runs[-1]['cpu_ms_per_particle'], 3),
    }
    print(json.dumps(report, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
