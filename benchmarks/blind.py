"""Networks that see only the noisy image, at equal CPU cost: five-state RNA polymerase, one thread, resumable.

    python benchmarks/blind.py --data ../shared/data --work WORK [--cpu 120] [--seeds 1] [--box 64] [--ctf]
                               [--shift-sd 0] [--cells residual,equivariant,...]

Every cell trains with the `train` verb for --cpu seconds of process time (reading and validation included, imports
and the first look at the data not), chooses its checkpoint on its own validation particles and is measured once on
test particles that no network saw. Finished cells are kept in WORK; the table and the curves of validation error
against cost are written to benchmarks/results/blind_<box>.csv and .png.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cryoemgan.engine import metrics
from cryoemgan.engine.table import ParticleTable

STATES = ('00', '05', '10', '15', '20')
TRAINING, TEST = 4445, 500  # a tenth of the first is validation
FIELD = 195.2  # field of view in A: the smallest that holds all states without their tail
CELLS = {
    'residual': {'network': 'residual'},
    'residual-moved': {'network': 'residual', 'shift': 0, 'exchange_noise': 1.0},
    'basis': {'network': 'basis'},
    'equivariant': {},
    'no-curriculum': {'noise_curriculum': 0.0},
    'shift-1': {'shift': 1},
    'l1': {'p': 1},
    'fresh': {'fresh_fraction': 1.0, 'maps': True},
}
DEFAULT = 'residual,basis,equivariant'


def verb(name, folder, **options):
    """Run a verb unless its result is there (going on with an interrupted training); gives its summary."""
    summary = folder / 'summary.json'
    if not summary.exists():
        words = []
        for key, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words += ['--' + key.replace('_', '-')] + ([] if item is True else [str(item)])
        if (folder / 'settings.json').exists():
            words.append('--resume' if name == 'train' else '--overwrite')
        command = [sys.executable, '-m', 'cryoemgan.engine', name, '--output', str(folder), '--threads', '1', *words]
        subprocess.run(command, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return json.loads(summary.read_text())


def without_tail(path, folder):
    """The model without the 130 A tail of beta' (chain D, 159 to 452), as a file in ``folder``."""
    new = folder / path.name.removesuffix('.gz')
    if not new.exists():
        with gzip.open(path, 'rt') as file:
            kept = [x for x in file if not (x.startswith('ATOM') and x[21] == 'D' and 159 <= int(x[22:26]) <= 452)]
        new.write_text(''.join(kept))
    return new


def data_set(args):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    models = [without_tail(args.data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz', args.work) for s in STATES]
    options = dict(model=models, count=(TRAINING + TEST) // len(STATES), box=args.box, pixel_size=FIELD / args.box,
                   split=[TRAINING, TEST], snr=0.1, snr_per='set', scale='unit', seed=1)  # fmt: skip
    name = f'data{args.box}'
    if args.ctf:
        options |= dict(ctf=True, shift_sd=1.0)
        name += 'ctf'
    if args.shift_sd:
        options |= dict(shift_sd=args.shift_sd)
        name += f'shift{args.shift_sd:g}'
    folder = args.work / name
    verb('simulate', folder, **options)
    return folder


def train_cell(args, data, name, seed, folder):
    """Train one cell in this process by the verb, with CPU time as the clock of --minutes; gives its summary."""
    from cryoemgan.engine import trainingrun
    from cryoemgan.engine.__main__ import run, use_threads
    from cryoemgan.engine.settings.train import Train

    use_threads(1)
    trainingrun.clock = time.process_time
    settings = Train(
        output=str(folder), particles=str(data / 'noisy_1.star'), references=str(data / 'clean_1.star'), seed=seed,
        cross_fit='none', minutes=args.cpu / 60, evaluations=12, threads=1, keep=1, resume=folder.exists(),
        **options_of(args, data, name),
    )  # fmt: skip
    settings.validate()
    return run('train', settings)


def options_of(args, data, name):
    """Options of a cell; FRESH stands for the five maps of the set."""
    options = dict(CELLS[name])
    if options.pop('maps', False):
        options['volume'] = [str(p) for p in sorted(data.glob('volume_?.mrc'))]
    return options


def cell(args, data, name, seed):
    """Train and test one network; gives a row of the table and its curve [(CPU seconds, validation MSE)]."""
    folder = args.work / f'{data.name}_{args.cpu:g}_{name}_{seed}'
    if not (folder / 'summary.json').exists():
        same = ['--data', args.data, '--work', args.work, '--cpu', args.cpu, '--box', args.box]
        same += ['--ctf'] * args.ctf + ['--shift-sd', args.shift_sd, '--one', name, seed]
        subprocess.run([sys.executable, __file__, *map(str, same)], check=True)
    found = json.loads((folder / 'summary.json').read_text())
    verb('denoise', folder / 'denoised', particles=data / 'noisy_2.star', model=folder / 'model')
    rows = np.arange(TEST)
    tables = folder / 'denoised' / 'denoised.star', data / 'clean_2.star'
    denoised, truth = (ParticleTable.read(t).images().read(rows) for t in tables)
    # Back to the references' grey values, in which clean images are scaled to [0, 1].
    card = json.loads((folder / 'model' / 'card.json').read_text())['grey']
    score = metrics.compare((denoised - card['offset']) / card['gain'], truth, 1.0)
    curve = [(float(r['seconds']), float(r['mse'])) for r in csv.DictReader((folder / 'metrics.csv').open())]
    row = dict(cell=name, seed=seed, iterations=found['iterations'], cpu_seconds=round(found['training_seconds']),
               parameters=found['generator_parameters'], validation=found['best']['mse'], mse=score['mse'].mean(),
               mse_affine=score['mse_affine'].mean(), ssim=score['ssim'].mean())  # fmt: skip
    return row, curve


def draw(path, curves):
    """Validation MSE against CPU seconds, a line a cell."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, points in curves.items():
        axes.loglog(*zip(*points), marker='.', label=label)
    axes.set(xlabel='CPU seconds, one thread', ylabel='validation MSE (network units)')
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120, bbox_inches='tight')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=120)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--box', type=int, default=64)
    parser.add_argument('--ctf', action='store_true', help='CTF, and shifts of 1 px (s.d.)')
    parser.add_argument('--shift-sd', type=float, default=0.0, help='shifts, px')
    parser.add_argument('--cells', default=DEFAULT)
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = data_set(args)
    if args.one:
        name, seed = args.one
        train_cell(args, data, name, int(seed), args.work / f'{data.name}_{args.cpu:g}_{name}_{seed}')
        return
    results = Path(__file__).parent / 'results'
    rows, curves = [], {}
    for seed in range(1, args.seeds + 1):
        for name in args.cells.split(','):
            row, curve = cell(args, data, name, seed)
            rows.append(row)
            curves[f'{name} {seed}'] = curve
            print(' '.join(f'{k}={v:.5g}' if isinstance(v, float) else f'{k}={v}' for k, v in row.items()), flush=True)
            stem = results / f'blind_{data.name.removeprefix("data")}'
            with stem.with_suffix('.csv').open('w', newline='') as f:
                writer = csv.DictWriter(f, row)
                writer.writeheader()
                writer.writerows(rows)
            draw(stem.with_suffix('.png'), curves)


if __name__ == '__main__':
    main()
