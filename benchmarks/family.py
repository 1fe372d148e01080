"""Every member of the family at equal CPU cost: five-state RNA polymerase, 64 px, SNR 0.1, one thread, resumable.

    python benchmarks/family.py --data ../shared/data --work WORK [--cpu 60] [--seeds 1 2 3] [--cells NAME ...]

A cell trains one member for ``--cpu`` seconds of process time, validation and reading included (the clock of
``--minutes`` is CPU time here, so that other load of the machine does not count), keeps the checkpoint that is best on
its validation particles, and is measured once on test particles that training never saw. Finished cells are kept in
WORK/cells; an interrupted one goes on from its checkpoint. Writes benchmarks/results/family.csv and .md after each.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / 'results'
STATES = ('00', '05', '10', '15', '20')
TRAINING, VALIDATION, TEST, BOX, FIELD = 3000, 150, 300, 64, 288.0  # field of view in A
L1, BETA = dict(p=1), dict(gan='beta', p=1, generator_steps=2)
WGAN = dict(gan='wgan-gp', p=1, generator_steps=2)
WRONG = dict(contaminate='references', contaminate_fraction=0.3)

HEADER = """# The family at equal CPU cost

    python benchmarks/family.py --data ../shared/data --work WORK --cpu {cpu} --seeds 1 2 3

Five-state RNA polymerase (4XLN), {box} px, SNR 0.1 of the set, white noise, each clean image in [0, 1]: {training}
training pairs, {validation} validation (they choose the checkpoint), {test} test images, measured once. {cpu} CPU
seconds a cell on one thread (training, validation and reading; not the imports), whatever the number of iterations
that buys. Python {python}, torch {torch}, numpy {numpy}; shared machine, load {load}. Where a member has one seed,
differences under 5 % mean nothing.
"""


def rule(alpha, beta):
    """Options of the (alpha, beta)-GAN + l1."""
    return dict(BETA, alpha=alpha, beta=beta)


# Name: (options beside the preset's, what it is). 'cost': part of --cpu.
CELLS = {
    'recommended': ({}, 'preset: `residual`, no adversary, l2'),
    'l1': (L1, '`residual`, no adversary, l1'),
    '(0.5,0.5)': (rule(0.5, 0.5), '`residual`, l1'),
    'wgan-gp box': (dict(WGAN, critic_scale='box'), '`residual`, l1, lambda 10'),
    'paper': (dict(preset='paper'), 'preset: `paper128`, (0.5,0.5) + l1'),
    'paper128': (dict(network='paper128'), 'recommended with `paper128`'),
    'plain': (dict(network='plain'), 'recommended with `plain`'),
    'pggan': (dict(network='pggan'), 'recommended with `pggan`'),
    'wrong l1': (dict(L1, **WRONG), '30 % of the references are noise'),
    'wrong l2': (WRONG, '30 % of the references are noise'),
    'wrong (0.5,0.5)': (dict(rule(0.5, 0.5), **WRONG), '30 % of the references are noise'),
    'wrong wgan-gp': (dict(WGAN, critic_scale='box', **WRONG), '30 % of the references are noise'),
    'wgan-gp literal': (dict(WGAN, critic_scale='literal'), '`residual`, l1, lambda 10'),
    '(0,0)': (rule(0.0, 0.0), '`residual`, l1'),
    '(1,1)': (rule(1.0, 1.0), '`residual`, l1'),
    '(-0.5,-0.5)': (rule(-0.5, -0.5), '`residual`, l1'),
    'recommended x 0.5': (dict(cost=0.5), 'half the time'),
    'paper x 5': (dict(preset='paper', cost=5), 'five times the time'),
    'authors': (dict(preset='authors'), 'preset: `paper128`, (0.5,0.5) + l1, patch sums, batch 10'),
    'wgan-gp literal 200': (
        dict(WGAN, critic_scale='literal', reconstruction_weight=200.0),
        '`residual`, l1, lambda 200',
    ),
    'pggan wgan-gp': (dict(WGAN, network='pggan', critic_scale='box'), '`pggan`, l1'),
    'pggan wgan-gp pure': (
        dict(WGAN, network='pggan', critic_scale='box', reconstruction_weight=0.0),
        '`pggan`, lambda 0: no reconstruction term',
    ),
    '(0.5,0.5) pure': (dict(rule(0.5, 0.5), reconstruction_weight=0.0), '`residual`, lambda 0'),
    'equivariant': (
        dict(
            network='equivariant', batch_size=160, learning_rate_generator=1e-3, noise_curriculum=0.45, shift=0,
            exchange_noise=1.0,
        ),
        'blind network on the whole particle, noise curriculum',
    ),
}  # fmt: skip


def engine(verb, folder, **options):
    """Run a verb in a process of its own unless its result is there; gives its summary."""
    if not (folder / 'summary.json').exists():
        words = []
        for key, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words += ['--' + key.replace('_', '-'), str(item)]
        words += ['--threads', '1', '--overwrite', '--output', str(folder)]
        subprocess.run([sys.executable, '-m', 'cryoemgan.engine', verb, *words], check=True)
    return json.loads((folder / 'summary.json').read_text())


def data_set(args):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    models = [args.data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz' for s in STATES]
    folder = args.work / 'set'
    engine('simulate', folder, model=models, count=(TRAINING + TEST) // len(STATES), box=BOX, pixel_size=FIELD / BOX,
           split=[TRAINING, TEST], snr=0.1, scale='unit', seed=1)  # fmt: skip
    return folder


def measure(denoised, truth):
    """Mean scores of test images in the references' grey values, clean images in [0, 1]."""
    from cryoemgan.engine import metrics

    found = metrics.compare(denoised, truth, 1.0)
    return {k: float(found[k].mean()) for k in ('mse', 'mse_affine', 'ssim_affine', 'ncc')}


def images(path):
    from cryoemgan.engine.table import ParticleTable

    stack = ParticleTable.read(path).images()
    return stack.read(np.arange(len(stack)))


def covariance_wiener(args, data):
    """The classical method to beat, on all images (it takes the covariance from them)."""
    folder = args.work / 'cwf'
    found = engine('filter', folder, particles=data / 'noisy.star', method='cwf')
    score = measure(images(folder / 'denoised.star')[TRAINING:], images(data / 'clean_2.star'))
    return dict(cell='cwf', seed=1, cpu_seconds=found['cpu_seconds'], **score)


def train_cell(args, data, name, seed):
    """Train and test one cell in this process; gives its row."""
    from cryoemgan.engine import trainingrun
    from cryoemgan.engine.__main__ import run, use_threads
    from cryoemgan.engine.model import Model
    from cryoemgan.engine.settings.train import Train

    use_threads(1)
    trainingrun.clock = time.process_time
    options = dict(CELLS[name][0])
    cost = args.cpu * options.pop('cost', 1)
    folder = args.work / 'runs' / f'{name.replace(" ", "_")}_{cost:g}_{seed}'
    settings = Train(
        output=str(folder), particles=str(data / 'noisy_1.star'), references=str(data / 'clean_1.star'), seed=seed,
        cross_fit='none', minutes=cost / 60, evaluations=4, validation_fraction=VALIDATION / TRAINING, threads=1,
        keep=1, resume=folder.exists(), **options,
    )  # fmt: skip
    settings.validate()
    found = run('train', settings)
    model, noisy = Model.load(folder / 'model'), images(data / 'noisy_2.star')
    denoised = np.concatenate([model.denoise(noisy[i : i + 50]) for i in range(0, len(noisy), 50)])
    grey = model.card['grey']
    score = measure((denoised - grey['offset']) / grey['gain'], images(data / 'clean_2.star'))
    with (folder / 'metrics.csv').open() as f:
        curve = [(float(r['seconds']), float(r['mse'])) for r in csv.DictReader(f)]
    return dict(cell=name, seed=seed, cpu_seconds=found['training_seconds'], iterations=found['iterations'],
                parameters=found['generator_parameters'], precision=found['precision'],
                validation_mse=found['best']['mse'], **score, curve=curve)  # fmt: skip


def row_of(args, data, name, seed):
    """The row of a cell: read if it is finished, else made in a process of its own."""
    path = args.work / 'cells' / f'{name.replace(" ", "_")}_{args.cpu:g}_{seed}.json'
    if not path.exists():
        if name == 'cwf':
            row = covariance_wiener(args, data)
            path.write_text(json.dumps(row))
        else:
            subprocess.run([sys.executable, __file__, '--data', str(args.data), '--work', str(args.work), '--cpu',
                            str(args.cpu), '--one', name, str(seed), str(path)], check=True)  # fmt: skip
    return json.loads(path.read_text())


def table(rows):
    """Markdown: a line a cell, mean over seeds and their range."""
    lines = ['| member | | seeds | iterations | CPU s | MSE x 1e-3 (range over seeds) | after affine fit | SSIM |',
             '|---|---|---|---|---|---|---|---|']  # fmt: skip
    for name in dict.fromkeys(r['cell'] for r in rows):
        mine = [r for r in rows if r['cell'] == name]

        def mean(key, mine=mine):
            return np.mean([r.get(key, np.nan) for r in mine])

        mse = [1e3 * r['mse'] for r in mine]
        spread = f' ({min(mse):.2f} to {max(mse):.2f})' if len(mine) > 1 else ''
        iterations = f'{mean("iterations"):.0f}' if 'iterations' in mine[0] else ''
        about = CELLS[name][1] if name in CELLS else 'covariance Wiener filter'
        lines.append(
            f'| {name} | {about} | {len(mine)} | {iterations} | {mean("cpu_seconds"):.0f} | '
            f'{np.mean(mse):.2f}{spread} | {1e3 * mean("mse_affine"):.2f} | {mean("ssim_affine"):.3f} |'
        )
    return '\n'.join(lines)


def write(rows, args):
    """benchmarks/results/family.csv and family.md."""
    import torch

    columns = [k for k in max(rows, key=len) if k != 'curve']
    with (RESULTS / 'family.csv').open('w', newline='') as f:
        writer = csv.DictWriter(f, columns, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows({k: f'{v:.6g}' if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    load = ' '.join(f'{v:.0f}' for v in os.getloadavg())
    text = HEADER.format(
        cpu=f'{args.cpu:g}', torch=torch.__version__, numpy=np.__version__, python=platform.python_version(), load=load,
        training=TRAINING - VALIDATION, validation=VALIDATION, test=TEST, box=BOX,
    )  # fmt: skip
    (RESULTS / 'family.md').write_text(f'{text}\n{table(rows)}\n')


def main():
    from cryoemgan.engine.settings.networks import NETWORKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=60)
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    known = [n for n, (options, _) in CELLS.items() if options.get('network', 'residual') in NETWORKS]
    parser.add_argument('--cells', nargs='+', default=['cwf', *known], choices=['cwf', *known])
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    data = data_set(args)
    if args.one:
        name, seed, path = args.one
        partial = Path(path + '.partial')
        partial.write_text(json.dumps(train_cell(args, data, name, int(seed))))
        partial.replace(path)
        return
    (args.work / 'cells').mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.cells:
            if name == 'cwf' and seed != args.seeds[0]:
                continue
            row = row_of(args, data, name, seed)
            print(' '.join(f'{k}={v:.5g}' if isinstance(v, float) else f'{k}={v}' for k, v in row.items()
                           if k != 'curve'), flush=True)  # fmt: skip
            write(finished(args), args)


def finished(args):
    """Rows of all finished cells of this cost, in the order of CELLS."""
    rows = [json.loads(p.read_text()) for p in (args.work / 'cells').glob(f'*_{args.cpu:g}_*.json')]
    order = ['cwf', *CELLS]
    return sorted(rows, key=lambda r: (order.index(r['cell']), r['seed']))


if __name__ == '__main__':
    main()
