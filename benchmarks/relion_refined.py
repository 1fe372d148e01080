"""From RELION's refinement to denoised particles, against the best linear filter: one run, resumable.

    python benchmarks/relion_refined.py --data ../shared/data/relion_refined --work WORK [--iterations N]

Projects the refined map at RELION's angles, trains on 1,200 of the 1,500 particles (one thread), denoises the 300
that training never saw, and compares them with the noise-free truth, which is used for nothing else. The radial
Wiener filter is given the true cross-spectra of the very images it filters, the most favourable case. All numbers are
mean squared errors after a gain-and-offset fit of each image, as a fraction of the truth's variance.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.fft
from verbs import verb

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.stacks import Images
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics import image_metrics

TEST, SEED = 300, 0


def subset(table, rows, path):
    """Write the table of some particles; images stay where they are."""
    part = table.derive(path.name, rows=rows)
    split = [name.split('@') for name in part.strings('rlnImageOriginalName')]
    part.set('rlnImageName', [f'{index}@{(table.path.parent / stack).resolve()}' for index, stack in split])
    part.write(path)
    return ParticleTable.read(path)


def error(images, truth):
    """MSE after an affine fit of each image, as a fraction of the truth's variance."""
    return (
        image_metrics.compare(images, truth, 1.0)['mse_affine'].mean() / truth.var(axis=(1, 2), dtype=np.float64).mean()
    )


def best_radial_filter(noisy, truth):
    """Noisy images filtered by the radial function with the least squared error to the truth."""
    box = truth.shape[-1]
    y, t = (scipy.fft.rfft2(x - x.mean(axis=(1, 2), keepdims=True)) for x in (noisy, truth))
    radius = np.hypot(*np.meshgrid(scipy.fft.fftfreq(box), scipy.fft.rfftfreq(box), indexing='ij')) * box
    ring = np.minimum(radius.round().astype(int), box // 2).ravel()
    # A ring's columns 0 and N/2 count once, the others twice, as in the whole transform.
    weight = np.broadcast_to(np.where(np.isin(np.arange(box // 2 + 1), (0, box // 2)), 1, 2), y.shape[1:]).ravel()
    sums = [
        np.bincount(ring, (x * weight.reshape(y.shape[1:])).ravel())
        for x in ((np.conj(y) * t).real.sum(0), (np.abs(y) ** 2).sum(0))
    ]
    response = (sums[0] / sums[1])[ring].reshape(y.shape[1:])
    return scipy.fft.irfft2(response * y, s=(box, box)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--iterations', type=int, default=1000)
    parser.add_argument('--option', action='append', default=[], metavar='NAME=VALUE', help='further train options')
    given = parser.parse_args()
    work, data = given.work, given.data
    work.mkdir(parents=True, exist_ok=True)

    table = ParticleTable.read(data / 'run_data.star')
    order = np.random.default_rng(SEED).permutation(len(table))
    test = subset(table, np.sort(order[:TEST]), work / 'test.star')
    train = subset(table, np.sort(order[TEST:]), work / 'train.star')
    project = verb('project', work / 'project', particles=data / 'run_data.star', volume=data / 'run_class001.mrc')
    trained = verb(
        'train',
        work / 'train',
        particles=train.path,
        references=work / 'project' / 'references.star',
        iterations=given.iterations,
        # One network on all training particles; the measured ones are in no member.
        **{'cross_fit': 'none', **dict(o.split('=', 1) for o in given.option)},
    )
    denoised = verb('denoise', work / 'denoise', particles=test.path, model=work / 'train' / 'model')

    # The truth enters here, for measuring only.
    truth_table = ParticleTable.read(data / 'truth.star')
    rows, truth_rows = match(test, truth_table)
    stack = Images([data / 'truth_clean_ctf.mrcs'], np.zeros(len(truth_table), int), np.arange(len(truth_table)))
    truth, noisy = stack.read(truth_rows), test.images().read(rows)
    found = ParticleTable.read(work / 'denoise' / 'denoised.star')
    ours = found.images().read(match(test, found)[1])[rows]
    references = ParticleTable.read(work / 'project' / 'references.star')
    projected = references.images().read(match(test, references)[1])[rows]
    result = {
        'raw': error(noisy, truth),
        'best radial filter, true spectra': error(best_radial_filter(noisy, truth), truth),
        'denoised': error(ours, truth),
        'projection at the estimated angles': error(projected, truth),
    }
    for name, value in result.items():
        print(f'{name:36s} {value:.3f}')
    print(f'denoised / best radial filter: {result["denoised"] / result["best radial filter, true spectra"]:.3f}')
    print(
        f'CPU seconds: project {project["cpu_seconds"]:.0f}, train {trained["cpu_seconds"]:.0f} '
        f'({trained["iterations"]} iterations, {trained["precision"]}), denoise {denoised["cpu_seconds"]:.0f}'
    )
    print(f'best validation MSE {trained["best"]["mse"]:.3e} at iteration {trained["best"]["iteration"]}')


if __name__ == '__main__':
    main()
