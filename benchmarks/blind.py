"""Networks that see only the noisy image, at equal CPU cost: five-state RNA polymerase, one thread, resumable.

    python benchmarks/blind.py --data ../shared/data --work WORK [--cpu 120] [--seeds 1] [--box 64] [--ctf]
                               [--cells residual,equivariant,...]

Every cell trains with the `train` verb for as many iterations as fit into --cpu seconds of process time (measured on a
short run first), chooses its checkpoint on its own validation particles and is measured once on test particles that
no network saw. Finished cells are kept in WORK; the table and the curves of validation error against cost are
written to benchmarks/results/blind_<box>.csv and .png.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from cryoemgan.engine import metrics
from cryoemgan.engine.table import ParticleTable

STATES = ('00', '05', '10', '15', '20')
TRAINING, TEST = 4445, 500  # a tenth of the first is validation
WHOLE = dict(p=2, batch_size=160, learning_rate_generator=1e-3, noise_curriculum=0.45, shift=0, exchange_noise=1.0)
CELLS = {
    'residual': {'network': 'residual'},
    'residual-l2': {'network': 'residual', 'p': 2, 'shift': 0, 'exchange_noise': 1.0},
    'paper128': {'network': 'paper128', 'shift': 0},
    'basis': {'network': 'basis', **WHOLE},
    'equivariant': {'network': 'equivariant', **WHOLE},
    'equivariant-no-curriculum': {'network': 'equivariant', **WHOLE, 'noise_curriculum': 0.0},
    'equivariant-fresh': {'network': 'equivariant', **WHOLE, 'fresh_fraction': 1.0},
}
DEFAULT = 'residual,residual-l2,basis,equivariant'


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


def data_set(args):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    models = [args.data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz' for s in STATES]
    options = dict(model=models, count=(TRAINING + TEST) // len(STATES), box=args.box, pixel_size=288 / args.box,
                   split=[TRAINING, TEST], snr=0.1, snr_per='set', scale='unit', seed=1)  # fmt: skip
    if args.ctf:
        options |= dict(ctf=True, shift_sd=1.0)
    folder = args.work / f'data{args.box}{"ctf" if args.ctf else ""}'
    verb('simulate', folder, **options)
    return folder


def cell(args, data, name, seed):
    """Train and test one network; gives a row of the table and its curve [(CPU seconds, validation MSE)]."""
    folder = args.work / f'{data.name}_{args.cpu:g}_{name}_{seed}'
    common = dict(CELLS[name], particles=data / 'noisy_1.star', references=data / 'clean_1.star', seed=seed)
    # Process time of 20 iterations: what start, reading and evaluation cost is in both trials.
    few, more = (
        verb('train', folder.with_name(f'{folder.name}_trial{n}'), **common, iterations=n, evaluations=1)['cpu_seconds']
        for n in (5, 25)
    )
    step = (more - few) / 20
    iterations = max(20, round(args.cpu / step))
    found = verb('train', folder, **common, iterations=iterations, evaluations=12)
    verb('denoise', folder / 'denoised', particles=data / 'noisy_2.star', model=folder / 'model')
    rows = np.arange(TEST)
    tables = folder / 'denoised' / 'denoised.star', data / 'clean_2.star'
    denoised, truth = (ParticleTable.read(t).images().read(rows) for t in tables)
    # Back to the references' grey values, in which clean images are scaled to [0, 1].
    card = json.loads((folder / 'model' / 'card.json').read_text())['grey']
    score = metrics.compare((denoised - card['offset']) / card['gain'], truth, 1.0)
    curve = list(csv.DictReader((folder / 'metrics.csv').open()))
    cost = found['cpu_seconds'] / found['iterations']
    row = dict(cell=name, seed=seed, iterations=iterations, cpu_seconds=round(found['cpu_seconds']),
               parameters=found['generator_parameters'], mse=score['mse'].mean(), mse_affine=score['mse_affine'].mean(),
               ssim=score['ssim'].mean())  # fmt: skip
    return row, [(int(r['iteration']) * cost, float(r['mse'])) for r in curve]


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
    parser.add_argument('--ctf', action='store_true')
    parser.add_argument('--cells', default=DEFAULT)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = data_set(args)
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
