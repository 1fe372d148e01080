"""Every member of the family at equal CPU cost: five-state RNA polymerase, 64 px, SNR 0.1, one thread, resumable.

    python -m benchmarks.studies.family --data ../shared/data --work WORK [--cpu 20] [--seeds 1 2] [--members NAME ...]

A cell trains one member for ``--cpu`` seconds of process time, validation and reading included (the clock of
``--minutes`` is CPU time here, so that other load of the machine does not count), keeps the checkpoint that is best on
its validation particles, and is measured once on test particles that training never saw. Finished cells are kept in
WORK/cells; an interrupted one goes on from its checkpoint. Writes benchmarks/results/family.csv and .md from all
finished cells; the findings at the end of the latter, written by hand, stay.
"""

import argparse
import csv
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import image_metrics

from .common import images, rnap_models, verb
from .family_members import MEMBERS

RESULTS = Path(__file__).parents[1] / 'results'
TRAINING, VALIDATION, TEST, BOX, FIELD = 3000, 150, 300, 64, 288.0  # field of view in A
GROUPS = {
    'preset': 'Presets',
    'adversary': 'Adversaries, all on `residual` in one training',
    'network': 'Networks, without adversary (l2) unless said, in the same training',
    'wrong': '30 % of the references replaced by Gaussian noise (`residual` in the same training, unless said)',
}
FINDINGS = '## What the table says'

HEADER = """# The family at equal CPU cost

    python -m benchmarks.studies.family --data ../shared/data --work WORK --cpu {cpu} [--members NAME ...] [--seeds 1 2]

Five-state RNA polymerase (4XLN), {box} px, SNR 0.1 of the set, white noise, each clean image in [0, 1]: {training}
training pairs, {validation} validation (they choose the checkpoint), {test} test images, measured once. {cpu} CPU
seconds a run on one thread (training, validation and reading; not the imports), whatever the number of iterations
that buys; bfloat16. Python {python}, torch {torch}, numpy {numpy}; two shared cores, load {load} while
the runs ended. Options of every member: `benchmarks/family_members.py`. MSE x 1e-3 of the test images, mean (range)
over seeds. **Where a member has one seed, differences under 5 % mean nothing.**
"""


def data_set(args):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    models, folder = rnap_models(args.data, args.work), args.work / 'set'
    verb('simulate', folder, model=models, count=(TRAINING + TEST) // len(models), box=BOX, pixel_size=FIELD / BOX,
         split=[TRAINING, TEST], snr=0.1, scale='unit', seed=1)  # fmt: skip
    return folder


def measure(denoised, truth):
    """Mean scores of test images in the references' grey values, clean images in [0, 1]."""
    found = image_metrics.compare(denoised, truth, 1.0)
    return {k: float(found[k].mean()) for k in ('mse', 'mse_affine', 'ssim_affine', 'ncc')}


def covariance_wiener(args, data):
    """The classical method to beat, on all images (it takes the covariance from them)."""
    folder = args.work / 'cwf'
    found = verb('filter', folder, particles=data / 'noisy.star', method='cwf')
    score = measure(images(folder / 'denoised.star')[TRAINING:], images(data / 'clean_2.star'))
    return dict(cell='cwf', seed=1, cpu_seconds=found['cpu_seconds'], **score)


def train_cell(args, data, name, seed):
    """Train and test one cell; gives its row."""
    options = dict(MEMBERS[name][0])
    cost = args.cpu * options.pop('cost', 1)
    folder = args.work / 'runs' / f'{name.replace(" ", "_")}_{cost:g}_{seed}'
    found = verb(
        'train', folder, particles=data / 'noisy_1.star', references=data / 'clean_1.star', seed=seed,
        cross_fit='none', minutes=cost / 60, evaluations=4, validation_fraction=VALIDATION / TRAINING, keep=1,
        **options,
    )  # fmt: skip
    torch.set_num_threads(1)
    model, noisy = Model.load(folder / 'model'), images(data / 'noisy_2.star')
    denoised = np.concatenate([model.denoise(noisy[i : i + 50]) for i in range(0, len(noisy), 50)])
    grey = model.card['grey']
    score = measure((denoised - grey['offset']) / grey['gain'], images(data / 'clean_2.star'))
    return dict(cell=name, seed=seed, cpu_seconds=found['training_seconds'], iterations=found['iterations'],
                parameters=found['generator_parameters'], precision=found['precision'],
                validation_mse=found['best']['mse'], load=os.getloadavg()[0], **score)  # fmt: skip


def row_of(args, data, name, seed):
    """The row of a cell: read if it is finished, else made."""
    path = args.work / 'cells' / f'{name.replace(" ", "_")}_{args.cpu:g}_{seed}.json'
    if not path.exists():
        row = covariance_wiener(args, data) if name == 'cwf' else train_cell(args, data, name, seed)
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps(row))
        partial.replace(path)
    return json.loads(path.read_text())


def table(rows, group):
    """Markdown: a line a member, mean over seeds and their range."""
    wrong = group == 'wrong'
    titles = ['member', 'what it is', 'seeds', 'iterations', 'CPU s', 'MSE', 'after affine fit', 'SSIM']
    titles += ['against clean references'] if wrong else []
    lines = [f'| {" | ".join(titles)} |', '|' + '---|' * len(titles)]
    for name in dict.fromkeys(r['cell'] for r in rows if group_of(r['cell']) == group):
        mine = [r for r in rows if r['cell'] == name]

        def mean(key, mine=mine):
            return np.mean([r.get(key, np.nan) for r in mine])

        about = MEMBERS[name][1] if name in MEMBERS else 'covariance Wiener filter, no training'
        iterations = f'{mean("iterations"):.0f}' if 'iterations' in mine[0] else ''
        cells = [name.removeprefix('wrong '), about, len(mine), iterations, f'{mean("cpu_seconds"):.0f}',
                 spread(mine, 'mse'), f'{1e3 * mean("mse_affine"):.2f}', f'{mean("ssim_affine"):.3f}']  # fmt: skip
        if wrong:
            cells.append(against_clean(rows, mine, name))
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def group_of(name):
    """The part of the report that a member belongs to."""
    return MEMBERS[name][2] if name in MEMBERS else 'preset'


def spread(rows, key):
    """'mean (least to most)' of 1e3 times a score."""
    values = [1e3 * r[key] for r in rows]
    more = f' ({min(values):.2f} to {max(values):.2f})' if len(values) > 1 else ''
    return f'{np.mean(values):.2f}{more}'


def against_clean(rows, mine, name):
    """Factor by which the contaminated references raised the error, over the seeds that both have."""
    clean = {r['seed']: r['mse'] for r in rows if r['cell'] == name.removeprefix('wrong ')}
    both = [(r['mse'], clean[r['seed']]) for r in mine if r['seed'] in clean]
    return f'x {sum(b[0] for b in both) / sum(b[1] for b in both):.2f}' if both else ''


def write(rows, args):
    """benchmarks/results/family.csv and family.md."""
    columns = [k for k in max(rows, key=len) if k not in ('curve', 'load')]
    with (RESULTS / 'family.csv').open('w', newline='') as f:
        writer = csv.DictWriter(f, columns, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows({k: f'{v:.6g}' if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    loads = [r['load'] for r in rows if 'load' in r] or [0]
    text = HEADER.format(
        cpu=f'{args.cpu:g}', torch=version('torch'), numpy=np.__version__, python=platform.python_version(),
        load=f'{min(loads):.0f} to {max(loads):.0f}',
        training=TRAINING - VALIDATION, validation=VALIDATION, test=TEST, box=BOX,
    )  # fmt: skip
    parts = [f'## {title}\n\n{table(rows, group)}\n' for group, title in GROUPS.items()]
    path = RESULTS / 'family.md'
    # What people wrote about the table stays.
    _, title, findings = path.read_text().partition(FINDINGS) if path.exists() else ('', '', '')
    path.write_text('\n'.join([text, *parts, title + findings]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=20)
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    parser.add_argument('--members', nargs='*', default=['cwf', *MEMBERS], choices=['cwf', *MEMBERS])
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    data = data_set(args)
    (args.work / 'cells').mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.members:
            if name == 'cwf' and seed != args.seeds[0]:
                continue
            row = row_of(args, data, name, seed)
            print(' '.join(f'{k}={v:.5g}' if isinstance(v, float) else f'{k}={v}' for k, v in row.items()
                           if k != 'curve'), flush=True)  # fmt: skip
    write(finished(args), args)


def finished(args):
    """Rows of all finished cells of this cost, in the order of MEMBERS."""
    rows = [json.loads(p.read_text()) for p in (args.work / 'cells').glob(f'*_{args.cpu:g}_*.json')]
    order = ['cwf', *MEMBERS]
    return sorted((r for r in rows if r['cell'] in order), key=lambda r: (order.index(r['cell']), r['seed']))


if __name__ == '__main__':
    main()
