"""The guided network against CWF, a blind network and its own bank: five-state RNA polymerase, one thread, resumable.

    python benchmarks/guided.py --data ../shared/data --work WORK [--cells NAME ...] [--iterations 3000] [--snr 0.1]

The set: 4XLN without its tail (beta' 159-452), five clamp states, 64 px of 3.1 A, each clean image in [0, 1], white
noise; 2,700 references for training and bank, 300 for validation, 300 test images that no network and no bank saw.
Every cell goes through the verbs a user has; finished cells are kept in WORK. Errors are mean squared errors of the
test images in the clean images' grey. Adds what it found to WORK/guided.json; the page is benchmarks/results/guided.md.

Cells: cwf; bank (posterior mean alone, of the trained model's guide); limit (the same with ten times more
references); guided; blind (--network equivariant, as many CPU seconds as guided); withheld (state 3 in no reference);
contaminated (30 percent of the references are noise); junk (which evidence noise and another molecule have); ctf (CTF,
shifts of 1 px, coloured noise, grey as projected, bank from the maps); speed (ms a particle against the bank's size).
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from verbs import verb

from cryoemgan.engine.auditing import probes
from cryoemgan.engine.bank import Bank
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.guide import Context, Guide
from cryoemgan.engine.maps import read_map
from cryoemgan.engine.model import Model
from cryoemgan.engine.projection import FourierProjector
from cryoemgan.engine.table import ParticleTable

STATES = ('00', '05', '10', '15', '20')
TRAINING, TEST, BOX, PIXEL = 3000, 300, 64, 3.1
TAIL = range(159, 453)
GUIDED = dict(network='guided', cross_fit='none')
CELLS = ('cwf', 'guided', 'maps', 'bank', 'limit', 'junk', 'withheld', 'contaminated', 'ctf', 'blind', 'speed')


def models(args):
    """Atomic models without the tail, which would reach out of the box."""
    folder = args.work / 'models'
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for state in STATES:
        path = folder / f'open{state}.pdb'
        paths.append(path)
        if not path.exists():
            with gzip.open(args.data / 'rnap_4xln' / f'rnap_4xln_clamp_open{state}.pdb.gz', 'rt') as f:
                kept = [x for x in f if not (x.startswith('ATOM') and x[21] == 'D' and int(x[22:26]) in TAIL)]
            path.write_text(''.join(kept))
    return paths


def simulated(args, name, **options):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    folder = args.work / name
    common = dict(model=models(args), count=(TRAINING + TEST) // len(STATES), box=BOX, pixel_size=PIXEL,
                  split=[TRAINING, TEST], snr=args.snr, seed=1)  # fmt: skip
    verb('simulate', folder, **{**common, **options})
    return folder


def data_set(args):
    return simulated(args, f'set{args.snr:g}', scale='unit')


def images(table, rows=None):
    """float32[n, N, N] of the rows of a STAR file."""
    table = ParticleTable.read(table)
    return table.images().read(np.arange(len(table)) if rows is None else rows)


def error(found, truth):
    return float(np.square(found - truth, dtype=np.float64).mean())


def to_references(model, denoised):
    """Denoised images in the grey of the clean ones."""
    grey = model.card['grey']
    return (denoised - grey['offset']) / grey['gain']


def cwf(args, data):
    found = verb('filter', args.work / f'cwf_{data.name}', method='cwf', particles=data / 'noisy.star')
    rows = np.arange(TRAINING, TRAINING + TEST)
    return {
        'mse': error(images(args.work / f'cwf_{data.name}' / 'denoised.star', rows), images(data / 'clean_2.star')),
        'cpu_seconds': found['cpu_seconds'],
    }


def trained(args, data, name, **options):
    """(folder, summary) of a training on a set."""
    folder = args.work / f'{name}_{data.name}_{args.iterations}'
    given = dict(particles=data / 'noisy_1.star', references=data / 'clean_1.star', iterations=args.iterations,
                 evaluations=12)  # fmt: skip
    return folder, verb('train', folder, **{**given, **options})


def tested(folder, data):
    """(denoised images in the clean images' grey, summary of denoise, card) of a training on the test images."""
    found = verb('denoise', folder / 'denoised', particles=data / 'noisy_2.star', model=folder / 'model', cut='none')
    model = Model.load(folder / 'model')
    return to_references(model, images(folder / 'denoised' / 'denoised.star')), found, model.card


def scored(folder, data, summary):
    """What a cell of a training says."""
    found, denoised, card = tested(folder, data)
    return {
        'mse': error(found, images(data / 'clean_2.star')),
        'cpu_seconds': summary['cpu_seconds'],
        'ms_an_image': 1000 / denoised['images_per_second'],
        'noise_in': card.get('noise_in'),
        'uncertainty': card.get('uncertainty'),
    }


def guided(args, data):
    folder, summary = trained(args, data, 'guided', **GUIDED)
    return scored(folder, data, summary)


def maps(args, data):
    """As ``guided``, with a bank from the maps, scaled like the references, instead of the references themselves."""
    folder, summary = trained(
        args, data, f'maps{args.bank_size}', **GUIDED, volume=volumes(data), bank_size=args.bank_size
    )
    search = next(iter(Model.load(folder / 'model').guides.values())).search
    return {'templates': args.bank_size, 'search': vars(search), **scored(folder, data, summary)}


def volumes(data):
    """Paths of the maps of a simulated set."""
    return [data / f'volume_{k}.mrc' for k in range(1, len(STATES) + 1)]


def asked(guide, noisy, context, batch=50):
    """Posterior means float32[n, N, N], evidence [n] and misfit [n]."""
    means, scores = [], []
    for start in range(0, len(noisy), batch):
        rows = slice(start, start + batch)
        opinion = guide(torch.from_numpy(noisy[rows]), context.part(rows))
        means.append(opinion.mean)
        scores.append(opinion.scores())
    scores = np.concatenate(scores)
    return torch.cat(means).numpy(), scores[:, 0], scores[:, 3]


def guide_of(args, data, name='guided', **options):
    """The guide of a trained model."""
    folder, _ = trained(args, data, name, **{**GUIDED, **options})
    return next(iter(Model.load(folder / 'model').guides.values()))


def test_context(data):
    table = ParticleTable.read(data / 'noisy_2.star')
    return Context.of(table, np.arange(len(table)), BOX)


def bank(args, data):
    guide, start = guide_of(args, data), time.process_time()
    means, *_ = asked(guide, images(data / 'noisy_2.star'), test_context(data))
    seconds = time.process_time() - start
    return {'mse': error(means, images(data / 'clean_2.star')), 'templates': len(guide.bank),
            'temperature': guide.search.temperature, 'ms_a_particle': 1000 * seconds / TEST}  # fmt: skip


def limit(args, data):
    """The bank with ten times more references, at random poses, of the same grey; the guide's own noise and gain."""
    guide, count = guide_of(args, data), 10 * len(guide_of(args, data).bank) // len(STATES)
    parts = []
    for k in range(1, len(STATES) + 1):
        projector = FourierProjector(read_map(data / f'volume_{k}.mrc').data)
        for rows in np.array_split(random_matrices(count, 100 + k), count // 200):
            x = projector.project(rows)
            low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
            parts.append((x - low) / (high - low))
    larger = Guide(Bank.from_images(torch.cat(parts)), guide.gain, guide.spectrum, guide.search, guide.options)
    noisy, truth, context = images(data / 'noisy_2.star'), images(data / 'clean_2.star'), test_context(data)
    found = {}
    for temperature in (1.5, 2.5, 4.0):
        larger.search.temperature = temperature
        found[temperature] = error(asked(larger, noisy, context)[0], truth)
    # The best on the test images themselves: a limit may be favoured.
    return {'mse': min(found.values()), 'templates': len(larger.bank), 'by_temperature': found}


def junk(args, data):
    """Acceptance at the model's threshold: test particles, noise, another molecule; and how well evidence sorts."""
    guide, context = guide_of(args, data), test_context(data)
    noisy, clean = images(data / 'noisy_2.star'), images(data / 'clean_2.star')
    noise = probes.NoiseModel(noisy - guide.gain * clean).draw(TEST, np.random.default_rng(3))
    rng = np.random.default_rng(4)
    foreign = probes.like(probes.foreign_projections(TEST, BOX, rng), clean)
    groups = {'particles': noisy, 'noise': noise, 'another molecule': guide.gain * foreign + noise[::-1]}
    scores = {k: asked(guide, np.ascontiguousarray(v, np.float32), context)[1:] for k, v in groups.items()}
    own = scores['particles']
    limit95, most = np.quantile(own[0], 0.05), np.quantile(own[1], 0.95)
    return {
        name: {
            'median_evidence': float(np.median(evidence)),
            'accepted_at_model_threshold': float((evidence > guide.threshold['evidence']).mean()),
            'accepted_at_95_percent': float((evidence > limit95).mean()),
            'particle_has_more': float((own[0][:, None] > evidence).mean()),
            'median_misfit': float(np.median(misfit)),
            'misfit_beyond_95_percent': float((misfit > most).mean()),
            'has_more_misfit': float((misfit[:, None] > own[1]).mean()),
        }
        for name, (evidence, misfit) in scores.items()
    }


def subset(table, kept, path):
    """The rows of a table where ``kept`` as a table of its own."""
    part = table.derive(path.name, rows=np.flatnonzero(kept))
    split = [name.split('@') for name in np.array(table.strings('rlnImageName'))[kept]]
    part.set('rlnImageName', [f'{index}@{(table.path.parent / stack).resolve()}' for index, stack in split])
    part.set('rlnImageOriginalName', list(np.array(table.names())[kept]))
    part.write(path)
    return path


def withheld(args, data):
    """State 3 in no reference: its test images against the others."""
    paths = {}
    for kind in ('noisy', 'clean'):
        table = ParticleTable.read(data / f'{kind}_1.star')
        path = args.work / f'withheld_{kind}_{data.name}.star'
        paths[kind] = path if path.exists() else subset(table, table.ints('rlnClassNumber') != 3, path)
    folder, summary = trained(args, data, 'withheld', **GUIDED, particles=paths['noisy'], references=paths['clean'])
    found, _, _ = tested(folder, data)
    truth, state = images(data / 'clean_2.star'), ParticleTable.read(data / 'noisy_2.star').ints('rlnClassNumber')
    errors = {int(k): error(found[state == k], truth[state == k]) for k in np.unique(state)}
    others = float(np.mean([v for k, v in errors.items() if k != 3]))
    return {'mse_by_state': errors, 'withheld_over_others': errors[3] / others, 'cpu_seconds': summary['cpu_seconds']}


def contaminated(args, data):
    """Against ``maps`` with the same number of iterations."""
    options = dict(contaminate='references', contaminate_fraction=0.3, volume=volumes(data), bank_size=args.bank_size)
    folder, summary = trained(args, data, 'contaminated', **GUIDED, **options)
    folder_l1, summary_l1 = trained(args, data, 'contaminated_l1', **GUIDED, **options, p=1)
    return {'l2': scored(folder, data, summary), 'l1': scored(folder_l1, data, summary_l1)}


def ctf(args, data):
    """CTF, shifts, coloured noise: affine error over the variance of the clean images, CWF and guided."""
    data = simulated(args, f'ctf{args.snr:g}', ctf=True, shift_sd=1.0, noise='coloured')
    volumes = [data / f'volume_{k}.mrc' for k in range(1, len(STATES) + 1)]
    folder, summary = trained(args, data, 'guided', **GUIDED, volume=volumes)
    found = scored(folder, data, summary)
    guide = next(iter(Model.load(folder / 'model').guides.values()))
    means, *_ = asked(guide, images(data / 'noisy_2.star'), test_context(data))
    truth = images(data / 'clean_2.star')
    variance = float(truth.var((1, 2)).mean())
    return {'guided': found['mse'] / variance, 'bank': error(means, truth) / variance,
            'cwf': cwf(args, data)['mse'] / variance, 'cpu_seconds': summary['cpu_seconds'],
            'noise_in': found['noise_in']}  # fmt: skip


def blind(args, data):
    """`equivariant` for as many CPU seconds as ``guided`` took, as many iterations as that buys."""
    options = dict(network='equivariant', cross_fit='none', p=2, batch_size=160, learning_rate_generator=1e-3,
                   noise_curriculum=0.45, shift=0, exchange_noise=1.0)  # fmt: skip
    paths = dict(particles=data / 'noisy_1.star', references=data / 'clean_1.star')
    seconds = guided(args, data)['cpu_seconds']
    few, more = (
        verb('train', args.work / f'trial{n}_{data.name}', **paths, **options, iterations=n, evaluations=1)
        for n in (5, 25)
    )
    step = (more['cpu_seconds'] - few['cpu_seconds']) / 20
    folder, summary = trained(args, data, 'blind', **options, iterations=round(seconds / step))
    return scored(folder, data, summary)


def speed(args, data):
    """ms a particle of the search, of banks of several sizes, without and with shifts (4 px)."""
    volumes = [torch.from_numpy(read_map(data / f'volume_{k}.mrc').data) for k in range(1, len(STATES) + 1)]
    noisy, guide, found = images(data / 'noisy_2.star')[:60], guide_of(args, data), {}
    for size in (1000, 4000, 16000):
        for reach in (0.0, 4.0):
            other = Guide(Bank.from_maps(volumes, size), guide.gain, guide.spectrum, guide.search)
            other.options.shift_range, other.options.shift_sd = reach, 1.5 if reach else 0.0
            asked(other, noisy[:10], test_context(data))
            start = time.process_time()
            asked(other, noisy, test_context(data))
            found[f'{size} templates, shifts {reach:g} px'] = 1000 * (time.process_time() - start) / len(noisy)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--iterations', type=int, default=3000)
    parser.add_argument('--snr', type=float, default=0.1)
    parser.add_argument('--bank-size', type=int, default=8000)
    parser.add_argument('--cells', nargs='+', choices=CELLS, default=CELLS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    data, path = data_set(args), args.work / 'guided.json'
    for name in args.cells:
        found = globals()[name](args, data)
        results = json.loads(path.read_text()) if path.exists() else {}
        results.setdefault(f'snr {args.snr:g}, {args.iterations} iterations', {})[name] = found
        path.write_text(json.dumps(results, indent=1))
        print(name, json.dumps(found), flush=True)


if __name__ == '__main__':
    main()
