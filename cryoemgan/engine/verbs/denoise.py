"""``denoise``: particles through a trained model, in order, with everything that is known about them."""

import time

import numpy as np

from .. import card, inference
from ..devices import choose_device, choose_precision
from ..errors import InputError
from ..model import Model
from ..settings.guided import degrees
from ..stacks import StackWriter
from ..table import ParticleTable

STACK, TABLE = 'denoised.mrcs', 'denoised.star'


def check(settings, job):
    """(table, model, plan, rows the model was trained on); InputError for anything that cannot be denoised."""
    table = ParticleTable.read(job.input(settings.particles))
    model = Model.load(settings.model, choose_device(settings.device))
    if settings.pose_prior != 'model':
        if model.guide is None:
            raise InputError(f'--pose-prior: {model.folder} is not a guided model, it does not use angles')
        model.guide.options.pose_prior = degrees(settings.pose_prior)
    if model.guide is not None and model.guide.options.pose_prior and not table.has('rlnAngleRot'):
        raise InputError(f'--pose-prior: {table.path} has no angles; give --pose-prior none')
    job.input(model.folder / card.CARD)
    plan = inference.plan(table, model, settings.output_box, settings.batch_size)
    seen = np.any(list(model.trained_on(table.names()).values()), axis=0)
    return table, model, plan, seen


def run(settings, job, prepared):
    """Write denoised.mrcs, then denoised.star."""
    table, model, plan, seen = prepared
    precision = choose_precision(settings.precision, model.device)
    _warn_before(job, table, model, plan, seen)
    start, constant, scores = time.perf_counter(), 0, []
    with (
        StackWriter(job.output(STACK), len(table), plan.box, plan.pixel_size) as stack,
        job.progress(len(table), 'denoising') as bar,
    ):
        for noisy, denoised in inference.denoise_stream(model, table, plan, precision, scores=scores):
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
    guided = _write_scores(job, model, output, np.concatenate(scores)) if scores else {}
    output.write(job.output(TABLE))
    return {
        **guided, 'particles': len(table), 'box': plan.box, 'pixel_size': plan.pixel_size, 'ctf': model.card['ctf'],
        'model': str(model.folder.resolve()), 'model_digest': model.digest, 'leakage': int(seen.sum()),
        'constant_images': constant, 'device': str(model.device), 'precision': precision,
        'images_per_second': round(len(table) / seconds, 2), 'statement': card.STATEMENT,
    }  # fmt: skip


def _write_scores(job, model, output, scores):
    """Columns of a guided model in the table, warnings, and what the summary says of them."""
    evidence, disagreement, contrast = scores.T.astype(np.float64)
    output.set('cryoemganEvidence', evidence)
    output.set('cryoemganContrast', contrast)
    if not np.isnan(disagreement).any():
        output.set('cryoemganPoseDisagreement', disagreement)
    threshold = model.guide.threshold
    low = float((evidence < threshold['evidence']).mean())
    # One in twenty of the training particles lies below the threshold.
    if low > 4 * (1 - threshold['true_acceptance']):
        job.warn(
            f'{low:.0%} of the particles have less evidence (cryoemganEvidence) than all but '
            f'{1 - threshold["true_acceptance"]:.0%} of the training particles ({threshold["evidence"]:.1f}): they '
            "are empty, another molecule, or noisier than the training set. A guided model shows them the map's "
            'projections all the same: leave them out, or use a blind network'
        )
    return {'evidence_median': float(np.median(evidence)), 'evidence_threshold': threshold['evidence'],
            'below_threshold': low, 'pose_disagreement_median': _median(disagreement)}  # fmt: skip


def _median(values):
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


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
