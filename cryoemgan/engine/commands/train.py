"""``train``: pairs in, model folder out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from .. import networks
from ..data.identity import Kin
from ..devices import choose_precision, keep_freed_memory
from ..errors import InputError
from ..inference import assessment, assessment_from_copies, collapse
from ..inference.card import ASSUMPTIONS
from ..inference.model import Model
from ..inference.model_writer import amend_card
from ..job import Job
from ..posterior import dataset
from ..processes import choose_devices, launch
from ..settings.train import Train
from ..shapes import Flags, Json, Rows
from ..training import checkpoints, folds, sampling, wrong_pairs
from ..training.fresh_pairs import FreshPairs, read_volumes
from ..training.interfaces import TrainingPairs
from ..training.noise_images import open_background
from ..training.noisy_pairs import NoisyPairs, open_noisy
from ..training.pairs import Contaminated, ReferencePairs, open_pairs
from ..training.run import FoldTask, merged, train_fold_models

# Fold models start from other weights: where they agree, it is not because they began alike.
SEED_STEP = 7919


@dataclass
class TrainInputs:
    """What the checks found: the pairs, the cross-fitting that was chosen, and its fold models."""

    pairs: TrainingPairs
    mode: str
    tasks: list[FoldTask]


def load_inputs(settings: Train, job: Job) -> TrainInputs:
    """All checks of input; nothing is written. settings: filled."""
    s = settings
    choose_precision(s.precision, choose_devices(s)[0])
    start = Model.load(job.input(s.init)) if s.init else None
    if s.network == 'guided':
        dataset.check_settings(s)
    pairs = open_pairs(s, job) if s.target == 'references' else open_noisy(s, job)
    if s.network == 'guided':
        dataset.check(s, pairs, job)
    networks.create(s.network, pairs.box)
    if start is not None:
        _check_start(start, s, pairs)
    _tell_ctf(job, pairs)
    _tell_assumptions(job, pairs)
    halves = pairs.half_sets()
    mode = folds.choose(s.cross_fit, len(pairs), halves)
    if mode == 'halves' and s.target == 'references':
        _tell_half_maps(s, job, pairs)
    _tell_other_halves(job, pairs, mode, halves)
    kin = pairs.kin()
    _tell_kin(job, kin, halves if mode == 'halves' else None, s.folds if mode == 'folds' else 1)
    group = None if kin.alone else kin.group
    parts = folds.make_folds(mode, len(pairs), halves, s.folds, s.validation_fraction, s.seed, group)
    _contaminate(s, job, pairs, np.unique(np.concatenate([p.training for p in parts])))
    kept = wrong_pairs.kept(s, pairs, job)
    tasks = [_fold_task(s, job, pairs, parts, k, start, kept) for k in range(len(parts))]
    if s.batch_size > min(len(p.training) for p in parts):
        job.warn(f'--batch-size: a batch of {s.batch_size} is all training pairs of a fold model')
    if s.resume and not any(t.checkpoint for t in tasks):
        job.say('no checkpoint to go on from: starting from the beginning')
    return TrainInputs(pairs, mode, tasks)


def _fold_task(
    s: Train, job: Job, pairs: TrainingPairs, parts: list[folds.Fold], k: int, start: Model | None, kept: Flags
) -> FoldTask:
    """The FoldTask of a part: its settings, identity and checkpoint. kept: bool [len(pairs)], which pairs are right."""
    part = parts[k]
    # A few pairs may all look wrong by chance; without any there is nothing to train or to stop by.
    training, validation = (x[kept[x]] if kept[x].any() else x for x in (part.training, part.validation))
    place = f'members/{part.name}/' if len(parts) > 1 else ''
    own = replace(s, seed=(s.seed + SEED_STEP * k) % 2**32, minutes=s.minutes and s.minutes / len(parts))
    identity = checkpoints.identity(s, pairs, part.training)
    checkpoint = checkpoints.load(job.folder / place / 'checkpoints', job.warn) if s.resume else None
    if checkpoint:
        checkpoints.check_same(checkpoint['identity'], identity)
    return FoldTask(
        name=part.name,
        place=place,
        all_names=[p.name for p in parts],
        settings=own,
        pairs=pairs,
        training=training,
        validation=validation,
        who=pairs.who(part.touched),
        identity=identity,
        checkpoint=checkpoint,
        start=None if start is None else _first_weights(start, s, pairs, parts, part),
        fresh=_fresh_pairs(own, job, pairs, training),
        options=_network_options(s, pairs, start),
    )


def _network_options(s: Train, pairs: TrainingPairs, start: Model | None) -> Json:
    """Options of the network; one that can take account of the CTF is told where it is, and shown it."""
    found: Json = start.card['network']['options'] if start else networks.options(s.network, s.gan)
    if not isinstance(pairs, ReferencePairs | NoisyPairs) or 'particles_hold' not in found:
        return found
    if start is None:
        found['particles_hold'], found['references_hold'] = pairs.image_model
    if found['particles_hold'] not in ('', 'none'):
        pairs.show_ctf()
    return found


def _first_weights(
    start: Model, s: Train, pairs: TrainingPairs, parts: list[folds.Fold], part: folds.Fold
) -> nn.Module:
    """The generator of --init that a fold model may start from: one that saw nothing the fold model must not know."""
    if len(parts) == 1:
        first: nn.Module = next(iter(start.members.values()))
        return first
    hidden = pairs.who(np.setdiff1d(np.arange(len(pairs)), part.touched))
    seen = start.trained_on(hidden)
    for name in sorted(start.members, key=lambda n: n != part.name):
        if not seen[name].any():
            found: nn.Module = start.members[name]
            return found
    raise InputError(
        f'--init: every fold model of {s.init} was trained on particles that fold model {part.name} must not know; '
        'start without --init, or give up cross-fitting with --cross-fit none'
    )


def _tell_kin(job: Job, kin: Kin, halves: Rows | None, number: int) -> None:
    """Warn of copies, filaments, and of pairs that no fold model may learn from. number: of folds."""
    if kin.copies:
        job.warn(
            f'{kin.copies} of {len(kin.group)} rows are copies: their image stands in another row already (symmetry '
            'expansion, joined sets). All of them are used, those of one image on one side of every split'
        )
    if kin.filaments:
        job.warn(
            f'segments of {kin.filaments} filaments (_rlnHelicalTubeID) overlap: those of one filament stay on one '
            'side of every split'
        )
    if halves is None:
        if (count := len(np.unique(kin.group))) < number:
            job.warn(
                f'all pairs belong to {count} groups of copies or filaments, which cannot be kept apart in {number} '
                'folds: particles will meet networks that know them'
            )
        return
    if (both := folds.torn(halves, kin.group).sum()) and not kin.alone:
        job.warn(
            f'{both} of {len(halves)} pairs are copies or segments of one filament that the refinement put into both '
            'half sets: no fold model learns from them, or it would know what it must not. --cross-fit folds uses them'
        )


def _tell_ctf(job: Job, pairs: TrainingPairs) -> None:
    if isinstance(pairs, ReferencePairs) and pairs.ctf == 'unknown':
        job.warn(
            f'{pairs.references.path} does not say what its images hold of the CTF (project writes it): the model '
            'and what it denoises are marked "unknown"'
        )


def _tell_assumptions(job: Job, pairs: TrainingPairs) -> None:
    if pairs.kind in ASSUMPTIONS:
        job.say(f'trained without references: {ASSUMPTIONS[pairs.kind]}')


def _tell_half_maps(s: Train, job: Job, pairs: TrainingPairs) -> None:
    if s.volume:
        job.say('fresh pairs of both half sets come from --volume, which holds the noise of both')
    if not pairs.own_half_maps():
        job.say(
            'references of both half sets come from one map, which holds the noise of both: project with --half1 and '
            '--half2 to keep them apart'
        )


def _tell_other_halves(job: Job, pairs: TrainingPairs, mode: str, halves: Rows | None) -> None:
    """Half sets other than 1 and 2 belong to no fold model: said, since nobody sees it from the result."""
    if mode != 'halves' or halves is None:
        return
    other = ~np.isin(halves, (1, 2))
    if other.any():
        found = ', '.join(str(h) for h in np.unique(halves[other])[:5])
        job.warn(
            f'{pairs.particles.path}: {other.sum()} of {len(halves)} particles are in neither half set 1 nor 2 '
            f'(_rlnRandomSubset is {found}) and are not trained on; --cross-fit folds uses them'
        )


def _check_start(model: Model, s: Train, pairs: TrainingPairs) -> None:
    if (model.card['network']['name'], model.card['box']) != (s.network, pairs.box):
        raise InputError(
            f'--init: {s.init} is a {model.card["network"]["name"]} network for {model.card["box"]} px, '
            f"this run asks for {s.network} and {pairs.box} px; set --network and --box to the model's"
        )
    learnt = model.card.get('target', 'references')
    if learnt != s.target:
        raise InputError(f'--init: {s.init} learnt from {learnt}, this run asks for --target {s.target}')
    if abs(model.card['pixel_size'] / pairs.pixel_size - 1) > 0.02:
        raise InputError(
            f'--init: {s.init} was trained at {model.card["pixel_size"]:.4g} A/px, these particles have '
            f"{pairs.pixel_size:.4g} A/px; resample them (--box) to the model's pixel size"
        )


def _contaminate(s: Train, job: Job, pairs: TrainingPairs, training: Rows) -> None:
    if not s.contaminates() or not isinstance(pairs, ReferencePairs):
        return
    chosen = sampling.contaminated(training, s.contaminate_fraction, s.seed)
    pairs.contaminate(Contaminated(s.contaminate, s.contaminate_noise, chosen, s.seed))
    job.warn(
        f'experiment: {s.contaminate} of {len(chosen)} of {len(training)} training pairs are replaced by '
        f'{s.contaminate_noise} noise; noise is neither exchanged nor weakened at first, which would carry it into '
        'clean pairs'
    )


def _fresh_pairs(s: Train, job: Job, pairs: TrainingPairs, training: Rows) -> FreshPairs | None:
    """The source of fresh pairs, when they or changes of the noise are asked for."""
    if s.volume and not s.fresh_fraction and s.network != 'guided':
        raise InputError(
            '--volume is used for fresh pairs and for --network guided only: give --fresh-fraction too, or leave it out'
        )
    if s.noise_particles and not s.fresh_fraction:
        raise InputError('--noise-particles is used for fresh pairs only: give --fresh-fraction too, or leave it out')
    if not (s.fresh_fraction or s.noise_curriculum or s.exchange_noise) or not isinstance(pairs, ReferencePairs):
        return None
    if s.contaminate != 'none':
        raise InputError('--contaminate is for real pairs: leave out --fresh-fraction')
    background = open_background(s.noise_particles, pairs, s.seed, job)
    fresh = FreshPairs(pairs, training, s.seed, read_volumes(s.volume, pairs, job), background)
    job.say(f'noise of the particles: signal-to-noise ratio {fresh.snr:.3g}')
    if background is not None:
        job.say(f'images of noise are multiplied by {background.scale:.3g} to be as strong as that')
    return fresh


def run(settings: Train, job: Job, inputs: TrainInputs) -> Json:
    """Train every fold model; returns the summary's results. WorkError when a loss term is no longer a number."""
    keep_freed_memory()
    growing = networks.outline(settings.network, inputs.pairs.box).stages > 1
    precision = choose_precision(settings.precision, choose_devices(settings)[0])
    fabric = launch(settings, precision, unused_weights=growing)
    found = train_fold_models(inputs.tasks, job, fabric)
    results = {
        **merged(found),
        'device': str(fabric.device),
        'processes': fabric.world_size,
        'precision': precision,
        'cross_fit': {'mode': inputs.mode, 'members': list(found)},
    }
    if fabric.is_global_zero:
        results |= _assess(job, inputs, Model.load(job.folder / 'model', fabric.device), collapse.best_at(results))
        dataset.finish(job, inputs.pairs, {task.name: task.place for task in inputs.tasks})
    return results


def _assess(job: Job, inputs: TrainInputs, model: Model, best_at: float | None) -> Json:
    """What the model can do on particles that it never saw; also written to its card. best_at: `collapse.best_at`."""
    how = assessment if inputs.pairs.kind == 'references' else assessment_from_copies
    measured: Json = how.assess(model, inputs.pairs, inputs.tasks)
    if best_at is not None:
        measured['shown']['best_at'] = best_at
    cross_fit = {'mode': inputs.mode, 'own_half_map': inputs.pairs.own_half_maps()}
    amend_card(job.folder / 'model', cross_fit=cross_fit, **measured)
    if 'signal' in measured:
        measured['snr_measured'] = measured['signal']['snr']
    job.say(how.sentence(measured))
    blank = collapse.warning(measured)
    if blank:
        job.warn(blank)
    elif advice := collapse.advice(measured, inputs.tasks[0].settings.network):
        job.say(advice)
        measured['advice'] = advice
    return measured
