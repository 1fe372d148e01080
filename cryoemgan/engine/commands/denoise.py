"""``denoise``: particles through a trained model, in order, with everything that is known about them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ... import figures
from .. import costs
from ..data import optics
from ..data.image_state import CtfState
from ..data.particles import open_particles
from ..data.stack_writer import ResumableStack
from ..data.table import ParticleTable
from ..devices import choose_precision
from ..errors import InputError
from ..inference import boxes, card, collapse
from ..inference.ensemble import Denoised, Ensemble, cut_of
from ..inference.model import Model
from ..inference.noise_response import ACCEPTED
from ..inference.routing import Routing, route
from ..job import Job
from ..posterior import class_columns, p_value, pose_columns
from ..posterior.joint_library import ALL
from ..posterior.p_value import FLAG, SURE
from ..posterior.pose_columns import POSE
from ..processes import gather_team, own_device
from ..settings.denoise import Denoise
from ..settings.map_prior import degrees
from ..shapes import Floats, Json
from ..trust.selection import nothing_but_noise
from .filling import Parts, fill

STACK, TABLE = 'denoised.mrcs', 'denoised.star'
UNCERTAINTY, MEMBER = 'cryoemganUncertainty', 'cryoemganMember'
FIT, MISFIT = 'cryoemganFit', 'cryoemganMisfit'
EVIDENCE, CONTRAST, DISAGREEMENT = 'cryoemganEvidence', 'cryoemganContrast', 'cryoemganPoseDisagreement'
UNKNOWN = 999.0
# Numbers found of each particle: see `_found`. Those of its pose follow, and the probability of each class.
SCORES = 6
FOUND = 2 + SCORES


@dataclass
class DenoiseInputs:
    """Checked input: particles, model, boxes on the way, which member denoises what, resolution cut (A or None)."""

    table: ParticleTable
    model: Model
    plan: boxes.Boxes
    routing: Routing
    cut: float | None


def load_inputs(settings: Denoise, job: Job) -> DenoiseInputs:
    """DenoiseInputs; InputError for anything that cannot be denoised."""
    table = open_particles(job, settings.particles)
    model = Model.load(settings.model, own_device(settings))
    _set_pose_prior(settings, model)
    model.require(table)
    job.input(model.folder / card.CARD)
    plan = boxes.choose_boxes(table, model, settings.output_box, settings.batch_size)
    return DenoiseInputs(table, model, plan, route(model, table), cut_of(settings.cut, model))


def _set_pose_prior(settings: Denoise, model: Model) -> None:
    """Set the pose prior of a guided model; InputError for another one."""
    if not model.guides:
        if settings.pose_prior != 'model':
            raise InputError(f'--pose-prior: {model.folder} is not a guided model, it does not use angles')
        return
    for guide in model.guides.values():
        if settings.pose_prior != 'model':
            guide.options.pose_prior = degrees(settings.pose_prior)


def run(settings: Denoise, job: Job, inputs: DenoiseInputs) -> Json:
    """Write denoised.mrcs, then denoised.star."""
    table, model, plan, routing = inputs.table, inputs.model, inputs.plan, inputs.routing
    precision = choose_precision(settings.precision, model.device)
    _warn_before(job, inputs)
    job.say(costs.of_stack(len(table), plan.box))
    committee = Ensemble(model, plan, precision, routing, inputs.cut, settings.uncertainty, table)
    columns = FOUND + POSE + len(model.classes)
    stack = ResumableStack(
        job.output(STACK), len(table), plan.box, plan.pixel_size, table.describe, columns=columns,
        left_out=len(job.left_out), resume=settings.resume,
    )  # fmt: skip

    def denoised(starts: Sequence[int]) -> Iterator[Parts]:
        for parts in committee.stream(table.images(), starts, job.warn):
            yield [(part.images, _found(part, columns)) for part in parts]

    start, team = time.perf_counter(), gather_team(settings)
    before = fill(stack, job, 'denoising', denoised, plan.batch_size, team)
    if team.rank:
        return {}
    seconds = time.perf_counter() - start
    constant = int(stack.values[:, 0].sum())
    if constant:
        job.warn(
            f'{constant} of {len(table)} particles are constant images (no signal and no noise); what the '
            'network shows for them means nothing'
        )
    errors = stack.values[:, 1] if settings.uncertainty else None
    scores, posterior = (stack.values[:, 2:FOUND], stack.values[:, FOUND:]) if model.guides else (None, None)
    output = _write_table(job, inputs, committee, errors, scores, posterior)
    typical = None if errors is None else _median(errors)
    faint = None if collapse.warning(model.card) else collapse.images_warning(typical)
    if faint:
        job.warn(faint)
    figures.gallery_page(
        job.output('gallery.html'), 'Denoised particles', f'Denoised particles are {card.statement_of(model.card)}.',
        {'noisy': table, 'denoised': job.folder / TABLE}, aligned=True,
    )  # fmt: skip
    guided = {} if scores is None else {**_judge(job, inputs, scores), **_told(job, output)}
    return {
        **guided, 'particles': len(table), 'box': plan.box, 'pixel_size': plan.pixel_size, 'ctf': model.card['ctf'],
        'model': str(model.folder.resolve()), 'model_digest': model.digest, 'leakage': routing.leakage,
        'members': routing.members, 'resolution_cut': committee.cut,
        'uncertainty_median': typical,
        'constant_images': constant, 'device': str(model.device), 'processes': team.size, 'precision': precision,
        'images_per_second': round((len(table) - before) / seconds, 2), 'statement': card.statement_of(model.card),
    }  # fmt: skip


def _found(batch: Denoised, columns: int) -> Floats:
    """float64 [b, columns]: whether the particle is a constant image, its expected error, scores, pose and classes; NaN
    for what was not asked."""
    found = np.full((len(batch.noisy), columns), np.nan)
    found[:, 0] = np.ptp(batch.noisy, axis=(1, 2)) == 0
    if batch.errors is not None:
        found[:, 1] = batch.errors
    if batch.scores is not None and batch.posterior is not None:
        found[:, 2:] = np.column_stack([batch.scores, batch.posterior])
    return found


def _write_table(
    job: Job,
    inputs: DenoiseInputs,
    committee: Ensemble,
    errors: Floats | None,
    scores: Floats | None,
    posterior: Floats | None,
) -> ParticleTable:
    model, plan, routing = inputs.model, inputs.plan, inputs.routing
    output = inputs.table.derive(STACK, box=plan.box, pixel_size=plan.pixel_size)
    if len(routing.members) > 1:
        output.set(MEMBER, routing.labels())
    if errors is not None:
        # STAR readers stumble over infinity; a constant image has no expected error.
        output.set(UNCERTAINTY, np.where(np.isfinite(errors), errors, UNKNOWN))
    if scores is not None:
        evidence, disagreement, contrast, misfit, _, fit = scores.T
        power = model.fit_power(routing.judges)
        if power is None or power.tells:
            output.set(FIT, fit)
        output.set(EVIDENCE, evidence)
        output.set(MISFIT, misfit)
        output.set(CONTRAST, contrast)
        if not np.isnan(disagreement).any():
            output.set(DISAGREEMENT, disagreement)
    if posterior is not None:
        pose_columns.write_poses(output, posterior[:, :POSE])
        class_columns.write_classes(output, posterior[:, POSE:], model.classes)
    known = {} if scores is None else {'evidence_threshold': f'{np.median(_thresholds(inputs)):.6f}'}
    output.set_provenance(
        verb='denoise',
        ctf=model.card['ctf'],
        model=model.folder.resolve(),
        model_digest=model.digest,
        members=', '.join(routing.members),
        cross_fit=model.card.get('cross_fit', {}).get('mode', 'none'),
        leakage=routing.leakage,
        resolution_cut=f'{committee.cut:.2f}' if committee.cut else 'none',
        statement=card.statement_of(model.card),
        **known,
    )
    output.write(job.output(TABLE))
    return output


def _thresholds(inputs: DenoiseInputs) -> Floats:
    """Evidence that 95 % of the particles the fold models were made for exceed, for each particle: float64 [n]."""
    model, routing = inputs.model, inputs.routing
    found = routing.weights @ np.array([model.evidence_threshold(n) for n in routing.members])
    return np.where(routing.joint, model.evidence_threshold(ALL), found) if routing.joint.any() else found


def _judge(job: Job, inputs: DenoiseInputs, scores: Floats) -> Json:
    """Warnings when a set has less evidence or fits the map worse than the particles the model was made for, and what
    the summary says of a guided model's scores."""
    evidence, disagreement, _, misfit, _, fit = scores.T
    shown, other = 'the map', 'a network trained on the map'
    if inputs.model.card.get('target') == 'self':
        shown, other = 'the other particles', '"filter --method cwf"'
    limits = _thresholds(inputs)
    low, usual = float((evidence < limits).mean()), 1 - ACCEPTED
    # One in twenty of the particles that the model was made for lies below the threshold.
    if low > 4 * usual:
        job.warn(
            f'{low:.0%} of the particles have less evidence (cryoemganEvidence) than all but {usual:.0%} of the '
            f'particles kept out of training ({np.median(limits):.1f}): they are empty, another molecule, or noisier '
            f'than the training set. A guided network draws {shown} into them all the same: leave them out, or use '
            f'{other}'
        )
    noise = nothing_but_noise(evidence) if shown == 'the map' else None
    if noise:
        job.warn(noise)
    power = inputs.model.fit_power(inputs.routing.judges)
    told = power is None or power.tells
    flags = inputs.model.fit_flags(inputs.routing.judges)
    words = p_value.words(fit, power, shown, flags)
    doubtful, sure = (float((fit < limit).mean()) for limit in (FLAG, SURE))
    if not told:
        job.warn(words[0].upper() + words[1:])
    elif doubtful > 4 * FLAG or sure > 10 * SURE:
        job.warn(
            f'{words}, or their CTF, pixel size or noise differ from those of training. A guided network '
            f'draws {shown} all the same: leave these particles out, or look at them with {other}'
        )
    return {'evidence_median': float(np.median(evidence)), 'evidence_threshold': float(np.median(limits)),
            'below_threshold': low, 'misfit_median': float(np.median(misfit)),
            'doubtful': doubtful if told else None, 'strange': sure if told else None, 'fit': words,
            'fit_power': power and asdict(power), 'fit_flags': flags,
            'pose_disagreement_median': _median(disagreement)}  # fmt: skip


def _told(job: Job, output: ParticleTable) -> Json:
    """What the summary says of poses and classes, said."""
    poses, classes = pose_columns.agreement(output), class_columns.counts(output)
    found: Json = {'pose_agreement': poses, 'poses': poses and pose_columns.words(poses),
                   'class_counts': classes, 'classes': classes and class_columns.words(classes)}  # fmt: skip
    for sentence in (found['poses'], found['classes']):
        if sentence:
            job.say(sentence)
    return found


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _warn_before(job: Job, inputs: DenoiseInputs) -> None:
    table, model, routing = inputs.table, inputs.model, inputs.routing
    if routing.leakage:
        job.warn(
            f'the model was trained on {routing.leakage} of these {len(table)} particles, whose images look better '
            'than the denoiser is; judge it by the others'
            + (
                '. All its fold models know them, by name or by half set (_rlnRandomSubset): if these are other '
                'particles, their names or half sets are the same as those of the training by chance'
                if len(routing.members) > 1
                else ', or train with cross-fitting'
            )
        )
    if 'cross_fit' not in model.card:
        job.warn(
            f'the training that writes {model.folder} has not finished: fold models may be missing, and neither its '
            'resolution nor its uncertainty has been measured; continue it (--resume)'
        )
    if routing.joint.any():
        job.say(
            f'{routing.joint.sum()} of {len(table)} particles are known to no fold model: they are compared with the '
            'templates of all of them at once'
        )
    blank = collapse.warning(model.card)
    if blank:
        job.warn(blank)
    if table.provenance.get('verb') == 'denoise':
        job.warn(f'{table.path} holds denoised particles already; the model was trained on noisy ones')
    held, learnt = table.ctf_state, model.card['ctf']
    if CtfState.UNKNOWN not in (held, learnt) and learnt not in (held, CtfState.NONE):
        job.warn(
            f'{table.path}: these particles hold the CTF as "{held}", the model learnt images that hold it as '
            f'"{learnt}": what it shows is not to be trusted'
        )
    for sentence in optics.unread(table) if model.guides else ():
        job.warn(sentence)
    grey = boxes.grey_scale_warning(model, table.images(), inputs.plan)
    if grey:
        job.warn(grey)
