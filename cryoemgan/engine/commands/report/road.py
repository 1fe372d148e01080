"""The steps of the road: which command, with which options, into which folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from ...data.refinement import Refinement
from ...settings import COMMANDS
from ...settings.reading import Reading
from ...settings.report import Report
from ...settings.road import (
    AUDIT,
    DENOISED,
    EVALUATION,
    GUIDED,
    NETWORKS,
    OPINION,
    REFERENCES,
    SELECTION,
    TRAINED,
    TRAINING,
)
from ...settings.select import PROPOSED
from ...shapes import Json
from .steps import Step

# Options of train that make each network.
MADE_BY: dict[str, Json] = {TRAINED: {}, GUIDED: {'network': 'guided'}}
# Of train, with which the minutes do not count.
LENGTHS = {'iterations', 'epochs'}
# Further options of train that a map-free network takes, too.
OF_ANY = LENGTHS | {'box', 'cross_fit', 'folds', 'validation_fraction'}


def project_options(s: Report, refinement: Refinement) -> Json:
    """Options of ``project``: half maps before the map that both half sets share."""
    r = refinement
    maps = {'half1': r.half1, 'half2': r.half2} if r.half1 else {'volume': r.volume}
    found = {'particles': r.particles, **maps, 'mask': r.mask}
    ctf = {} if r.has_ctf else {'ctf': 'none'}
    return {name: str(path) for name, path in found.items() if path} | ctf | _reading(s, 'project')


def _reading(s: Report, command: str) -> Json:
    """How particles are read, for a command that reads them: what differs from the usual."""
    known = {f.name for f in fields(COMMANDS[command])}
    return {f.name: getattr(s, f.name) for f in fields(Reading) if f.name in known and getattr(s, f.name) != f.default}


def steps(s: Report, refinement: Refinement, training: Json, root: Path, done: dict[str, Json]) -> Iterator[Step]:
    """The steps in their order.

    training: further options of the trainings. root: where their folders lie. done: summaries {folder} of the steps
    before, filled by the caller.
    """
    particles, references = str(refinement.particles), str(root / REFERENCES / 'references.star')
    pair = {'particles': particles, 'references': references}
    yield Step(REFERENCES, 'project', project_options(s, refinement))
    third = s.second_opinion and not refinement.premultiplied
    networks = len(NETWORKS) + third
    length = {} if set(training) & LENGTHS else {'minutes': round(s.minutes / networks, 4)}
    for network in NETWORKS:
        options = {**training, **pair, **MADE_BY[network], **length, **_reading(s, 'train')}
        yield Step(TRAINING[network], 'train', options)
    if third:
        options = {k: v for k, v in training.items() if k in OF_ANY}
        yield Step(
            OPINION, 'train', {**options, 'particles': particles, 'target': 'self', **length, **_reading(s, 'train')}
        )
    second = {'second_model': str(root / OPINION / 'model')} if OPINION in done else {}
    models = {network: str(root / TRAINING[network] / 'model') for network in NETWORKS}
    for network in NETWORKS:
        options = {'particles': particles, 'model': models[network], **_reading(s, 'denoise')}
        yield Step(DENOISED[network], 'denoise', options)
    for network in NETWORKS:
        yield Step(AUDIT[network], 'audit', {**pair, 'model': models[network], **second, **_reading(s, 'audit')})
    denoised = {network: str(root / DENOISED[network] / 'denoised.star') for network in NETWORKS}
    compared = [f'noisy={particles}', *(f'{n}={path}' for n, path in denoised.items())]
    yield Step(EVALUATION, 'evaluate', {'references': references, 'particles': compared, **_reading(s, 'evaluate')})
    yield Step(SELECTION, 'select', {
        'particles': denoised[GUIDED], 'source': particles, 'scores': [references], 'denoised': True,
        **_limit(s, done[DENOISED[GUIDED]]), **_reading(s, 'select'),
    })  # fmt: skip


def _limit(s: Report, denoised: Json) -> Json:
    """Limit of the fit; where the noise leaves the fit nothing to tell, of the evidence."""
    if denoised['doubtful'] is not None:
        return {'fit': s.limit}
    return {'evidence': s.limit if s.limit.strip().endswith('%') else PROPOSED}
