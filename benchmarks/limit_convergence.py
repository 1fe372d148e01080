"""Does the limit's answer still change with a finer search? One table of settings, doubled one by one.

    python benchmarks/limit_convergence.py SET [--images 40] [--unit]

SET: folder of a simulation with white noise and without CTF (its volumes, noisy_2.star and clean_2.star are read).
Every line is the same test images under other settings of ``engine.limit.Limit``; "against the finest" is the root mean
square of the difference from the last line's answer over the root of its error.
"""

import argparse
import json
import time
from pathlib import Path

import mrcfile
import numpy as np

from cryoemgan.engine.limit import Limit
from cryoemgan.engine.table import ParticleTable

DEFAULT = {'views': 8000, 'rank': 96, 'kept': 16, 'rounds': 3, 'samples': 120, 'start_degrees': 8.0, 'draws': 240}
LINES = (
    {'views': 1000},
    {'views': 4000},
    {},
    {'views': 16000},
    {'rank': 192},
    {'rounds': 2},
    {'rounds': 4},
    {'samples': 240},
    {'draws': 480},
    {'draws': 960},
    {'views': 16000, 'rank': 192, 'kept': 32, 'samples': 240, 'draws': 1440},
)
OF_DENOISE = ('rounds', 'samples', 'start_degrees', 'draws')


def read(path, count):
    table = ParticleTable.read(path)
    return table.images().read(np.arange(min(count, len(table))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', type=Path)
    parser.add_argument('--images', type=int, default=40)
    parser.add_argument('--unit', action='store_true', help='the set was simulated with --scale unit')
    args = parser.parse_args()
    noisy, clean = (read(args.set / f'{name}_2.star', args.images) for name in ('noisy', 'clean'))
    volumes = [mrcfile.read(p) for p in sorted(args.set.glob('volume_*.mrc'))]
    sd = json.loads((args.set / 'summary.json').read_text())['noise_variance'] ** 0.5
    found = []
    for change in LINES:
        options = {**DEFAULT, **change}
        search = {k: options.pop(k) for k in OF_DENOISE}
        start = time.process_time()
        limit = Limit(volumes, sd, unit=args.unit, **options)
        built = time.process_time()
        answer = limit.denoise(noisy, **search)
        seconds = (time.process_time() - built) / len(noisy)
        found.append((change, answer, limit.effective.copy(), built - start, seconds))
        print(f'{change} MSE {((answer - clean) ** 2).mean():.4e}', flush=True)
    finest = found[-1][1]
    scale = np.sqrt(((finest - clean) ** 2).mean())
    print('| changed | MSE x 1e-3 | s.e. | against the finest | effective templates, median | bank s | s an image |')
    print('|---|---|---|---|---|---|---|')
    for change, answer, effective, building, seconds in found:
        each = ((answer - clean) ** 2).mean((1, 2))
        away = np.sqrt(((answer - finest) ** 2).mean()) / scale
        what = ', '.join(f'{k} {v}' for k, v in change.items()) or 'nothing (shipped)'
        print(f'| {what} | {1e3 * each.mean():.3f} | {1e3 * each.std() / len(each) ** 0.5:.3f} | {away:.2f} | '
              f'{np.median(effective):.0f} | {building:.0f} | {seconds:.2f} |')  # fmt: skip


if __name__ == '__main__':
    main()
