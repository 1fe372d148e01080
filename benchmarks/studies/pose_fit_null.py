"""False alarms of the pose fit on single sets, and whether simulated controls would keep its limit better.

    python -m benchmarks.sorting run --work WORK
    python -m benchmarks.studies.pose_fit_null --work WORK

Parts of the major state that are flagged, and of those whose angles are within 15 degrees of the truth: with the null
that is learnt from the set (two normals), with its s.d., or mean and s.d., of shortage taken from simulated controls
(the set's own references, with contrast and noise of the measured spectrum, through the same measure), and with those
of the residual too.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.runner import RESULTS
from benchmarks.sorting import planted
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.geometry import euler_to_matrix
from cryoemgan.engine.imaging.rings import on_grid
from cryoemgan.engine.trust.mixtures import ExGaussian, right_ones, typical_among
from cryoemgan.engine.trust.pose_fit import CONTRAST, PairModel

NEAR, SAMPLE = 15.0, 3
LIMITS = (0.05, 0.01)


def numbers_of(folder):
    """(numbers of the pose fit of the particles, those of simulated controls, major state, those near their angles)"""
    table = ParticleTable.read(folder / 'relion' / 'refined.star')
    made = ParticleTable.read(folder / 'project' / 'references.star')
    mine, theirs = match(table, made)
    back = np.empty(len(table), int)
    back[mine] = theirs
    references, images = made.images().read(back), table.images().read(np.arange(len(table)))
    model = PairModel.of(references[::SAMPLE], images[::SAMPLE])
    real = model.measure(references, images)
    weights, rng, box = right_ones(real[:, 0])[1], np.random.default_rng(0), table.box
    white = np.fft.rfft2(rng.normal(size=images.shape))
    noise = np.fft.irfft2(white * np.sqrt(on_grid(model.noise, box)) / box, s=(box, box))
    contrast = (weights * real[:, 2]).sum() / weights.sum() * rng.normal(1, CONTRAST, len(images))
    simulated = model.measure(references, (model.gain * contrast[:, None, None] * references + noise).astype('f4'))
    with np.load(folder / 'set' / 'truth.npz') as truth:
        angles = truth['angles']
    errors = np.einsum('nij,nkj->nik', table.rotations(), euler_to_matrix(*angles.T))
    major = planted.kinds_of(folder / 'set') == planted.MAJOR
    return real, simulated, major, major & (np.rad2deg(Rotation.from_matrix(errors).magnitude()) < NEAR)


def flagged(folder):
    """{null: parts of the major state below each limit, and of those near their angles}"""
    real, simulated, major, near = numbers_of(folder)
    shortage, weights, _ = right_ones(real[:, 0])
    residual, _ = typical_among(real[:, 1], weights)
    mean, (sd, other) = float(simulated[:, 0].mean()), simulated[:, :2].std(0)
    nulls = {
        'learnt from the set': (shortage, residual),
        'simulated s.d.': (ExGaussian(shortage.mean, sd), residual),
        'simulated mean and s.d.': (ExGaussian(mean, sd), residual),
        'simulated s.d. of both': (ExGaussian(shortage.mean, sd), ExGaussian(residual.mean, other)),
    }
    found = {}
    for name, (first, second) in nulls.items():
        both = np.maximum(first.above(real[:, 0]) * second.above(real[:, 1]), 1e-300)
        values = both * (1 - np.log(both))
        found[name] = [float((values[rows] < limit).mean()) for rows in (major, near) for limit in LIMITS]
    return found


def main():
    """Measure all refined sets in a folder, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    work = parser.parse_args().work
    names = [f for recipe in planted.RECIPES for f in sorted(work.glob(f'{recipe}_*')) if (f / 'project').exists()]
    sets = {folder.name: flagged(folder) for folder in names}
    head, rule = '| | < 0.05 | < 0.01 | near, < 0.05 | near, < 0.01 |', '|---|---|---|---|---|'
    commands, about = __doc__.split('\n\n')[1:3]
    lines = ['# False alarms of the pose fit, by its null', '', commands, '', ' '.join(about.split()), '']
    lines += ['## Single sets, learnt from the set', '', head, rule]
    for name, nulls in sets.items():
        lines.append(f'| {name} | ' + ' | '.join(f'{x:.3f}' for x in nulls['learnt from the set']) + ' |')
    lines += ['', '## Least, mean and most of the sets', '', head, rule]
    for null in next(iter(sets.values())):
        values = np.array([nulls[null] for nulls in sets.values()])
        shown = (
            f'{low:.3f}, {mean:.3f}, {high:.3f}'
            for low, mean, high in zip(values.min(0), values.mean(0), values.max(0))
        )
        lines.append(f'| {null} | ' + ' | '.join(shown) + ' |')
    (RESULTS / 'pose_fit_null.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
