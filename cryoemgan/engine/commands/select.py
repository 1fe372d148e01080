"""``select``: particles sorted by their scores, kept and rejected, as the original ones that reconstructions need."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ... import figures
from ..data.matching import match, rows_of_all
from ..data.particles import open_particles
from ..data.scores import BY_NAME, REASON, SCORES, Score
from ..data.table import ParticleTable
from ..errors import InputError
from ..files import atomic
from ..job import Job
from ..settings.select import PROPOSED, Select
from ..shapes import Flags, Floats, Json, Rows
from ..trust.selection import Limit, choose_limit, good_particles, nothing_but_noise

# Denoised by a command of ours: their images are not for reconstruction.
NOT_ORIGINAL = ('denoise', 'filter')


@dataclass
class SelectInputs:
    """Checked input: both tables, the source's row of each particle, all scores, the limits, what they reject, and the
    reasons that project gave (None where it gave none)."""

    particles: ParticleTable
    source: ParticleTable
    source_rows: Rows
    values: dict[str, Floats]
    limits: list[Limit]
    rejected: Flags
    reasons: np.ndarray | None = None


def load_inputs(settings: Select, job: Job) -> SelectInputs:
    """SelectInputs; InputError for a score that nobody measured, or particles without original."""
    source = open_particles(job, settings.source or settings.particles)
    particles = ParticleTable.read(job.input(settings.particles)) if settings.source else source
    if source.provenance.get('verb') in NOT_ORIGINAL:
        raise InputError(f'{source.path} holds denoised particles; give the set that was denoised as --source')
    values = {s.name: particles.floats(s.label) for s in SCORES if particles.has(s.label)}
    reasons = np.asarray(particles.strings(REASON)) if particles.has(REASON) else None
    for path in settings.scores:
        table = ParticleTable.read(job.input(path))
        order = _order_in(particles, table)
        values |= {s.name: table.floats(s.label)[order] for s in SCORES if table.has(s.label)}
        reasons = np.asarray(table.strings(REASON))[order] if table.has(REASON) else reasons
    limits = _limits(settings, particles, values)
    rejected = np.any([limit.rejects(values[limit.score.name]) for limit in limits], axis=0)
    if rejected.all():
        each = '; '.join(f'{x.score.name} goes from {_range(values[x.score.name])}' for x in limits)
        raise InputError(f'these limits reject every particle ({each})')
    return SelectInputs(particles, source, _rows_in(source, particles), values, limits, rejected, reasons)


def _range(values: Floats) -> str:
    return f'{values.min():.4g} to {values.max():.4g}'


def _order_in(particles: ParticleTable, table: ParticleTable) -> Rows:
    """Row of each particle in another table; InputError when some particles have none."""
    rows, others = match(particles, table)
    if len(rows) < len(particles):
        missing = np.setdiff1d(np.arange(len(particles)), rows)
        raise InputError(
            f'{table.path}: {len(missing)} of {len(particles)} particles are not in it, such as '
            f'{particles.describe(missing[0])}'
        )
    order = np.empty(len(particles), np.int64)
    order[rows] = others
    return order


def _rows_in(source: ParticleTable, particles: ParticleTable) -> Rows:
    if source is particles:
        return np.arange(len(particles))
    return rows_of_all(particles, source)


def _limits(settings: Select, particles: ParticleTable, values: dict[str, Floats]) -> list[Limit]:
    asked = settings.limits()
    if not values:
        raise InputError(
            f'{particles.path}: no scores to sort by ({", ".join("_" + s.label for s in SCORES)}); give what denoise '
            'wrote, or a table with scores as --scores'
        )
    missing = [name for name in asked if name not in values]
    if missing:
        raise InputError(
            f'--{missing[0].replace("_", "-")}: {particles.path} has no column _{BY_NAME[missing[0]].label}; it can be '
            f'sorted by {", ".join(values)}'
        )
    if not asked:
        asked = {next(s.name for s in SCORES if s.name in values): PROPOSED}
    threshold = particles.provenance.get('evidence_threshold')
    known = float(threshold) if threshold else None
    return [choose_limit(BY_NAME[name], text, values[name], known) for name, text in asked.items()]


def run(settings: Select, job: Job, p: SelectInputs) -> Json:
    """Write kept.star and rejected.star, selection.csv, a histogram a limit."""
    for name, chosen in (('kept', ~p.rejected), ('rejected', p.rejected)):
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        # In the order of the source, as RELION left it.
        p.source.subset(np.sort(p.source_rows[rows])).write(job.output(f'{name}.star'))
        if settings.denoised and p.source is not p.particles:
            p.particles.subset(rows).write(job.output(f'{name}_denoised.star'))
    _write_csv(job, p)
    for limit in p.limits:
        values = p.values[limit.score.name]
        figure = figures.selection(values, limit.score, limit.value, limit.sentence)
        figures.save(figure, job.output(f'{limit.score.name}.png'))
        job.say(limit.sentence)
    noise = nothing_but_noise(p.values['evidence']) if 'evidence' in p.values else None
    if noise:
        job.warn(noise)
    _draw_gallery(job, p)
    found = _results(p)
    job.say(found['sentence'])
    return found


def _draw_gallery(job: Job, p: SelectInputs) -> None:
    """The page: originals beside their denoised images, those that are rejected with a red frame."""
    marks = {'rejected': set(p.source.names_of(p.source_rows[p.rejected]))}
    sets = {'original': p.source} | ({} if p.source is p.particles else {'denoised': p.particles})
    figures.gallery_page(
        job.output('gallery.html'), 'Kept and rejected particles', 'A red frame: rejected.', sets,
        scores_from=[p.particles], marks=marks,
    )  # fmt: skip


def _write_csv(job: Job, p: SelectInputs) -> None:
    names, columns = p.particles.names_of(np.arange(len(p.particles))), list(p.values)
    with atomic(job.output('selection.csv')) as partial, partial.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['particle', 'kept', *columns, *(['reason'] if p.reasons is not None else [])])
        for row, name in enumerate(names):
            reason = [] if p.reasons is None else [p.reasons[row]]
            writer.writerow([name, int(not p.rejected[row]), *(f'{p.values[c][row]:.6g}' for c in columns), *reason])


def _results(p: SelectInputs) -> Json:
    """Counts, the limits and what they cost."""
    count, out = len(p.rejected), int(p.rejected.sum())
    losses = [limit.loss for limit in p.limits if limit.loss is not None]
    known = None if len(losses) < len(p.limits) else min(sum(losses), 1.0)
    sentence = f'{count - out} of {count} particles kept, {out} ({out / count:.1%}) rejected'
    if known is not None:
        sentence += f'; expected to cost {"at most " * (len(losses) > 1)}{known:.1%} of the good particles'
    reasons = {} if p.reasons is None else Counter(p.reasons[p.rejected].tolist())
    if reasons:
        sentence += f'. Of the rejected ones: {", ".join(f"{name} {number}" for name, number in reasons.items())}'
    known_p = next((s for s in SCORES if s.p_value and s.name in p.values), None)
    good = good_particles(p.values[known_p.name]) if known_p else None
    if known_p and good is not None:
        sentence += f'. About {good:.0%} of the particles show what the map shows, by their {known_p.title.lower()}'
    return {
        'particles': count, 'kept': count - out, 'rejected': out, 'sentence': sentence, 'expected_loss': known,
        'good_particles': good, 'scores': list(p.values), 'limits': [_described(p, limit) for limit in p.limits],
        'half_sets': _half_sets(p), 'reasons': dict(reasons),
    }  # fmt: skip


def _described(p: SelectInputs, limit: Limit) -> Json:
    score: Score = limit.score
    return {
        'score': score.name, 'limit': limit.value, 'rejects': 'below' if score.low_is_bad else 'above',
        'rejected': int(limit.rejects(p.values[score.name]).sum()), 'expected_loss': limit.loss,
        'basis': limit.basis, 'sentence': limit.sentence,
    }  # fmt: skip


def _half_sets(p: SelectInputs) -> list[int] | None:
    """Particles of each half set that are kept, None where there are no half sets."""
    halves = p.particles.half_sets()
    return None if halves is None else [int((halves[~p.rejected] == half).sum()) for half in (1, 2)]
