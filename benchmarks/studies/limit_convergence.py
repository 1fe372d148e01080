"""Does the limit's answer still change with a finer search? One table of settings, doubled one by one.

    python -m benchmarks.studies.limit_convergence SET [--images 40] [--lines 1,8]

SET: folder of a simulation with white noise in two parts; volumes, noisy_2.star (with the CTF of every particle, if it
has one), clean_2.star and the s.d. of the shifts are read. --lines: which of the settings, counted from 1. Every line
is the same test images under other settings of ``metrics.bayes_bound.BayesBound``; "against the finest" is the root
mean square of the difference from the last line's answer over the root of its error.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics.bayes_bound import of_simulation

DEFAULT = {'views': 8000, 'rank': 96, 'kept': 64, 'rounds': 3, 'samples': 240, 'start_degrees': 8.0, 'draws': 480}
LINES = (
    {'views': 1000},
    {},
    {'rounds': 2},
    {'rounds': 4},
    {'kept': 16, 'samples': 120, 'draws': 240},
    {'samples': 480},
    {'draws': 960},
    {'kept': 128, 'samples': 480, 'draws': 1440},
    {'rounds': 5, 'samples': 480, 'draws': 960},
    {'rounds': 6, 'kept': 128, 'samples': 960, 'draws': 1920},
    {'views': 12000, 'rank': 192, 'kept': 128, 'samples': 480, 'draws': 1440},
)
OF_DENOISE = ('rounds', 'samples', 'start_degrees', 'draws')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', type=Path)
    parser.add_argument('--images', type=int, default=40)
    parser.add_argument('--lines', default=','.join(str(i + 1) for i in range(len(LINES))))
    args = parser.parse_args()
    tables = [ParticleTable.read(args.set / f'{name}_2.star') for name in ('noisy', 'clean')]
    rows = np.arange(min(args.images, len(tables[0])))
    noisy, clean = (t.images().read(rows) for t in tables)
    found, banks = [], {}
    for change in [LINES[int(i) - 1] for i in args.lines.split(',')]:
        options = {**DEFAULT, **change}
        search = {k: options.pop(k) for k in OF_DENOISE}
        start = time.process_time()
        key = tuple(options.items())
        if key not in banks:
            banks[key] = of_simulation(args.set, tables[0], **options)
        limit, ctf = banks[key]
        built = time.process_time()
        answer = limit.denoise(noisy, ctf=None if ctf is None else ctf[rows], **search)
        seconds = (time.process_time() - built) / len(noisy)
        found.append((change, answer, limit.effective.copy(), built - start, seconds))
        print(f'{change} MSE {((answer - clean) ** 2).mean():.4e}', flush=True)
    finest = found[-1][1]
    scale = np.sqrt(((finest - clean) ** 2).mean())
    print(f'Signal: variance {1e3 * clean.var((1, 2)).mean():.3f} x 1e-3')
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
