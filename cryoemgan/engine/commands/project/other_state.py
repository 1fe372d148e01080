"""Whether some of the particles show another state than the map: asked of the set, once its references are made.

Where they do: another_state.mrc, the difference of the two states on the grid of the map and in its grey values; a
picture; and in the table of the references the probability of each particle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .... import figures
from ...clustering.variability import Slices
from ...data.image_state import CtfState
from ...data.sampling import chunks, evenly_spread
from ...data.scores import BY_NAME
from ...data.table import ParticleTable
from ...imaging.ctf import ctf_rfft, seen
from ...imaging.maps import lowpass, write_map
from ...imaging.resample import plan_resampling
from ...job import Job
from ...settings.project import Project
from ...shapes import Flags, Floats, Json, Rows, Tensor, Volume
from ...trust.another_state import FOLDS, State, directions, two_states
from ...trust.beyond_the_map import BeyondTheMap, Residuals
from ...trust.blobs import Blobs, molecule
from .references import prepared_map

if TYPE_CHECKING:
    from . import ProjectInputs

MAP, PICTURE = 'another_state.mrc', 'another_state.png'
FEWEST, MOST = 1000, 20_000  # particles that are asked
CALIBRATED, GRAM, BATCH = 500, 400, 128


@dataclass(frozen=True)
class OtherState:
    """What was found. probability: float64 [n] of all particles; difference: of the first map's grey values, on its
    grid; where: A, of its strongest part from the map's centre (x, y, z); gained: whether that is density more."""

    state: State
    probability: Floats
    difference: Volume
    where: tuple[float, float, float]
    gained: bool


def ask(
    settings: Project, job: Job, p: ProjectInputs, resolution: float | None, references: ParticleTable,
    holding: Flags | None,
) -> Json:  # fmt: skip
    """For the summary: {'statement': a sentence}, and numbers where the particles could be asked. holding: as
    `judgement.judge` gives it; resolution: A, of the maps."""
    if settings.class_volume:
        return {'statement': 'not looked for another state: the particles have the maps of several classes'}
    if holding is None or holding.sum() < FEWEST:
        return {'statement': f'not looked for another state: fewer than {FEWEST:,} particles clearly hold the map'}
    state, found = Question(settings, p, resolution)(holding, settings.seed)
    asked = min(int(holding.sum()), MOST)
    numbers = {name: round(value, 4) for name, value in asdict(state).items()} | {'asked': asked}
    if found is None:
        said = f'no other state is seen among {asked:,} particles that hold the map'
        job.say(said)
        return {'statement': said, **numbers}
    first = p.maps[0]
    write_map(job.output(MAP), found.difference, first.pixel_size)
    figures.save(figures.other_state(first.data, found.difference, found.probability), job.output(PICTURE))
    references.set(BY_NAME['other_state'].label, found.probability)
    said = words(found)
    job.say(said)
    return {'statement': said, **numbers, 'where': list(found.where), 'gained': found.gained}


def words(found: OtherState) -> str:
    """What was found, for a summary."""
    state, at = found.state, ', '.join(f'{x:.0f}' for x in found.where)
    return (
        f'{state.share:.1%} of the particles that hold the map agree among themselves that it is otherwise: they have '
        f'{"more" if found.gained else "less"} density {at} A (x, y, z) from its centre, where they differ most '
        f'({MAP}: the difference; cryoemganStateScore: the probability of each particle). Difference maps of two '
        f'halves of the set agree by {state.agreement:.2f}'
    )


class Question:
    """Asks the particles of a run."""

    def __init__(self, settings: Project, p: ProjectInputs, resolution: float | None) -> None:
        self._p, self._images = p, p.table.images()
        self._shifts, box = p.table.shifts(), p.table.box
        pixel_size = float(np.median(p.table.pixel_sizes))
        plan = plan_resampling(p.maps[0].box, p.maps[0].pixel_size, box, pixel_size)
        volumes = [plan.apply(prepared_map(settings, m, p.mask, resolution)) for m in p.maps]
        core, diameter = molecule(np.mean(volumes, 0))
        self.blobs = Blobs(core, diameter)
        self.slices = Slices(box, Blobs.rings(diameter))
        self.beyond = BeyondTheMap(self.slices, volumes)
        self._sign = -1.0 if settings.invert else 1.0
        self._field = p.maps[0].box * p.maps[0].pixel_size / (box * pixel_size)

    def __call__(self, holding: Flags, seed: int) -> tuple[State, OtherState | None]:
        """The best second state of the set, and all about it where it is clear. holding: bool [n], particles that hold
        the map."""
        rows = np.flatnonzero(holding)
        rows = rows[evenly_spread(len(rows), MOST)]
        rng = np.random.default_rng(seed)
        self.beyond.calibrate(*self._given(rows[evenly_spread(len(rows), CALIBRATED)]))
        fold, half = rng.permutation(len(rows)) % FOLDS, rng.permutation(len(rows)) % 2
        scores, information = self._scores(rows)
        few = rows[evenly_spread(len(rows), GRAM)]
        gram = np.sum([self.blobs.gram(r, self.slices) for _, r in self._batches(few)], 0) / len(few)
        found = directions(scores, information, gram, fold, half)
        length = self._lengths(rows, found.weights, fold)
        typical = float(np.median(length))
        measures = np.einsum('np,np->n', scores, found.weights[fold]) / length
        state = two_states(measures, length / typical, found.agreement)
        if not state.stated:
            return state, None
        probability = np.empty(len(holding))
        others = np.setdiff1d(np.arange(len(holding)), rows)
        probability[rows] = state.probability(measures, length / typical)
        for part, residuals in self._batches(others):
            shown = self.blobs.seen(found.whole, residuals, self.slices)
            far = np.maximum(shown.norm(dim=1).numpy().astype(np.float64), 1e-12)
            along = (shown * residuals.values).sum(1).numpy() / far
            probability[part] = state.probability(along, far / typical)
        return state, self._about(state, found.whole, typical, probability)

    def _about(self, state: State, weights: Floats, typical: float, probability: Floats) -> OtherState:
        first = self._p.maps[0]
        scale = state.separation / typical / self.beyond.gain * self._sign
        difference = scale * self.blobs.volume(weights, first.box, self._field)
        smooth = lowpass(difference, 1.0, max(4.0, first.box / 12))
        z, y, x = np.unravel_index(np.abs(smooth).argmax(), smooth.shape)
        gained = bool(smooth[z, y, x] > 0)
        x, y, z = (float((k - first.box // 2) * first.pixel_size) for k in (x, y, z))
        return OtherState(state, probability, difference, (x, y, z), gained)

    def _given(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor | None, Rows]:
        p, transfer = self._p, None
        if p.ctf is not None and p.held is not CtfState.NONE:
            params = {name: values[rows] for name, values in p.ctf.items()}
            transfer = seen(ctf_rfft(p.table.box, p.table.pixel_sizes[rows], params), str(p.held))
        return self._images.read(rows), self._shifts[rows], p.matrices[rows], transfer, p.map_of_row[rows]

    def _batches(self, rows: Rows) -> Iterator[tuple[Rows, Residuals]]:
        for k in chunks(len(rows), BATCH):
            yield rows[k], self.beyond.residuals(*self._given(rows[k]))

    def _scores(self, rows: Rows) -> tuple[Floats, Floats]:
        found = [
            (self.blobs.scores(r, self.slices), r.transfer.square().sum(1).numpy()) for _, r in self._batches(rows)
        ]
        scores, information = (np.concatenate(x).astype(np.float64) for x in zip(*found))
        return scores, information / information.mean()

    def _lengths(self, rows: Rows, weights: Floats, fold: Rows) -> Floats:
        """How far each particle's own direction moves it, float64 [n]."""
        found = np.empty(len(rows))
        for k in range(FOLDS):
            mine = np.flatnonzero(fold == k)
            parts = [self.blobs.seen(weights[k], r, self.slices).norm(dim=1) for _, r in self._batches(rows[mine])]
            found[mine] = torch.cat(parts).numpy()
        return np.maximum(found, 1e-12)
