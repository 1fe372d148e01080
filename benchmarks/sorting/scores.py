"""A number for each particle of a set by each score, turned so that high is good, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.scores import REASON
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.shapes import Floats

from ..clocks import command, cost
from . import peers, prior, relion

OURS, RELION, PEER = 'ours', 'RELION', 'peer'
P_VALUES = ('pose-fit', 'fit')


@dataclass(frozen=True)
class Score:
    """One way to sort. table: the command (or refinement) whose table has the column ``label``; sign: -1 where low
    values are good."""

    whose: str
    table: str
    label: str
    sign: int
    about: str


SCORES = {
    'fit': Score(OURS, 'prior', 'cryoemganFit', 1, 'p-value'),
    'evidence': Score(OURS, 'prior', 'cryoemganEvidence', 1, 'log Bayes factor against an empty image'),
    'misfit': Score(OURS, 'prior', 'cryoemganMisfit', -1, 'residual z-score'),
    'match': Score(OURS, 'prior', 'cryoemganMatch', 1, 'log Bayes factor against another object; part of fit'),
    'pose-disagreement': Score(
        OURS, 'prior', 'cryoemganPoseDisagreement', -1, 'angle between the pose found and the refinement'
    ),
    'pose-fit': Score(OURS, 'project', 'cryoemganPoseFit', 1, 'p-value at the pose of the refinement'),
    'pair-correlation': Score(OURS, 'project', 'cryoemganCorrelation', 1, 'low-passed particle with its reference'),
    'log-likelihood': Score(RELION, 'relion', 'rlnLogLikeliContribution', 1, '_rlnLogLikeliContribution'),
    'peak-probability': Score(RELION, 'relion', 'rlnMaxValueProbDistribution', 1, '_rlnMaxValueProbDistribution'),
    'significant-samples': Score(RELION, 'relion', 'rlnNrOfSignificantSamples', -1, '_rlnNrOfSignificantSamples'),
    'NCC': Score(PEER, 'NCC', '', 1, 'particle with its projection, all frequencies of the map (as CryoSieve)'),
    'SCI': Score(PEER, 'SCI', '', 1, 'structural cross-correlation index of janas, with its own sigma and our mask'),
    'variance': Score(PEER, 'variance', '', 1, 'inside against outside the particle, at 20 A (as Xmipp screens)'),
}


def compute(folder: Path) -> dict[str, Floats]:
    """{score: values [n] of the particles in their order, high is good} of a refined set."""
    refined = folder / 'relion' / 'refined.star'
    halves = {f'half{k}': folder / 'relion' / f'half{k}.mrc' for k in (1, 2)}
    command('project', folder / 'project', particles=refined, **halves)
    return _of(folder, folder)


def of_others(trained: Path, folder: Path) -> dict[str, Floats]:
    """As `compute`, of other images that were aligned to the map of a set, by the prior of that set."""
    halves = {f'half{k}': trained / 'relion' / f'half{k}.mrc' for k in (1, 2)}
    command('project', folder / 'project', particles=folder / 'relion' / 'refined.star', **halves)
    return _of(trained, folder)


def _of(trained: Path, folder: Path) -> dict[str, Floats]:
    """All scores, kept in scores.npz; the milliseconds a particle in cost.json."""
    kept = folder / 'scores.npz'
    if not kept.exists():
        refined = folder / 'relion' / 'refined.star'
        prior.judge(trained, folder)
        found, milliseconds = {}, {}
        for name, score in SCORES.items():
            if score.table in peers.PEERS:
                values, seconds = peers.PEERS[score.table](folder)
            else:
                values, seconds = _column(folder, refined, score), np.nan
            if values is None:
                continue
            found[name] = score.sign * values
            if score.table not in peers.PEERS:
                seconds = _seconds(folder, score.table, len(values))
            milliseconds[name] = 1000 * seconds / len(values)
        write_json(folder / 'cost.json', {k: v for k, v in milliseconds.items() if np.isfinite(v)})
        np.savez(kept, **found)
    with np.load(kept) as file:
        return dict(file)


def reasons(folder: Path) -> np.ndarray:
    """What the program says is wrong with each particle of a set, in their order."""
    refined = ParticleTable.read(folder / 'relion' / 'refined.star')
    table = ParticleTable.read(folder / 'project' / 'references.star')
    mine, theirs = match(refined, table)
    found = np.empty(len(refined), object)
    found[mine] = np.asarray(table.strings(REASON))[theirs]
    return found


def milliseconds(folder: Path) -> dict[str, float]:
    """What each score costs for a particle: CPU time on one thread, what is made once for a set left out."""
    return read_json(folder / 'cost.json') or {}


def _column(folder: Path, refined: Path, score: Score) -> Floats | None:
    """A column of a table float64 [n], in the order of the set; None where it was not written."""
    tables = {'relion': refined, 'project': folder / 'project' / 'references.star',
              'prior': folder / prior.TABLE}  # fmt: skip
    table = ParticleTable.read(tables[score.table])
    if not table.has(score.label):
        return None
    mine, theirs = match(ParticleTable.read(refined), table)
    values: Floats = np.empty(len(table))
    values[mine] = table.floats(score.label)[theirs]
    return values


def _seconds(folder: Path, table: str, count: int) -> float:
    if table == 'relion':
        return count * relion.cost(folder / 'relion')
    if table == 'prior':
        return float((read_json(folder / prior.COST) or {})['cpu'])
    return cost(folder / table)['cpu']
