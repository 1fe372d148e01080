"""``denoise``: particles through a trained model, in order, with everything that is known about them."""

import time

import numpy as np

from .. import card, inference
from ..devices import choose_device, choose_precision
from ..model import Model
from ..stacks import StackWriter
from ..table import ParticleTable

STACK, TABLE = 'denoised.mrcs', 'denoised.star'


def check(settings, job):
    """(table, model, plan, rows the model was trained on); InputError for anything that cannot be denoised."""
    table = ParticleTable.read(job.input(settings.particles))
    model = Model.load(settings.model, choose_device(settings.device))
    job.input(model.folder / card.CARD)
    plan = inference.plan(table, model, settings.output_box, settings.batch_size)
    seen = np.any(list(model.trained_on(table.names()).values()), axis=0)
    return table, model, plan, seen


def run(settings, job, prepared):
    """Write denoised.mrcs, then denoised.star."""
    table, model, plan, seen = prepared
    precision = choose_precision(settings.precision, model.device)
    _warn_before(job, table, model, plan, seen)
    start, constant = time.perf_counter(), 0
    with (
        StackWriter(job.output(STACK), len(table), plan.box, plan.pixel_size) as stack,
        job.progress(len(table), 'denoising') as bar,
    ):
        for noisy, denoised in inference.denoise_stream(model, table.images(), plan, precision):
            constant += int((np.ptp(noisy, axis=(1, 2)) == 0).sum())
            stack.append(denoised)
            bar.update(len(noisy))
    seconds = time.perf_counter() - start
    if constant:
        job.warn(
            f'{constant} of {len(table)} particles are constant images (no signal and no noise); what the '
            'network shows for them means nothing'
        )
    output = table.derive(STACK, box=plan.box, pixel_size=plan.pixel_size)
    output.set_provenance(
        verb='denoise',
        ctf=model.card['ctf'],
        model=model.folder.resolve(),
        model_digest=model.digest,
        leakage=int(seen.sum()),
        statement=card.STATEMENT,
    )
    output.write(job.output(TABLE))
    return {
        'particles': len(table), 'box': plan.box, 'pixel_size': plan.pixel_size, 'ctf': model.card['ctf'],
        'model': str(model.folder.resolve()), 'model_digest': model.digest, 'leakage': int(seen.sum()),
        'constant_images': constant, 'device': str(model.device), 'precision': precision,
        'images_per_second': round(len(table) / seconds, 2), 'statement': card.STATEMENT,
    }  # fmt: skip


def _warn_before(job, table, model, plan, seen):
    if seen.any():
        job.warn(
            f'the model was trained on {seen.sum()} of these {len(seen)} particles: their images look better than '
            'the denoiser is; judge it on the others'
        )
    if table.provenance.get('verb') == 'denoise':
        job.warn(f'{table.path} holds denoised particles already; the model was trained on noisy ones')
    grey = inference.grey_scale_warning(model, table.images(), plan)
    if grey:
        job.warn(grey)
