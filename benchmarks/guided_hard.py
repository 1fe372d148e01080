"""Guided networks where it is harder: CTF, shifts and coloured noise; 128 px. One thread, resumable.

    python benchmarks/guided_hard.py --data ../shared/data --work WORK [--cells ctf box128] [--bank-size 16000]

Sets as in benchmarks/guided.py, of 1,500 particles for training and 150 test images. ctf: CTF, shifts of 1 px, coloured
noise, grey as projected. box128: 128 px of 1.55 A, white noise, each clean image in [0, 1]. Each is compared with its
limit, a larger bank (--limit-size) that knows gain, noise spectrum and shifts, without spread of contrast; with the
same that has to find the shifts, knowing how widely they are spread; and with the covariance Wiener filter that undoes
the CTF. Error: after an affine fit of each image, in parts of the variance of the
clean images.
Adds what it found to WORK/guided.json.
"""

import argparse
import time
from pathlib import Path

import guided as g
import numpy as np
import torch
from relion_refined import error

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context, MapPrior, Options
from cryoemgan.engine.posterior.posterior import Search
from cryoemgan.engine.posterior.sources import to_unit

LIMITED = 150  # test images that the limit is asked for
SETS = {
    'ctf': dict(ctf=True, clean_ctf='none', shift_sd=1.0, noise='coloured', count=330, split=[1500, 150]),
    'box128': dict(scale='unit', box=128, pixel_size=1.55, count=330, split=[1500, 150]),
}


def cell(args, name):
    """{method: error}, CPU seconds and ratios of a set."""
    data = g.simulated(args, f'{name}_{args.snr:g}', **SETS[name])
    truth = g.images(data / 'clean_2.star')[:LIMITED]
    folder, summary = g.trained(args, data, 'maps', **g.GUIDED, volume=g.volumes(data), bank_size=args.bank_size)
    guided, denoised, card = g.tested(folder, data)
    guide = next(iter(Model.load(folder / 'model').guides.values()))
    unit = SETS[name].get('scale') == 'unit'
    found = {
        'guided': error(guided[:LIMITED], truth),
        'cwf': error(_cwf(args, data)[:LIMITED], truth),
        **_limit(args, data, truth, unit, guide.options),
        'train_seconds': summary['cpu_seconds'],
        'ms_an_image': 1000 / denoised['images_per_second'],
        'search': vars(guide.search),
        'false_acceptance': card['noise_in']['false_acceptance'],
    }
    return found | {f'guided / {k}': found['guided'] / found[k] for k in found if k.startswith(('cwf', 'limit'))}


def _cwf(args, data):
    """The covariance Wiener filter, learnt from all noisy images, CTF undone."""
    folder = args.work / f'cwf_{data.name}'
    g.verb('filter', folder, method='cwf', ctf='none', particles=data / 'noisy.star')
    first = len(ParticleTable.read(data / 'noisy_1.star'))
    count = len(ParticleTable.read(data / 'noisy_2.star'))
    return g.images(folder / 'denoised.star', np.arange(first, first + count))


def _limit(args, data, truth, unit, options):
    """Errors of a larger bank with everything known that the data set did; and, where there are shifts, with all but
    those known, looked for as far as ``options`` say."""
    table, rows = ParticleTable.read(data / 'noisy_2.star'), np.arange(len(truth))
    noisy = g.images(data / 'noisy_2.star', rows)
    volumes, start = [torch.from_numpy(read_map(path).data) for path in g.volumes(data)], time.process_time()
    bank = TemplateLibrary.from_maps(volumes, args.limit_size, grey=to_unit if unit else None)
    context = Context.of(table, rows, truth.shape[-1])
    print(f'limit: {len(bank)} templates in {time.process_time() - start:.0f} CPU s', flush=True)
    guide = MapPrior(bank, 1.0, None, Search(candidates=384, survivors=256, contrast=0.01, temperature=1.0), Options())
    guide.spectrum = _noise(guide, noisy, truth, context)
    moves = torch.from_numpy(np.zeros((len(rows), 2)) if context.shifts is None else context.shifts).float()
    # Known shifts are undone, and done again to what is found: origins, as in RELION's tables.
    centred, blind = _moved(bank.plane, noisy, moves), Context(context.pixel_size, context.ctf)

    def shifts_known():
        return _moved(bank.plane, g.asked(guide, centred, blind, batch=20)[0], -moves)

    def shifts_sought():
        guide.options = Options(shift_range=options.shift_range, shift_sd=options.shift_sd)
        return g.asked(guide, noisy, blind, batch=20)[0]

    found = {'limit': _best(guide, shifts_known, truth)}
    if moves.any():
        found['limit, shifts sought'] = _best(guide, shifts_sought, truth)
    return found


def _best(guide, asked, truth):
    """Lowest error over two temperatures: chosen on the test images, as a limit may be."""
    errors = []
    for guide.search.temperature in (1.0, 1.5):
        errors.append(error(asked(), truth))
        print(f'limit, T {guide.search.temperature}: {errors[-1]:.5f}', flush=True)
    return min(errors)


def _moved(plane, images, moves):
    """Images float32[n, N, N] moved by float32[n, 2] px."""
    return plane.images(plane.vectors(torch.from_numpy(images)) * plane.ramps(moves)).numpy()


def _noise(guide, noisy, truth, context):
    """Spectrum of the noise itself: the particle less its truth with the CTF."""
    plane, guide.spectrum = guide.plane, torch.ones(guide.plane.radius + 1)
    y, t = (plane.vectors(torch.from_numpy(x)) for x in (noisy, truth))
    return guide.noise_spectrum((y - t * guide.ctf(context, len(noisy))).abs() ** 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--iterations', type=int, default=20)
    parser.add_argument('--snr', type=float, default=0.1)
    parser.add_argument('--bank-size', type=int, default=16000)
    parser.add_argument('--seed', type=int, default=1, help='of data, noise and weights')
    parser.add_argument('--limit-size', type=int, default=80000, help='templates of the limit')
    parser.add_argument('--cells', nargs='+', choices=SETS, default=tuple(SETS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.cells:
        g.record(args, name, cell(args, name))


if __name__ == '__main__':
    main()
