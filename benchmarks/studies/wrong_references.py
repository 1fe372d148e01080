"""What wrong references cost, with and without leaving wrong pairs out, for losses and adversaries at equal cost.

    python -m benchmarks.studies.wrong_references --data ../shared/data --work WORK [--cpu 20]

The set, the clock and the trainings of ``family``: five-state RNA polymerase, 64 px, SNR 0.1, ``--cpu`` seconds of CPU
time on one thread. A part of the references is replaced by Gaussian noise, or exchanged among particles. power: of the
output over that of the truth between a quarter and a half of Nyquist's frequency (1 = as sharp as the truth). Finished
cells are kept in WORK. Writes benchmarks/results/wrong_references.csv and .md.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_record, write_json
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import frc

from .. import score
from .common import images, verb
from .family import BOX, FIELD, RESULTS, TRAINING, VALIDATION, data_set
from .family_members import FULL_NOISE, HALF, L1, WGAN

NETWORKS = {
    'equivariant l2': FULL_NOISE,
    'equivariant l1': dict(FULL_NOISE, p=1),
    'residual l1': L1,
    'residual l1 + (.5,.5)': HALF,
    'residual l1 + wgan-gp': WGAN,
}
NOISE, EXCHANGED = 'noise', 'exchanged'
FINDINGS = '## What the table says'
HEADER = """# Wrong references

    python -m benchmarks.studies.wrong_references --data ../shared/data --work WORK

Five-state RNA polymerase, 64 px, SNR 0.1, white noise, 2,850 training pairs, {cpu} CPU seconds of training on one
thread. Wrong references are Gaussian noise, or those of other particles. Error: after gain and offset, over the truth's
variance; factor: of it, against right references. power: of the output over the truth's, from a quarter to a half of
Nyquist's frequency. Means over seeds.
"""
# (kind of wrong references, part of them): networks, and how many seeds each has.
CELLS = {
    (NOISE, 0.0): ({'equivariant l2': 3, 'residual l1': 3, 'residual l1 + (.5,.5)': 3, 'equivariant l1': 1,
                    'residual l1 + wgan-gp': 1}),
    (NOISE, 0.3): ({'equivariant l2': 3, 'residual l1': 3, 'residual l1 + (.5,.5)': 3, 'equivariant l1': 1,
                    'residual l1 + wgan-gp': 1}),
    (EXCHANGED, 0.3): {'equivariant l2': 3, 'residual l1 + (.5,.5)': 1},
    (NOISE, 0.1): {'equivariant l2': 1, 'residual l1 + (.5,.5)': 1},
    (NOISE, 0.4): {'equivariant l2': 1, 'residual l1 + (.5,.5)': 1},
}  # fmt: skip


def cells():
    """(network, kind, part, whether wrong pairs are left out, seed); first seeds first."""
    for seed in (1, 2, 3):
        for (kind, part), networks in CELLS.items():
            for network, seeds in networks.items():
                # None is left out where none is wrong.
                for left_out in (True, False) if part else (True,):
                    if seed <= seeds:
                        yield network, kind, part, left_out, seed


def references(data, kind, part, folder):
    """Table of references, a part of which was exchanged."""
    path = data / 'clean_1.star'
    if kind != EXCHANGED:
        return path
    new = folder / f'exchanged_{part:g}.star'
    if not new.exists():
        table = ParticleTable.read(path)
        # Who the particle is stays; the image becomes another's.
        table.relocate(folder)
        rng, names = np.random.default_rng(1), np.array(list(table.texts('rlnImageName')), object)
        chosen = rng.choice(len(table), round(part * len(table)), replace=False)
        names[chosen] = np.roll(names[chosen], 1)
        table.set('rlnImageName', list(names))
        table.write(new)
    return new


def train(args, data, network, kind, part, left_out, seed):
    """The row of one cell."""
    name = f'{network}_{kind}_{part:g}_{"left out" if left_out else "kept"}_{seed}'.replace(' ', '_')
    path = args.work / 'wrong' / f'{name}.json'
    if (found := read_record(path)) is not None:
        return found
    path.parent.mkdir(exist_ok=True)
    spoil = dict(contaminate='references', contaminate_fraction=part) if kind == NOISE and part else {}
    summary = verb(
        'train', args.work / 'runs' / name, particles=data / 'noisy_1.star',
        references=references(data, kind, part, args.work), seed=seed, cross_fit='none', minutes=args.cpu / 60,
        evaluations=4, validation_fraction=VALIDATION / TRAINING, keep=1, leave_out_wrong=left_out,
        no_leave_out_wrong=not left_out, min_agreement=0, **NETWORKS[network], **spoil,
    )  # fmt: skip
    torch.set_num_threads(1)
    model, noisy = Model.load(args.work / 'runs' / name / 'model'), images(data / 'noisy_2.star')
    denoised = np.concatenate([model.denoise(noisy[i : i + 50]) for i in range(0, len(noisy), 50)])
    grey, truth = model.card['grey'], images(data / 'clean_2.star')
    row = dict(
        network=network, kind=kind, part=part, wrong_pairs='left out' if left_out else 'kept', seed=seed,
        **score.scores((denoised - grey['offset']) / grey['gain'], truth, FIELD / BOX), power=power(denoised, truth),
        pairs=summary['training_pairs'], iterations=summary['iterations'], cpu_seconds=summary['training_seconds'],
    )  # fmt: skip
    write_json(path, row)
    return row


def power(denoised, truth):
    """Of denoised images over that of true ones, after a fit of the gain, between a quarter and half of Nyquist's."""
    quarter, half = BOX // 8, BOX // 4
    x, y = (frc.ring_covariance(z, z)[quarter:half].sum() for z in (denoised, truth))
    slope = score.gain(denoised, truth)
    return float(slope**2 * x / y)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=20)
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    args.work.mkdir(parents=True, exist_ok=True)
    data, rows = data_set(args), []
    for cell in cells():
        rows.append(train(args, data, *cell))
        print(' '.join(f'{k}={v:.4g}' if isinstance(v, float) else f'{k}={v}' for k, v in rows[-1].items()), flush=True)
        write(rows, args.cpu)


def write(rows, cpu):
    """benchmarks/results/wrong_references.csv and .md; what people wrote below the table stays."""
    with (RESULTS / 'wrong_references.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows({k: f'{v:.4g}' if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    path = RESULTS / 'wrong_references.md'
    _, title, findings = path.read_text(encoding='utf-8').partition(FINDINGS) if path.exists() else ('', FINDINGS, '')
    path.write_text(f'{HEADER.format(cpu=f"{cpu:g}")}\n{table(rows)}\n\n{title}{findings}', encoding='utf-8')


def table(rows):
    """Markdown: means over seeds, and the factor of the error against right references of the same seeds."""
    key = ('network', 'kind', 'part', 'wrong_pairs')
    clean = {(r['network'], r['seed']): r['error'] for r in rows if not r['part']}
    lines = ['| network | wrong references | wrong pairs | seeds | error | factor | power | FRC 0.5, A |',
             '|---|---|---|---|---|---|---|---|']  # fmt: skip
    groups = dict.fromkeys(tuple(r[k] for k in key) for r in rows)
    for group in sorted(groups, key=lambda g: (list(NETWORKS).index(g[0]), g[1], g[2], g[3])):
        mine = [r for r in rows if tuple(r[k] for k in key) == group]
        known = [r for r in mine if (r['network'], r['seed']) in clean]
        error, power_, resolution = (np.mean([r[k] for r in mine]) for k in ('error', 'power', 'frc_half'))
        factor = sum(r['error'] for r in known) / sum(clean[r['network'], r['seed']] for r in known)
        network, kind, part, pairs = group
        wrong = f'{part:.0%} {kind}' if part else 'none'
        cells = (network, wrong, pairs if part else '', len(mine), f'{error:.4f}', f'{factor:.2f}' if part else '',
                 f'{power_:.2f}', f'{resolution:.1f}')  # fmt: skip
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
