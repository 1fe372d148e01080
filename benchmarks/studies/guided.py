"""The guided network against CWF, a blind network and its own bank: five-state RNA polymerase, one thread, resumable.

    python -m benchmarks.studies.guided --data ../shared/data --work WORK [--cells NAME ...] [--iterations 3000]
                                [--snr 0.1] [--seed 1]

The set: 4XLN without its tail (beta' 159-452), five clamp states, 64 px of 3.1 A, each clean image in [0, 1], white
noise; 2,700 references for training and bank, 300 for validation, 300 test images that no network and no bank saw.
Every cell goes through the verbs a user has; finished cells are kept in WORK. Errors are mean squared errors of the
test images in the clean images' grey. Adds what it found to WORK/guided.json; the page is benchmarks/results/guided.md.

Cells: cwf; guided (the references are the bank); maps (the bank is of the maps, as after `project`); bank (posterior
mean alone, of the guide of ``guided``); limit (the same with ten times more templates); blind (the recommended network,
as many CPU seconds as guided); withheld (state 3 in no reference); contaminated (30 percent of the references are
noise, bank of the maps); junk (evidence and fit of noise and of three other molecules). Elsewhere: guided_hard.py (CTF,
128 px), guided_size.py (memory and time of large banks).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging import resample
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import resemblance
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context, MapPrior
from cryoemgan.engine.posterior.p_value import FLAG, SURE
from cryoemgan.engine.trust import negative_controls

from .common import STATES, images, rnap_models, verb

TRAINING, TEST, BOX, PIXEL = 3000, 300, 64, 3.1
GUIDED = dict(network='guided', cross_fit='none')
CELLS = ('cwf', 'guided', 'maps', 'bank', 'limit', 'junk', 'withheld', 'contaminated', 'blind')


def models(args):
    """Atomic models without the tail, which would reach out of the box."""
    return rnap_models(args.data, cut_in=args.work)


def simulated(args, name, **options):
    """Folder of noisy_1.star (training), noisy_2.star (test) and their clean partners."""
    folder = args.work / (name if args.seed == 1 else f'{name}_seed{args.seed}')
    common = dict(model=models(args), count=(TRAINING + TEST) // len(STATES), box=BOX, pixel_size=PIXEL,
                  split=[TRAINING, TEST], snr=args.snr, seed=args.seed)  # fmt: skip
    verb('simulate', folder, **{**common, **options})
    return folder


def data_set(args):
    return simulated(args, f'set{args.snr:g}', scale='unit')


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
                 evaluations=12, seed=args.seed)  # fmt: skip
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
    larger = MapPrior(
        TemplateLibrary.from_images(torch.cat(parts)), guide.gain, guide.spectrum, guide.search, guide.options
    )
    noisy, truth, context = images(data / 'noisy_2.star'), images(data / 'clean_2.star'), test_context(data)
    found = {}
    for temperature in (1.5, 2.5, 4.0):
        larger.search.temperature = temperature
        found[temperature] = error(asked(larger, noisy, context)[0], truth)
    # The best on the test images themselves: a limit may be favoured.
    return {'mse': min(found.values()), 'templates': len(larger.bank), 'by_temperature': found}


def junk(args, data):
    """What the model of ``maps`` says of test particles, noise, blobs and two deposited maps, with its noise: part
    that passes the model's threshold of evidence, parts flagged by fit, and how often a particle fits better."""
    folder, _ = trained(args, data, f'maps{args.bank_size}', **GUIDED, volume=volumes(data), bank_size=args.bank_size)
    model, context = Model.load(folder / 'model'), test_context(data)
    noisy, clean = images(data / 'noisy_2.star'), images(data / 'clean_2.star')
    noise, rng = negative_controls.NoiseModel(noisy, clean), np.random.default_rng(4)
    groups = {'particles': noisy, 'noise': noise.draw(TEST, rng)}
    others = {'blobs': negative_controls.foreign_projections(TEST, BOX, rng)}
    others |= {name: _projections(args.data / 'maps' / name) for name in ('emd_1883.map.mrc', 'emd_5625.map')}
    groups |= {k: negative_controls.like(v, clean) + noise.draw(TEST, rng) for k, v in others.items()}
    fits, found = {}, {}
    for name, particles in groups.items():
        opinions = [model.ask(part, context.part(slice(0, len(part)))) for part in np.array_split(particles, 6)]
        scores = np.concatenate([opinion.scores() for opinion in opinions])
        fits[name] = model.belonging('main').fit(scores[:, 0], scores[:, 4], scores[:, 3])
        found[name] = {
            'median_evidence': float(np.median(scores[:, 0])),
            'passes_evidence': float((scores[:, 0] > model.evidence_threshold('main')).mean()),
            'flagged_at_5_percent': float((fits[name] < FLAG).mean()),
            'flagged_at_1_percent': float((fits[name] < SURE).mean()),
            'particle_fits_better': float(resemblance.separation(fits['particles'], fits[name])),
        }
    return found


def _projections(path):
    """Random projections float32[TEST, BOX, BOX] of a map at the set's pixel size."""
    volume = read_map(path)
    plan = resample.plan_resampling(volume.box, volume.pixel_size, BOX, volume.box * volume.pixel_size / BOX)
    projector = FourierProjector(plan.apply(volume.data))
    return projector.project(random_matrices(TEST, 3), scale=PIXEL / plan.pixel_size).numpy()


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


def blind(args, data):
    """The recommended network for as many CPU seconds as ``maps`` took, as many iterations as that buys."""
    paths = dict(particles=data / 'noisy_1.star', references=data / 'clean_1.star', cross_fit='none')
    seconds = maps(args, data)['cpu_seconds']
    few, more = (
        verb('train', args.work / f'trial{n}_{data.name}', **paths, iterations=n, evaluations=1) for n in (5, 25)
    )
    step = (more['cpu_seconds'] - few['cpu_seconds']) / 20
    folder, summary = trained(args, data, 'blind', cross_fit='none', iterations=round(seconds / step))
    return scored(folder, data, summary)


def record(args, name, found):
    """Add what a cell found to WORK/guided.json, and print it."""
    path = args.work / 'guided.json'
    results = json.loads(path.read_text()) if path.exists() else {}
    results.setdefault(f'snr {args.snr:g}, {args.iterations} iterations, seed {args.seed}', {})[name] = found
    path.write_text(json.dumps(results, indent=1))
    print(name, json.dumps(found), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--iterations', type=int, default=3000)
    parser.add_argument('--snr', type=float, default=0.1)
    parser.add_argument('--bank-size', type=int, default=8000)
    parser.add_argument('--seed', type=int, default=1, help='of data, noise and weights')
    parser.add_argument('--cells', nargs='+', choices=CELLS, default=CELLS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    data = data_set(args)
    for name in args.cells:
        record(args, name, globals()[name](args, data))


if __name__ == '__main__':
    main()
