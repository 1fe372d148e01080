"""Training without references against training with them and the classical filters, on images whose truth is known.

    python -m benchmarks.studies.without_references --data ../shared/data --work WORK [--cpu 75] [--cells NAME ...]

rnap: five-state RNA polymerase, 64 px, white noise, SNR 0.1, no CTF: 3,000 particles to learn from, 300 test images.
relion: RELION's refinement of 1,500 particles (CTF, SNR 0.1): cross-fitted by half sets, every particle denoised by the
network that never saw it. One thread, ``--cpu`` seconds of process time for training (of all members together). Errors
are mean squared, after an affine fit of each image, as a part of the truth's variance; a finished cell is kept.
"""

import argparse
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.data.table import ParticleTable

from ..score import error
from .common import rnap_models, verb

RNAP = {
    'references': dict(references='clean_1.star'),
    'self 0.1': dict(target='self', hidden_pixels=0.1),
    'self 0.25': dict(target='self', hidden_pixels=0.25),
    'self 0.5': dict(target='self', hidden_pixels=0.5),
    'copies': dict(target='copies'),
}
RELION = {'relion references': {}, 'relion self 0.25': dict(target='self', hidden_pixels=0.25),
          'relion self 0.5': dict(target='self', hidden_pixels=0.5)}  # fmt: skip
FILTERS = ('wiener', 'cwf')


def rows_of(table, like):
    """Images of ``table`` in the order of ``like``."""
    mine, theirs = match(like, table)
    images = np.empty((len(like), table.box, table.box), np.float32)
    images[mine] = table.images().read(theirs)
    return images


def half_exposures(folder):
    """Two copies of the training particles with twice the noise, whose mean is as noisy as the particles."""
    noisy, clean = (ParticleTable.read(folder / f'{k}_1.star') for k in ('noisy', 'clean'))
    y, x = (t.images().read(np.arange(len(noisy))) for t in (noisy, clean))
    extra = np.random.default_rng(5).normal(scale=(y - x).std(), size=y.shape).astype(np.float32)
    for name, images in (('first', y + extra), ('second', y - extra)):
        with StackWriter(folder / f'{name}.mrcs', len(y), y.shape[-1], noisy.pixel_size) as stack:
            stack.append(images)
        names, table = noisy.names(), noisy.derive(f'{name}.mrcs')
        table.set('rlnImageOriginalName', names)
        table.write(folder / f'{name}.star')


def rnap(given, name):
    """(error, CPU seconds, what training says of itself) of a cell of the RNAP set."""
    data = given.work / 'rnap'
    verb('simulate', data, model=rnap_models(given.data), count=660, box=64, pixel_size=4.5, split=[3000, 300],
         snr=0.1, scale='unit', seed=1)  # fmt: skip
    test, truth = (ParticleTable.read(data / f'{k}_2.star') for k in ('noisy', 'clean'))
    truth = truth.images().read(np.arange(len(truth)))
    folder = given.work / name
    if name in FILTERS:
        cpu = verb('filter', folder, particles=data / 'noisy.star', method=name)['cpu_seconds']
        found = rows_of(ParticleTable.read(folder / 'denoised.star'), test)
        return error(found, truth), cpu, ''
    if name == 'copies' and not (data / 'second.star').exists():
        half_exposures(data)
    options = {k: data / v if k == 'references' else v for k, v in RNAP[name].items()}
    particles = data / ('first.star' if name == 'copies' else 'noisy_1.star')
    if name == 'copies':
        options['copies'] = data / 'second.star'
    trained = verb('train', folder / 'train', particles=particles, minutes=given.cpu / 60, evaluations=6,
                   cross_fit='none', **options)  # fmt: skip
    verb('denoise', folder / 'denoise', particles=data / 'noisy_2.star', model=folder / 'train' / 'model')
    found = rows_of(ParticleTable.read(folder / 'denoise' / 'denoised.star'), test)
    return error(found, truth), trained['training_seconds'], said(trained)


def relion(given, name):
    """The same of a cell of RELION's refinement."""
    data, folder = given.data / 'relion_refined', given.work / name
    table, true = ParticleTable.read(data / 'run_data.star'), ParticleTable.read(data / 'truth.star')
    stack = StackReader([data / 'truth_clean_ctf.mrcs'], np.zeros(len(true), int), np.arange(len(true)))
    rows, others = match(table, true)
    truth = np.empty((len(table), 64, 64), np.float32)
    truth[rows] = stack.read(others)
    options = dict(RELION[name])
    if 'target' not in options:
        verb('project', given.work / 'refs', particles=data / 'run_data.star',
             half1=data / 'run_half1_class001_unfil.mrc', half2=data / 'run_half2_class001_unfil.mrc')  # fmt: skip
        options['references'] = given.work / 'refs' / 'references.star'
    trained = verb('train', folder / 'train', particles=data / 'run_data.star', minutes=given.cpu / 60, evaluations=6,
                   **options)  # fmt: skip
    verb('denoise', folder / 'denoise', particles=data / 'run_data.star', model=folder / 'train' / 'model')
    found = rows_of(ParticleTable.read(folder / 'denoise' / 'denoised.star'), table)
    return error(found, truth), trained['training_seconds'], said(trained)


def said(trained):
    """What the run says of itself."""
    cut = trained['resolution']['cut']
    return f'says error {trained["shown"]["error"]:.3f}, cut {cut:.1f} A' if cut else 'no cut'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=75)
    parser.add_argument('--cells', nargs='*', default=[*RNAP, *FILTERS, *RELION])
    given = parser.parse_args()
    for name in given.cells:
        found, cpu, more = (relion if name in RELION else rnap)(given, name)
        print(f'{name:20} error {found:.3f}   {cpu:4.0f} CPU s   {more}', flush=True)


if __name__ == '__main__':
    main()
