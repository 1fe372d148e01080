"""What is done with a set: every method goes through the commands that a user has, on the table that a user has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json
from cryoemgan.engine.shapes import Images

from . import score
from .clocks import command, cost
from .datasets import GIVEN, SCORED, Dataset

UNCERTAINTY = 'cryoemganUncertainty'


@dataclass
class Outcome:
    """images: float32[SCORED, box, box], in the order of the truth. folders: of the commands that made them."""

    images: Images
    folders: list[Path]
    found: dict[str, Any] = field(default_factory=dict)


def noisy(data: Dataset, folder: Path, seed: int, options: dict[str, Any]) -> Outcome:
    """The particles as they are."""
    return Outcome(_scored(data, data.particles), [])


def filtered(data: Dataset, folder: Path, seed: int, options: dict[str, Any]) -> Outcome:
    """``filter``: a classical method, learned from all particles."""
    command('filter', folder / 'filter', particles=data.particles, seed=seed, **options)
    return Outcome(_scored(data, folder / 'filter' / 'denoised.star'), [folder / 'filter'])


def projected(data: Dataset, folder: Path, seed: int, options: dict[str, Any]) -> Outcome:
    """The references: the map at the angles and shifts that the table says."""
    references = _project(data, folder)
    return Outcome(_scored(data, references), [folder / 'project'])


def trained(data: Dataset, folder: Path, seed: int, options: dict[str, Any]) -> Outcome:
    """``project``, ``train`` and ``denoise``: by default each particle by the network that never saw it.

    Options go to ``train``; those that begin with ``denoise_`` to ``denoise``. also_uncut: what the low-pass at the
    stated resolution costs, too, and where it should have been: a cut image itself cannot tell.
    """
    options = dict(options)
    also_uncut = options.pop('also_uncut', False)
    given = {k: v for k, v in options.items() if not k.startswith('denoise_')}
    later = {k.removeprefix('denoise_'): v for k, v in options.items() if k.startswith('denoise_')}
    references = None if given.get('target', 'references') != 'references' else _project(data, folder)
    summary = command('train', folder / 'train', particles=data.particles, references=references, seed=seed, **given)
    denoise = command(
        'denoise', folder / 'denoise', particles=data.particles, model=folder / 'train' / 'model', **later
    )
    result = folder / 'denoise' / 'denoised.star'
    images = _scored(data, result)
    found = {'iterations': summary.get('iterations'), 'cut': denoise.get('resolution_cut')}
    table = ParticleTable.read(result)
    if table.has(UNCERTAINTY):
        relative = table.floats(UNCERTAINTY)[_rows(data, table)]
        found['expected_ratio'] = score.expected_ratio(relative, images, data.truth())
    if also_uncut:
        # Not counted: a user denoises once.
        model = folder / 'train' / 'model'
        command('denoise', folder / 'uncut', particles=data.particles, model=model, cut='none')
        uncut, truth = _scored(data, folder / 'uncut' / 'denoised.star'), data.truth()
        limit = (read_json(model / 'card.json') or {})['resolution']['frc_limit']
        found |= {
            'uncut_error': score.error(uncut, truth), 'frc_limit': limit,
            'frc_cut': score.resolution(uncut, truth, table.pixel_size, limit),
        }  # fmt: skip
    return Outcome(images, [folder / name for name in ('project', 'train', 'denoise')], found)


KINDS: dict[str, Callable[[Dataset, Path, int, dict[str, Any]], Outcome]] = {
    'noisy': noisy,
    'filter': filtered,
    'references': projected,
    'train': trained,
}


def apply(kind: str, data: Dataset, folder: Path, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Apply a method and score it: {name of a column: value}."""
    outcome = KINDS[kind](data, folder, seed, options)
    pixel_size = ParticleTable.read(data.clean).pixel_size
    paid = [cost(f) for f in outcome.folders]
    found = {**score.scores(outcome.images, data.truth(), pixel_size), **outcome.found}
    if data.recipe.molecule == GIVEN:
        # The truth has another grey scale: only what a gain forgives can be compared.
        found = {key: v for key, v in found.items() if key not in ('raw_error', 'gain', 'expected_ratio')}
    return {
        **found,
        'cpu_seconds': round(sum(p['cpu'] for p in paid), 1),
        'wall_seconds': round(sum(p['wall'] for p in paid), 1),
    }


def _project(data: Dataset, folder: Path) -> Path:
    ctf = 'full' if data.recipe.ctf else 'none'
    command('project', folder / 'project', particles=data.particles, ctf=ctf, **data.maps)
    return folder / 'project' / 'references.star'


def _rows(data: Dataset, table: ParticleTable) -> np.ndarray:
    """Rows of a table that hold the scored particles, in the order of the truth."""
    truth = ParticleTable.read(data.clean)
    mine, theirs = match(truth, table)
    order = np.argsort(mine)
    mine, theirs = mine[order], theirs[order]
    return theirs[mine < min(SCORED, len(truth))]


def _scored(data: Dataset, star: Path) -> Images:
    table = ParticleTable.read(star)
    rows = _rows(data, table)
    wanted = min(SCORED, data.recipe.particles)
    if len(rows) != len(data.truth()):
        raise RuntimeError(f'{star}: {len(rows)} of {wanted} particles are in it')
    return table.images().read(rows)
