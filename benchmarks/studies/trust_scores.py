"""Which score tells good denoised particles from bad ones, and where to cut: on RELION's refinement of 1,500 particles.

    python -m benchmarks.studies.without_references --data ../shared/data --work WORK --cells "relion references"
    python -m benchmarks.studies.trust_scores --data ../shared/data --work WORK

Cut: error of the output against the references (what a user has), then against the truth, at several limits of the FRC.
Scores: rank correlation (Spearman) with the true error of a particle, 1 - NCC^2 with its noise-free image, on a sample
of particles denoised by the network that never saw them. The noise-free images are used for measuring only.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.maps import lowpass
from cryoemgan.engine.imaging.rings import frequencies
from cryoemgan.engine.inference import uncertainty
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.routing import route
from cryoemgan.engine.metrics.frc import resolution, ring_correlation
from cryoemgan.engine.metrics.resemblance import own, ring_covariance
from cryoemgan.engine.training import augmentation

from .common import verb
from .without_references import rows_of

HALF = 'run_half{}_class001_unfil.mrc'


def turned_back(model, member, particles, code):
    """Output for particles in one of the 8 quarter turns and mirrors, moved back."""
    import torch

    inverse = next(c for c in range(8) if _undoes(c, code))
    moved = augmentation.turn(torch.from_numpy(particles), code).numpy()
    return augmentation.turn(torch.from_numpy(model.denoise(moved, member)), inverse).numpy()


def _undoes(other, code):
    import torch

    probe = torch.arange(64.0).view(1, 8, 8)
    return torch.equal(augmentation.turn(augmentation.turn(probe, code), other), probe)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--sample', type=int, default=500)
    given = parser.parse_args()
    data = given.data / 'relion_refined'
    table, true = ParticleTable.read(data / 'run_data.star'), ParticleTable.read(data / 'truth.star')
    model = Model.load(given.work / 'relion references' / 'train' / 'model')
    rows, others = match(table, true)
    stack = StackReader([data / 'truth_clean_ctf.mrcs'], np.zeros(len(true), int), np.arange(len(true)))
    truth = np.empty((len(table), table.box, table.box), np.float32)
    truth[rows] = stack.read(others)
    # Half maps exchanged: references from the map that holds nothing of the particle.
    verb('project', given.work / 'swapped', particles=data / 'run_data.star', half1=data / HALF.format(2),
         half2=data / HALF.format(1))  # fmt: skip
    references = rows_of(ParticleTable.read(given.work / 'refs' / 'references.star'), table)
    swapped = rows_of(ParticleTable.read(given.work / 'swapped' / 'references.star'), table)
    references = model.card['grey']['gain'] * references + model.card['grey']['offset']
    chosen = np.linspace(0, len(table) - 1, given.sample).round().astype(int)
    particles, truth, references = table.images().read(chosen), truth[chosen], references[chosen]
    routing = route(model, table)
    weights = routing.weights[chosen]
    parts = np.array_split(np.arange(len(chosen)), len(chosen) // 50)
    answers = np.concatenate([uncertainty.answers(model, particles[p]) for p in parts], axis=1)
    output = np.einsum('nm,mnyx->nyx', weights, answers)
    cuts(output, references, swapped[chosen], truth, particles, table)
    scores(model, table, chosen, particles, output, answers, weights, truth)


def cuts(output, references, swapped, truth, particles, table):
    """Print FRC by ring, and errors at each cut."""
    pixel, box = table.pixel_size, table.box
    # The grey scale of the truth file is another one.
    gain = ring_covariance(truth, particles).sum() / ring_covariance(truth, truth).sum()
    truth = gain * truth
    curves = {
        'raw/reference': (particles, references),
        'raw/ref. swapped': (particles, swapped),
        'raw/truth': (particles, truth),
        'output/reference': (output, references),
        'output/truth': (output, truth),
        'reference/truth': (references, truth),
    }
    found = {k: ring_correlation(*pair).mean(0) for k, pair in curves.items()}
    slope = {k: ring_covariance(output, x) / np.maximum(ring_covariance(output, output), 1e-30)
             for k, x in (('reference', references), ('truth', truth))}  # fmt: skip
    print('A     ', *(f'{k:>17}' for k in found), 'slope of reference, of truth on output')
    for r in range(4, box // 2 + 1, 2):
        print(f'{1 / frequencies(box, pixel)[r]:5.1f} ', *(f'{v[r]:17.3f}' for v in found.values()),
              f'{slope["reference"][r]:10.2f} {slope["truth"][r]:10.2f}')  # fmt: skip
    for limit in (0.5, 0.3, 0.143, None):
        where = resolution(found['output/reference'], limit, pixel, box) if limit else 2 * pixel
        images = lowpass(output, pixel, where, axes=(-2, -1)) if where > 2 * pixel else output
        errors = [
            ring_covariance(images - x, images - x).sum() / ring_covariance(x, x).sum() for x in (references, truth)
        ]
        print(f'cut at FRC {limit}: {where:.1f} A, error against references {errors[0]:.4f}, truth {errors[1]:.4f}')


def scores(model, table, chosen, particles, output, answers, weights, truth):
    """Print the rank correlation of every score with the true error."""
    ncc = own(output, truth)
    error = 1 - ncc**2
    absolute = (output - output.mean((1, 2), keepdims=True)).std((1, 2)) * np.sqrt(error)
    spread = uncertainty.spread(answers)
    size, sd = np.sqrt(np.square(spread).mean((1, 2))), output.std((1, 2))
    turned = np.zeros((4, *output.shape), np.float32)
    for k, code in enumerate((0, 3, 5, 6)):
        for m, member in enumerate(model.members):
            mine = np.flatnonzero(weights[:, m])
            for part in np.array_split(mine, max(1, len(mine) // 50)):
                turned[k, part] += weights[part, m, None, None] * turned_back(model, member, particles[part], code)
    turn = np.sqrt(np.square(uncertainty.spread(turned)).mean((1, 2)))
    residual = (particles - output) - (particles - output).mean((1, 2), keepdims=True)
    noise = residual.std((1, 2))
    fit = np.einsum('nij,nij->n', particles, output - output.mean((1, 2), keepdims=True)) / (
        noise * output.shape[-1] * sd
    )
    defocus = table.floats('rlnDefocusU')[chosen]
    tried = {
        'disagreement of the members / contrast (in force)': size / sd,
        'disagreement of the members': size,
        'contrast of the output, falling': -sd,
        'disagreement under 4 turns / contrast': turn / sd,
        'members and turns together / contrast': np.sqrt(size**2 + turn**2) / sd,
        'agreement of particle and output, falling': -fit,
        'members / contrast and agreement (mean rank)': ranks(size / sd) - ranks(fit),
        'members, turns / contrast and agreement (mean rank)': ranks(size / sd) + ranks(turn / sd) - ranks(fit),
        'members / contrast^2': size / sd**2,
        'defocus, falling': -defocus,
    }
    print(f'Spearman with the true error 1 - NCC^2 (and with the absolute error), {len(chosen)} particles')
    for name, score in tried.items():
        print(f'{name:55} {spearmanr(score, error)[0]:6.2f} {spearmanr(score, absolute)[0]:6.2f}')


def ranks(values):
    return np.argsort(np.argsort(values))


if __name__ == '__main__':
    main()
