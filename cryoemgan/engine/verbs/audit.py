"""``audit``: what of a denoised particle comes from the particle, and what from the training set."""

import csv
from dataclasses import dataclass

import numpy as np

from ..auditing import empties, examine, lights, opinion, report
from ..auditing.empties import Empties
from ..auditing.opinion import Second
from ..devices import choose_device, choose_precision
from ..errors import InputError
from ..job import atomic, write_json
from ..models import card, inference
from ..models.committee import Committee, cut_of
from ..models.model import Model
from ..particles.matching import match
from ..particles.table import ParticleTable
from ..scores import agreement
from ..training import crossfitting

COLUMNS = ('particle', 'member', 'leaked', 'correlation', 'denoised_correlation', 'rank', 'uncertainty')


@dataclass
class Prepared:
    """Checked input: both tables, rows of the sample in each, model, routing of all particles."""

    particles: ParticleTable
    references: ParticleTable
    rows: np.ndarray
    reference_rows: np.ndarray
    model: Model
    plan: inference.Plan
    routing: crossfitting.Routing
    cut: float | None
    second: Second | None
    empties: Empties | None


def check(settings, job):
    """Prepared; InputError for sets that cannot be audited together."""
    particles, references = (ParticleTable.read(job.input(p)) for p in (settings.particles, settings.references))
    model = Model.load(settings.model, choose_device(settings.device))
    for guide in model.guides.values():
        guide.require(particles)
    job.input(model.folder / card.CARD)
    plan = inference.plan(particles, model, 'model', settings.batch_size)
    inference.plan(references, model, 'model', settings.batch_size)
    rows, reference_rows = match(particles, references)
    if len(rows) < agreement.FEWEST:
        raise InputError(f'{references.path}: only {len(rows)} particles have a reference; an audit needs more')
    ctf = references.provenance.get('ctf', model.card['ctf'])
    learnt_from_them = model.card.get('target', 'references') == 'references'
    if learnt_from_them and ctf != model.card['ctf']:
        raise InputError(
            f'{references.path}: these references hold the CTF as "{ctf}", the model learnt "{model.card["ctf"]}": '
            'take the references it was trained on'
        )
    most = max(20, min(settings.sample, 2**24 // plan.model_box**2))
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    return Prepared(particles, references, rows[chosen], reference_rows[chosen], model, plan,
                    crossfitting.route(model, particles), cut_of(settings.cut, model),
                    opinion.check(settings, job, particles, model),
                    empties.check(settings, job, particles, model, most))  # fmt: skip


def run(settings, job, p):
    """Measure, judge, write audit.json, audit.csv, pictures and audit.html."""
    committee = Committee(
        p.model, p.plan, choose_precision('auto', p.model.device), p.routing, p.cut, table=p.particles
    )
    with job.progress(examine.STEPS + (p.second is not None) + (p.empties is not None), 'audit') as bar:
        found = examine.examine(p, committee, settings.seed, bar)
    colours, overall = lights.judge(found.judged)
    found.results |= {'lights': colours, 'overall': overall, 'statement': card.statement_of(p.model.card)}
    for name, colour in colours.items():
        limit = lights.LIMITS[name]
        if colour != 'green':
            job.warn(f'{limit.title}: {found.judged[name]:.3g} is {colour}. {limit.bad}')
    _write_rows(job, p, found)
    pictures = report.draw(job, found, settings.pictures)
    write_json(job.output('audit.json'), found.results)
    report.write_html(job.output('audit.html'), found.results, found.judged, pictures)
    job.say(f'audit: {overall.upper()} ({", ".join(f"{k} {v}" for k, v in colours.items())})')
    return found.results


def _write_rows(job, p, found):
    names, members = p.particles.names(), p.routing.labels()
    columns = [*COLUMNS, *(k for k in found.columns if k not in COLUMNS)]
    with atomic(job.output('audit.csv')) as partial, partial.open('w', newline='', encoding='utf-8') as f:
        writer = csv.writer(f)
        writer.writerow(columns)
        for i, row in enumerate(p.rows):
            numbers = (found.columns[k][i] for k in columns[3:])
            writer.writerow([names[row], members[row], int(p.routing.leaked[row]), *(f'{v:.5g}' for v in numbers)])
