"""The scores of a network guided by the map, asked of its map prior: without the network, which they do not depend on.

As ``train`` and ``denoise`` do it: a library of each half map, calibrated on the particles of its half set, judges the
particles of the other one; the p-value is read against them and simulated right ones.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.sampling import evenly_spread
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import write_json
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.posterior.context import Context
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.p_value import PValueCalibration
from cryoemgan.engine.posterior.wrong_particles import right_scores
from cryoemgan.engine.shapes import Floats, Images

TEMPLATES, CALIBRATED, RIGHT, BATCH = 1500, 100, 200, 48
TABLE, COST = 'prior.star', 'prior.json'
LABELS = {
    'fit': 'cryoemganFit',
    'evidence': 'cryoemganEvidence',
    'disagreement': 'cryoemganPoseDisagreement',
    'misfit': 'cryoemganMisfit',
    'match': 'cryoemganMatch',
}


def judge(trained: Path, folder: Path) -> None:
    """prior.star: the particles of ``folder`` with the scores of priors made of the set in ``trained``; prior.json:
    CPU seconds of asking."""
    if (folder / COST).exists():
        return
    table = ParticleTable.read(folder / 'relion' / 'refined.star')
    halves, seconds = table.half_sets(), 0.0
    found = {label: np.empty(len(table)) for label in LABELS.values()}
    for half in (1, 2):
        prior = _prior(trained, half)
        rows = np.flatnonzero(halves != half)
        start = time.process_time()
        evidence, disagreement, _, misfit, match = _asked(prior, table, rows).T
        seconds += time.process_time() - start
        own = (evidence, match, misfit) if trained == folder else _unseen(prior, trained, half)
        fit = _calibrated(prior, trained, half, *own).fit(evidence, match, misfit)
        for name, values in zip(LABELS, (fit, evidence, disagreement, misfit, match)):
            found[LABELS[name]][rows] = values
    for label, values in found.items():
        table.set(label, values)
    table.write(folder / TABLE)
    write_json(folder / COST, {'cpu': seconds})


def _prior(trained: Path, half: int) -> MapPrior:
    """The prior of a half map, calibrated on some particles of its half set."""
    table = ParticleTable.read(trained / 'relion' / 'refined.star')
    references = ParticleTable.read(trained / 'project' / 'references.star')
    rows = np.flatnonzero(table.half_sets() == half)
    rows = rows[evenly_spread(len(rows), CALIBRATED)]
    images, shown = table.images().read(rows), references.images().read(rows)
    volume = read_map(trained / 'project' / f'map_half{half}.mrc')
    library = TemplateLibrary.from_maps([torch.from_numpy(volume.data)], TEMPLATES, torch.device('cpu'))
    shifts = table.shifts()
    reach = min(6.0, float(np.ceil(np.quantile(np.hypot(*shifts.T), 0.98))))
    options = MapPriorOptions('none', reach, float(shifts.std()))
    gain = float((images * shown).sum() / np.square(shown).sum())
    prior = MapPrior(library, gain, torch.ones(library.plane.radius + 1), options=options)
    return prior.calibrate(torch.from_numpy(images), Context.of(table, rows, table.box))


def _unseen(prior: MapPrior, trained: Path, half: int) -> tuple[Floats, Floats, Floats]:
    """Evidence, match and misfit of the particles of a set that the prior of a half map never saw."""
    table = ParticleTable.read(trained / 'relion' / 'refined.star')
    evidence, _, _, misfit, match = _asked(prior, table, np.flatnonzero(table.half_sets() != half)).T
    return evidence, match, misfit


def _calibrated(
    prior: MapPrior, trained: Path, half: int, evidence: Floats, match: Floats, misfit: Floats
) -> PValueCalibration:
    """The calibration of the p-value on particles that the prior of a half map never saw."""
    table = ParticleTable.read(trained / 'relion' / 'refined.star')
    rows = np.flatnonzero(table.half_sets() != half)
    rows = rows[evenly_spread(len(rows), RIGHT)]
    right = right_scores(prior, Context.of(table, rows, table.box), len(rows), half)
    return PValueCalibration.of(evidence, match, misfit, right)


def _asked(prior: MapPrior, table: ParticleTable, rows: np.ndarray) -> Floats:
    """Scores float64 [n, 5] of some rows, as `ImagePosterior.scores`."""
    found = []
    for part in np.array_split(rows, -(-len(rows) // BATCH)):
        images: Images = table.images().read(part)
        found.append(prior(torch.from_numpy(images), Context.of(table, part, table.box)).scores())
    return np.concatenate(found).astype(np.float64)
