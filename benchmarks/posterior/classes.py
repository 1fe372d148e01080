"""Which of five states each particle shows: by the map prior, by the likelihood at known poses, by RELION."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from cryoemgan.engine.data.image_state import CtfState
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.shapes import Floats, Rows

from .. import datasets
from ..sorting.relion import DIAMETER, relion
from .prior import Asked

SETS, TEMPLATES = ('rnap5-ctf',), 16000
# Degrees to which the refinement's poses are trusted, 0 = not at all.
PRIORS = {'guided': None, 'guided-prior-3': 3.0}
# Words of RELION's classification, and the iterations that are looked at. From the second one on its maps are its own.
RELION: dict[str, tuple[list[object], tuple[int, ...]]] = {
    'skip-align': (['--skip_align', '--oversampling', 0], (1, 10)),
    'local-search': (
        ['--healpix_order', 4, '--sigma_ang', 1.5, '--offset_range', 2, '--offset_step', 1, '--oversampling', 1],
        (1, 2),
    ),
}


def measure(work: Path, name: str, seed: int, count: int) -> list[dict[str, Any]]:
    """Rows (a method each) for the first particles of a set."""
    data, rows = datasets.make(name, seed, work), np.arange(count)
    found, asked = [], None
    for method, pose_prior in PRIORS.items():
        asked = Asked(data, TEMPLATES, pose_prior)
        said, milliseconds = asked(rows)
        probabilities = np.concatenate([s.classes.numpy() for s in said]).astype(np.float64)
        found.append({'method': method, **_judged(asked.classes[rows], probabilities), 'ms': milliseconds})
    assert asked is not None
    for method, table in (('likelihood-true', asked.truth), ('likelihood-refined', asked.table)):
        found.append({'method': method, **_judged(asked.classes[rows], _likelihood(asked, table, rows))})
    folder = work / 'relion_classes' / f'{name}_{seed}'
    for search, (_, iterations) in RELION.items():
        for iteration in iterations:
            own = relion_classes(data, folder / search, search, iteration)[rows]
            truth = asked.classes[rows]
            found.append({
                'method': f'relion-{search}-{iteration}',
                'index': float(adjusted_rand_score(truth, own)), 'accuracy': float((own == truth).mean()),
            })  # fmt: skip
    return found


def _judged(truth: Rows, probabilities: Floats) -> dict[str, float]:
    """index: adjusted Rand index; accuracy: part whose class is right, and ``stated``, what the probabilities say of
    that; log_loss: mean of -log of the true class's probability."""
    best = probabilities.argmax(1)
    true = probabilities[np.arange(len(truth)), truth]
    return {
        'index': float(adjusted_rand_score(truth, best)), 'accuracy': float((best == truth).mean()),
        'stated': float(probabilities.max(1).mean()), 'log_loss': float(-np.log(np.maximum(true, 1e-6)).mean()),
    }  # fmt: skip


def _likelihood(asked: Asked, poses: ParticleTable, rows: Rows) -> Floats:
    """Probability float64[n, K] of each map from its projections at the poses of a table, under the noise that the set
    was made with."""
    images, ctf = torch.from_numpy(asked.images(rows)), {k: v[rows] for k, v in asked.table.ctf().items()}
    sd, logs = float(asked.truth.floats('cryoemganNoiseSd')[0]), []
    for k in range(int(asked.classes.max()) + 1):
        which = np.full(len(rows), k)
        shown = asked.model.images(
            poses.rotations()[rows], poses.shifts()[rows], which, ctf=ctf, mode=CtfState.FULL
        )  # fmt: skip
        gap = images - asked.prior.gain * shown
        # The grey level of an image says nothing.
        gap -= gap.mean((1, 2), keepdim=True)
        logs.append(-gap.double().square().sum((1, 2)) / (2 * sd**2))
    return torch.softmax(torch.stack(logs, 1), 1).numpy()


def relion_classes(data: datasets.Dataset, folder: Path, search: str, iteration: int) -> Rows:
    """int64[n]: the class, from 0, that RELION's 3D classification from the true maps gives each particle of a set in
    an iteration, by a search that RELION knows how far to go with."""
    words, iterations = RELION[search]
    table = ParticleTable.read(data.particles)
    if not (folder / f'run_it{iterations[-1]:03d}_data.star').exists():
        folder.mkdir(parents=True, exist_ok=True)
        maps = sorted(data.folder.glob('volume_*.mrc'))
        loop = '\ndata_\n\nloop_\n_rlnReferenceImage\n'
        (folder / 'maps.star').write_text(loop + ''.join(f'{path.resolve()}\n' for path in maps))
        own = table.subset(np.arange(len(table)))
        # Without the truth.
        own.set('rlnClassNumber', np.ones(len(table), int))
        own.write(folder / 'particles.star')
        relion(
            'relion_refine', folder, '--i', 'particles.star', '--o', './run', '--ref', 'maps.star', '--iter',
            iterations[-1], *words, '--ctf', '--ctf_corrected_ref', '--norm', '--scale', '--flatten_solvent',
            '--zero_mask', '--tau2_fudge', 4, '--pad', 2, '--j', 1, '--pool', 30, '--random_seed', 1,
            '--particle_diameter', DIAMETER * table.box * table.pixel_size, '--dont_combine_weights_via_disc',
        )  # fmt: skip
    found = ParticleTable.read(folder / f'run_it{iteration:03d}_data.star')
    mine, theirs = match(table, found)
    classes = np.zeros(len(table), int)
    classes[mine] = found.ints('rlnClassNumber')[theirs] - 1
    return classes
