"""Networks that see only the noisy image, at equal CPU cost: five-state RNA polymerase, one thread, resumable.

    python benchmarks/blind.py --data ../shared/data --work WORK [--cpu 120] [--seeds 1] [--box 64] [--ctf]
                               [--shift-sd 0] [--grey one] [--cells residual,equivariant,...]

Every cell trains with the `train` verb for --cpu seconds of process time (reading and validation included, imports
and the first look at the data not), chooses its checkpoint on its own validation particles and is measured once on
test particles that no network saw. Finished cells are kept in WORK; the table and the curves of validation error
against cost are written to benchmarks/results/blind_<set>_<cpu>.csv and .png.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from verbs import images, rnap_models, verb

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics import image_metrics

STATES = 5
TRAINING, TEST = 4445, 500  # a tenth of the first is validation
FIELD = 195.2  # field of view in A: the smallest that holds all states without their tail
CELLS = {
    'residual': {'network': 'residual'},
    'residual-moved': {'network': 'residual', 'shift': 0, 'exchange_noise': 1.0},
    'equivariant': {},
    'no-curriculum': {'noise_curriculum': 0.0},
    'shift-1': {'shift': 1},
    'l1': {'p': 1},
    'paper': {'preset': 'paper'},
    'half-fresh': {'fresh_fraction': 0.5, 'maps': True},
    'fresh': {'fresh_fraction': 1.0, 'maps': True},
    'fresh-noise': {'fresh_fraction': 1.0},
}
DEFAULT = 'cwf,residual,equivariant'


def data_set(args):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    models = rnap_models(args.data, cut_in=args.work)
    options = dict(model=models, count=(TRAINING + TEST) // STATES, box=args.box, pixel_size=FIELD / args.box,
                   split=[TRAINING, TEST], snr=0.1, snr_per='set', scale='unit', seed=1)  # fmt: skip
    name = f'data{args.box}'
    if args.grey == 'one':
        options['scale'] = 'none'
        name += 'grey'
    if args.ctf:
        options |= dict(ctf=True, shift_sd=1.0)
        name += 'ctf'
    if args.shift_sd:
        options |= dict(shift_sd=args.shift_sd)
        name += f'shift{args.shift_sd:g}'
    folder = args.work / name
    verb('simulate', folder, **options)
    return folder


def training_particles(args, data):
    """Table of the training particles: all, or without the state --withhold, or the first --pairs."""
    whole = data / 'noisy_1.star'
    if not part_of(args):
        return whole
    part = whole.with_name(f'noisy_1{part_of(args)}.star')
    table = ParticleTable.read(whole)
    kept = np.flatnonzero(table.ints('rlnClassNumber') != args.withhold)
    table.subset(kept[: args.pairs or None]).write(part)
    return part


def part_of(args):
    """What the names of files say of the pairs left out."""
    return (f'_without{args.withhold}' if args.withhold else '') + (f'_{args.pairs}pairs' if args.pairs else '')


def options_of(data, name):
    """Options of a cell; those with fresh projections get the five maps of the set."""
    options = dict(CELLS[name])
    if options.pop('maps', False):
        options['volume'] = sorted(data.glob('volume_?.mrc'))
    return options


def cell(args, data, name, seed):
    """Train and test one network, for --cpu seconds or (None) as long as its preset says; gives a row of the table and
    its curve [(CPU seconds, validation MSE)]."""
    folder = args.work / f'{data.name}_{"own" if args.cpu is None else f"{args.cpu:g}"}_{name}{part_of(args)}_{seed}'
    length = {} if args.cpu is None else {'minutes': args.cpu / 60}
    found = verb(
        'train', folder, particles=training_particles(args, data), references=data / 'clean_1.star', seed=seed,
        cross_fit='none', evaluations=args.evaluations, keep=1, **length, **options_of(data, name),
    )  # fmt: skip
    verb('denoise', folder / 'denoised', particles=data / 'noisy_2.star', model=folder / 'model')
    # Back to the references' grey values; the scores count their range as 1.
    card = json.loads((folder / 'model' / 'card.json').read_text())
    denoised = (images(folder / 'denoised' / 'denoised.star') - card['grey']['offset']) / card['grey']['gain']
    curve = [(float(r['seconds']), float(r['mse'])) for r in csv.DictReader((folder / 'metrics.csv').open())]
    row = dict(cell=name, seed=seed, iterations=found['iterations'], cpu_seconds=round(found['training_seconds']),
               parameters=found['generator_parameters'], validation=found['best']['mse'])  # fmt: skip
    return row | scores(denoised, data), curve


def scores(denoised, data):
    """Errors of the denoised test images, over all and by state."""
    found = image_metrics.compare(denoised, images(data / 'clean_2.star'), 1.0)
    state = ParticleTable.read(data / 'clean_2.star').ints('rlnClassNumber')
    means = {k: found[k].mean() for k in ('mse', 'mse_affine', 'ssim')}
    return means | {f'state{k}': found['mse'][state == k].mean() for k in range(1, STATES + 1)}


def covariance_wiener(args, data):
    """Row of the classical method to beat, on all images (it takes the covariance from them)."""
    folder = args.work / f'{data.name}_cwf'
    found = verb('filter', folder, particles=data / 'noisy.star', method='cwf')
    rows = np.arange(TRAINING, TRAINING + TEST)
    return dict(cell='cwf', seed=1, cpu_seconds=found['cpu_seconds'],
                **scores(images(folder / 'denoised.star', rows), data))  # fmt: skip


def show(row):
    """Print a row of the table."""
    print(' '.join(f'{k}={v:.5g}' if isinstance(v, float) else f'{k}={v}' for k, v in row.items()), flush=True)


def write(path, rows):
    """The rows as a table; a row may lack columns."""
    with path.open('w', newline='') as f:
        writer = csv.DictWriter(f, max(rows, key=len), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


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
    parser.add_argument('--evaluations', type=int, default=12, help='points of the curve')
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--box', type=int, default=64)
    parser.add_argument('--ctf', action='store_true', help='CTF, and shifts of 1 px (s.d.)')
    parser.add_argument('--shift-sd', type=float, default=0.0, help='shifts, px')
    parser.add_argument('--withhold', type=int, default=0, help='state (1 to 5) kept out of training')
    parser.add_argument('--pairs', type=int, default=0, help='train on that many pairs only (a tenth is validation)')
    parser.add_argument('--grey', choices=('image', 'one'), default='image', help='scale of the clean images: each to '
                        '[0, 1], or one for all')  # fmt: skip
    parser.add_argument('--cells', default=DEFAULT, help=f'some of: cwf, {", ".join(CELLS)}')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = data_set(args)
    stem = Path(__file__).parent / 'results' / f'blind_{data.name.removeprefix("data")}_{args.cpu:g}{part_of(args)}'
    rows, curves = [], {}
    for name in args.cells.split(','):
        for seed in range(1, args.seeds + 1):
            if name == 'cwf':
                row = covariance_wiener(args, data)
            else:
                row, curves[f'{name} {seed}'] = cell(args, data, name, seed)
            rows.append(row)
            show(row)
            write(stem.with_suffix('.csv'), rows)
            if name == 'cwf':
                break
    if curves:
        draw(stem.with_suffix('.png'), curves)


if __name__ == '__main__':
    main()
