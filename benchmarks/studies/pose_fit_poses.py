"""False alarms of the pose fit where the poses of right particles are wrong by a little, or a few of them by more.

    python -m benchmarks.studies.pose_fit_poses --work WORK --seed 1

2,000 images of the molecule of the map (64 px, CTF, coloured noise, contrast of 10 % s.d.); angles and shifts are wrong
by normal distributions; alone, in parts of 300, and with 840 images of junk of seven kinds
(``benchmarks.sorting.planted``). The map itself is projected. Prints the rows of
``benchmarks/results/pose_fit_poses.md``.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from sklearn.metrics import roc_auc_score

from benchmarks.sorting import planted
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.geometry import euler_to_matrix
from cryoemgan.engine.imaging.ctf import with_ctf
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.trust.pose_fit import FLAG, PairModel, pose_fit

OTHER = {'rnap': 'emd1252', 'emd5625': 'emd1883', 'emd1883': 'emd5625', 'emd2479': 'emd1252', 'emd1252': 'emd2479'}
SETS = [(molecule, snr) for molecule in OTHER for snr in (0.1, 0.03)]
# (s.d. of angles about each axis, degrees; of shifts, px; part of the particles whose angles are three times as wrong)
ERRORS = [(0.0, 0.0, 0.0), (1.0, 0.3, 0.0), (2.0, 0.3, 0.0), (4.0, 0.7, 0.0), (1.5, 0.3, 0.1)]
RIGHT, JUNK, PART = 2000, 120, 300
LOST = ('empty', 'edge', 'other', 'wrong-pose')


def poses(kinds, angles, shifts, errors, seed):
    """(matrices, shifts) as a refinement says them; of what has no right pose any."""
    rng, count = np.random.default_rng(seed + 7), len(kinds)
    sd = errors[0] * np.where(rng.random(count) < errors[2], 3.0, 1.0)
    turns = Rotation.from_rotvec(np.deg2rad(sd)[:, None] * rng.normal(size=(count, 3))).as_matrix()
    matrices, moved = turns @ euler_to_matrix(*angles.T), shifts + errors[1] * rng.normal(size=(count, 2))
    lost, away = np.isin(kinds, LOST), kinds == 'off-centre'
    matrices[lost] = Rotation.random(int(lost.sum()), random_state=seed).as_matrix()
    moved[away] = rng.normal(0, errors[1] + 0.5, (int(away.sum()), 2))
    return matrices.astype(np.float32), moved


def numbers(work, molecule, snr, errors, seed):
    """(kinds [n], numbers of the pose fit [n, 5])"""
    counts = {planted.MAJOR: RIGHT, planted.MINOR: 2, **dict.fromkeys(planted.JUNK, JUNK)}
    recipe = planted.Recipe(molecule, OTHER[molecule], 'judge', snr, counts=tuple(counts.items()))
    folder = work / f'{molecule}_{snr}_{seed}'
    planted.make(recipe, seed, folder)
    shown, table = planted.objects(recipe), ParticleTable.read(folder / 'start.star')
    with np.load(folder / 'truth.npz') as truth:
        kinds = truth['kinds']
        matrices, shifts = poses(kinds, truth['angles'], truth['shifts'], errors, seed)
    images, ctf = table.images().read(np.arange(len(table))), table.ctf()
    projector, references = FourierProjector(np.pad(shown.major, planted.BOX // 2)), np.empty_like(images)
    edge = slice(planted.BOX // 2, -planted.BOX // 2)
    for part in np.array_split(np.arange(len(table)), -(-len(table) // 100)):
        seen = projector.project(matrices[part], shifts[part]).numpy()
        references[part] = with_ctf(seen, shown.pixel_size, {k: v[part] for k, v in ctf.items()})[:, edge, edge]
    model = PairModel.of(references[::3], images[::3])
    return kinds, model.measure(references, images)


def row(work, molecule, snr, errors, seed):
    """Parts that are flagged: of right particles alone, of 300 of them, of right ones among junk, of junk; and the area
    under the ROC curve."""
    kinds, found = numbers(work, molecule, snr, errors, seed)
    right = kinds == planted.MAJOR
    parts = np.array_split(found[right], RIGHT // PART)
    every = pose_fit(found).p_values
    return [
        (pose_fit(found[right]).p_values < FLAG).mean(),
        np.mean([(pose_fit(x).p_values < FLAG).mean() for x in parts]),
        (every[right] < FLAG).mean(), (every[~right] < FLAG).mean(), roc_auc_score(right, every),
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    for molecule, snr in SETS:
        for errors in ERRORS:
            found = row(options.work, molecule, snr, errors, options.seed)
            said = f'{errors[0]:g}, {errors[1]:g}' + (', tails' if errors[2] else '')
            print(f'| {molecule}, {snr} | {said} | ' + ' | '.join(f'{x:.3f}' for x in found) + ' |', flush=True)


if __name__ == '__main__':
    main()
