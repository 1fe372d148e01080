"""``audit``: what of a denoised particle comes from the particle, and what from the training set."""

from __future__ import annotations

import csv

from ..data.image_state import CtfState, require_known
from ..data.matching import match
from ..data.particles import open_particles
from ..data.sampling import evenly_spread
from ..devices import choose_device, choose_precision
from ..errors import InputError
from ..files import atomic, write_json
from ..inference import boxes, card
from ..inference.ensemble import Ensemble, cut_of
from ..inference.model import Model
from ..inference.routing import route
from ..job import Job
from ..metrics import pair_agreement
from ..settings.audit import Audit
from ..shapes import Json
from ..trust import empty_particles, examination, report, second_opinion, thresholds
from ..trust.examination import Findings
from ..trust.inputs import AuditInputs

COLUMNS = ('particle', 'member', 'leaked', 'correlation', 'denoised_correlation', 'rank', 'uncertainty')


def load_inputs(settings: Audit, job: Job) -> AuditInputs:
    """AuditInputs; InputError for sets that cannot be audited together."""
    particles, references = (open_particles(job, p) for p in (settings.particles, settings.references))
    model = Model.load(settings.model, choose_device(settings.device))
    model.require(particles)
    job.input(model.folder / card.CARD)
    plan = boxes.choose_boxes(particles, model, 'model', settings.batch_size)
    boxes.choose_boxes(references, model, 'model', settings.batch_size)
    rows, reference_rows = match(particles, references)
    if len(rows) < pair_agreement.FEWEST:
        raise InputError(f'{references.path}: only {len(rows)} particles have a reference; an audit needs more')
    ctf = references.ctf_state
    if ctf is CtfState.UNKNOWN:
        ctf = CtfState(model.card['ctf'])
    if ctf is CtfState.UNKNOWN and particles.has('rlnDefocusU'):
        require_known(references, 'an audit')
    learnt_from_them = model.card.get('target', 'references') == 'references'
    if learnt_from_them and ctf != model.card['ctf']:
        raise InputError(
            f'{references.path}: these references hold the CTF as "{ctf}", the model learnt "{model.card["ctf"]}": '
            'take the references it was trained on'
        )
    most = max(20, min(settings.sample, 2**24 // plan.model_box**2))
    chosen = evenly_spread(len(rows), most)
    return AuditInputs(particles, references, rows[chosen], reference_rows[chosen], model, plan,
                    route(model, particles), cut_of(settings.cut, model),
                    second_opinion.load_second_model(settings, job, particles, model),
                    empty_particles.load_empty_particles(settings, job, particles, model, most))  # fmt: skip


def run(settings: Audit, job: Job, p: AuditInputs) -> Json:
    """Measure, judge, write audit.json, audit.csv, pictures and audit.html."""
    ensemble = Ensemble(p.model, p.plan, choose_precision('auto', p.model.device), p.routing, p.cut, table=p.particles)
    with job.progress(examination.STEPS + (p.second is not None) + (p.empties is not None), 'audit') as bar:
        found = examination.examine(p, ensemble, settings.seed, bar)
    judged = {name: value for name, value in found.judged.items() if value is not None}
    colours, overall = thresholds.judge(found.judged)
    found.results |= {'lights': colours, 'overall': overall, 'statement': card.statement_of(p.model.card)}
    for name, colour in colours.items():
        limit = thresholds.THRESHOLDS[name]
        if colour != 'green':
            job.warn(f'"{limit.title}" is {colour} ({judged[name]:.3g}): {limit.sentence(colour)}')
    _write_rows(job, p, found)
    pictures = report.draw(job, found, settings.pictures)
    write_json(job.output('audit.json'), found.results)
    report.write_html(job.output('audit.html'), found.results, judged, pictures)
    job.say(f'audit: {overall.upper()} ({", ".join(f"{k} {v}" for k, v in colours.items())})')
    return found.results


def _write_rows(job: Job, p: AuditInputs, found: Findings) -> None:
    names, members = p.particles.names(), p.routing.labels()
    columns = [*COLUMNS, *(k for k in found.columns if k not in COLUMNS)]
    with atomic(job.output('audit.csv')) as partial, partial.open('w', newline='', encoding='utf-8') as f:
        writer = csv.writer(f)
        writer.writerow(columns)
        for i, row in enumerate(p.rows):
            numbers = (found.columns[k][i] for k in columns[3:])
            writer.writerow([names[row], members[row], int(p.routing.leaked[row]), *(f'{v:.5g}' for v in numbers)])
