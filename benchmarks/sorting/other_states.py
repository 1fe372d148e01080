"""Whether ``project`` finds another state that a part of the particles shows, and finds none where there is none.

Larger sets than those that RELION refines here, since many particles must agree: their poses are wrong as those of
the major state of a measured set were (``run`` first), drawn by lot, and their half maps are reconstructed by RELION at
these poses. What else the sets hold is junk, at any angles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from sklearn.metrics import roc_auc_score

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.scores import BY_NAME
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.geometry import euler_to_matrix, matrix_to_euler
from cryoemgan.engine.imaging.maps import lowpass, read_map, write_map
from cryoemgan.engine.imaging.rings import frequencies, ring_index
from cryoemgan.engine.shapes import Floats, Volume

from ..clocks import command
from ..runner import provenance
from . import planted, relion

LOST = ('empty', 'edge', 'other', 'wrong-pose')  # kinds that have no right pose
JUNK_SHARE = 0.1
COARSE = 12  # rings in which differences are compared


@dataclass(frozen=True)
class Recipe:
    """base: name of the recipe whose molecule, SNR and errors of poses it has; particles: of the molecule; share: of
    them in the minor state; blur: A^2, B-factor by which the half maps are wrong."""

    base: str
    particles: int
    share: float
    blur: float = 0.0


SETS = {
    'none-rnap-0.1': Recipe('rnap-0.1', 3000, 0),
    'none-rnap-0.05': Recipe('rnap-0.05', 3000, 0),
    'none-emd2479-0.05': Recipe('emd2479-0.05', 3000, 0),
    'none-blurred': Recipe('rnap-0.1', 3000, 0, blur=600.0),
    'none-sharpened': Recipe('emd2479-0.05', 3000, 0, blur=-300.0),
    'tenth-rnap-0.1': Recipe('rnap-0.1', 6000, 0.1),
    'twentieth-rnap-0.1': Recipe('rnap-0.1', 6000, 0.05),
    'tenth-rnap-0.05': Recipe('rnap-0.05', 12000, 0.1),
    'tenth-emd2479-0.05': Recipe('emd2479-0.05', 3000, 0.1),
}


def measure(work: Path, name: str, seed: int, finished: bool = False) -> list[dict[str, Any]]:
    """One row of a set and a seed, kept in rows.json of its folder; none where nothing is to be computed."""
    folder = work / f'{name}_{seed}'
    kept = folder / 'rows.json'
    if not kept.exists():
        if finished:
            return []
        recipe = SETS[name]
        _make(recipe, seed, work, folder)
        halves = {f'half{k}': folder / 'relion' / f'half{k}.mrc' for k in (1, 2)}
        command('project', folder / 'project', particles=folder / 'relion' / 'refined.star', **halves)
        write_json(kept, {'rows': [{
            'set': name, 'use': planted.RECIPES[recipe.base].use, 'seed': seed, **_found(folder), **provenance(),
        }]})  # fmt: skip
    found: list[dict[str, Any]] = (read_json(kept) or {})['rows']
    return found


def _make(recipe: Recipe, seed: int, work: Path, folder: Path) -> None:
    minor = round(recipe.share * recipe.particles)
    junk = round(JUNK_SHARE * recipe.particles / len(planted.JUNK))
    kinds = {planted.MAJOR: recipe.particles - minor, planted.MINOR: minor, **dict.fromkeys(planted.JUNK, junk)}
    # Broken particles are another state, too.
    kinds |= {'broken': 0}
    base = replace(planted.RECIPES[recipe.base], counts=tuple(kinds.items()))
    planted.make(base, seed, folder / 'set')
    table = ParticleTable.read(folder / 'set' / 'start.star')
    _misplaced(table, folder, work, recipe.base, seed)
    table.write(folder / 'relion' / 'refined.star')
    halves = table.half_sets()
    assert halves is not None
    for k in (1, 2):
        path = folder / 'relion' / f'half{k}.mrc'
        relion.reconstruct(table.kept(np.flatnonzero(halves == k)), path)
        if recipe.blur:
            found = read_map(path)
            write_map(path, _blurred(found.data, found.pixel_size, recipe.blur), found.pixel_size)


def _misplaced(table: ParticleTable, folder: Path, work: Path, base: str, seed: int) -> None:
    """Give the particles poses with the errors of a refinement."""
    (folder / 'relion').mkdir(exist_ok=True)
    turns, moves = _errors(work, base)
    rng = np.random.default_rng(seed)
    kinds, angles, shifts = _truth(folder)
    drawn = rng.integers(len(turns), size=len(kinds))
    matrices, shifts = turns[drawn] @ euler_to_matrix(*angles.T), shifts + moves[drawn]
    lost = np.isin(kinds, LOST)
    matrices[lost] = Rotation.random(int(lost.sum()), random_state=seed).as_matrix()
    away = kinds == 'off-centre'
    shifts[away] = moves[drawn][away]
    values = (*matrix_to_euler(matrices), *(shifts * table.pixel_size).T)
    for label, column in zip(relion.POSES, values):
        table.set(label, column)


def _errors(work: Path, base: str) -> tuple[np.ndarray, Floats]:
    """Errors of RELION's poses of the major state: rotations [n, 3, 3] and shifts [n, 2] px, of all seeds."""
    turns, moves = [], []
    for folder in sorted(work.glob(f'{base}_*')):
        if not (folder / 'relion' / 'refined.star').exists():
            continue
        table = ParticleTable.read(folder / 'relion' / 'refined.star')
        kinds, angles, shifts = _truth(folder)
        rows = kinds == planted.MAJOR
        true = euler_to_matrix(*angles.T)
        turns.append(np.einsum('nij,nkj->nik', table.rotations(), true)[rows])
        moves.append((table.shifts() - shifts)[rows])
    if not turns:
        raise SystemExit(f'{work}: no refined set {base}: python -m benchmarks.sorting run --work {work} --sets {base}')
    return np.concatenate(turns), np.concatenate(moves)


def _truth(folder: Path) -> tuple[np.ndarray, Floats, Floats]:
    with np.load(folder / 'set' / 'truth.npz') as truth:
        return truth['kinds'], truth['angles'], truth['shifts']


def _blurred(volume: Volume, pixel_size: float, blur: float) -> Volume:
    box = len(volume)
    fall = np.exp(-blur / 4 * frequencies(box, pixel_size) ** 2)[np.minimum(ring_index(box, 3), box // 2)]
    found: Volume = np.fft.irfftn(np.fft.rfftn(volume) * fall, s=volume.shape).astype(np.float32)
    return found


def _found(folder: Path) -> dict[str, Any]:
    """What was said against what is true. true: share of the minor state among the molecules that hold the map."""
    said = (read_json(folder / 'project' / 'summary.json') or {})['other_state']
    kinds = planted.kinds_of(folder / 'set')
    major, minor = kinds == planted.MAJOR, kinds == planted.MINOR
    row = {
        'particles': len(kinds), 'true': float(minor.sum() / (major | minor).sum()), 'stated': int('where' in said),
        **{name: said.get(name) for name in ('share', 'separation', 'margin', 'agreement')},
    }  # fmt: skip
    if not (row['stated'] and minor.any()):
        return row
    table, label = ParticleTable.read(folder / 'project' / 'references.star'), BY_NAME['other_state'].label
    mine, theirs = match(ParticleTable.read(folder / 'relion' / 'refined.star'), table)
    values = np.empty(len(kinds))
    values[mine] = table.floats(label)[theirs]
    either = major | minor
    row['auc'] = float(roc_auc_score(minor[either], values[either]))
    states = [read_map(folder / 'set' / f'{name}.mrc').data for name in (planted.MINOR, planted.MAJOR)]
    truth = lowpass(states[0] - states[1], 1.0, len(states[0]) / COARSE)
    seen = lowpass(read_map(folder / 'project' / 'another_state.mrc').data, 1.0, len(truth) / COARSE)
    row['correlation'] = float(np.corrcoef(truth.ravel(), seen.ravel())[0, 1])
    return row
