"""``denoise``: particles through a trained model, in order, with everything that is known about them."""

import time
from dataclasses import dataclass

import numpy as np

from .. import card, crossfitting, inference, shown
from ..committee import Committee, cut_of
from ..devices import choose_device, choose_precision
from ..model import Model
from ..stacks import StackWriter
from ..table import ParticleTable

STACK, TABLE = 'denoised.mrcs', 'denoised.star'
UNCERTAINTY, MEMBER = 'cryoemganUncertainty', 'cryoemganMember'
UNKNOWN = 999.0


@dataclass
class Prepared:
    """Checked input: particles, model, boxes on the way, which member denoises what, resolution cut (A or None)."""

    table: ParticleTable
    model: Model
    plan: inference.Plan
    routing: crossfitting.Routing
    cut: float | None


def check(settings, job):
    """Prepared; InputError for anything that cannot be denoised."""
    table = ParticleTable.read(job.input(settings.particles))
    model = Model.load(settings.model, choose_device(settings.device))
    job.input(model.folder / card.CARD)
    plan = inference.plan(table, model, settings.output_box, settings.batch_size)
    return Prepared(table, model, plan, crossfitting.route(model, table), cut_of(settings.cut, model))


def run(settings, job, prepared):
    """Write denoised.mrcs, then denoised.star."""
    table, model, plan, routing = prepared.table, prepared.model, prepared.plan, prepared.routing
    precision = choose_precision(settings.precision, model.device)
    _warn_before(job, prepared)
    committee = Committee(model, plan, precision, routing, prepared.cut, settings.uncertainty)
    start, constant, errors = time.perf_counter(), 0, []
    with (
        StackWriter(job.output(STACK), len(table), plan.box, plan.pixel_size) as stack,
        job.progress(len(table), 'denoising') as bar,
    ):
        for batch in committee.stream(table.images()):
            constant += int((np.ptp(batch.noisy, axis=(1, 2)) == 0).sum())
            stack.append(batch.images)
            if settings.uncertainty:
                errors.append(batch.errors)
            bar.update(len(batch.noisy))
    seconds = time.perf_counter() - start
    if constant:
        job.warn(
            f'{constant} of {len(table)} particles are constant images (no signal and no noise); what the '
            'network shows for them means nothing'
        )
    errors = np.concatenate(errors) if errors else None
    _write_table(job, prepared, committee, errors)
    return {
        'particles': len(table), 'box': plan.box, 'pixel_size': plan.pixel_size, 'ctf': model.card['ctf'],
        'model': str(model.folder.resolve()), 'model_digest': model.digest, 'leakage': routing.leakage,
        'members': routing.members, 'resolution_cut': committee.cut,
        'uncertainty_median': None if errors is None else float(np.median(errors)),
        'constant_images': constant, 'device': str(model.device), 'precision': precision,
        'images_per_second': round(len(table) / seconds, 2), 'statement': card.STATEMENT,
    }  # fmt: skip


def _write_table(job, prepared, committee, errors):
    model, plan, routing = prepared.model, prepared.plan, prepared.routing
    output = prepared.table.derive(STACK, box=plan.box, pixel_size=plan.pixel_size)
    if len(routing.members) > 1:
        output.set(MEMBER, routing.labels())
    if errors is not None:
        # STAR readers stumble over infinity; a constant image has no expected error.
        output.set(UNCERTAINTY, np.where(np.isfinite(errors), errors, UNKNOWN))
    output.set_provenance(
        verb='denoise',
        ctf=model.card['ctf'],
        model=model.folder.resolve(),
        model_digest=model.digest,
        members=', '.join(routing.members),
        cross_fit=model.card.get('cross_fit', {}).get('mode', 'none'),
        leakage=routing.leakage,
        resolution_cut=f'{committee.cut:.2f}' if committee.cut else 'none',
        statement=card.STATEMENT,
    )
    output.write(job.output(TABLE))


def _warn_before(job, prepared):
    table, model, routing = prepared.table, prepared.model, prepared.routing
    if routing.leakage:
        job.warn(
            f'the model was trained on {routing.leakage} of these {len(table)} particles: their images look better '
            'than the denoiser is; judge it on the others, or train with cross-fitting'
        )
    blank = shown.warning(model.card)
    if blank:
        job.warn(blank)
    if table.provenance.get('verb') == 'denoise':
        job.warn(f'{table.path} holds denoised particles already; the model was trained on noisy ones')
    grey = inference.grey_scale_warning(model, table.images(), prepared.plan)
    if grey:
        job.warn(grey)
