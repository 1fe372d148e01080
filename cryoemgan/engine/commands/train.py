"""``train``: pairs in, model folder out."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import networks
from ..devices import keep_freed_memory
from ..errors import InputError
from ..inference import assessment, assessment_from_copies, collapse
from ..inference.card import ASSUMPTIONS
from ..inference.model import Model, amend_card
from ..job import file_identity
from ..posterior import dataset
from ..settings.train import LENGTHS
from ..training import checkpoints, folds, sampling
from ..training.distributed import choose_devices, launch
from ..training.fresh_pairs import FreshPairs, read_volumes
from ..training.loop import SCORES, FoldTask, TrainingRun
from ..training.noise_images import open_background
from ..training.noisy_pairs import open_noisy
from ..training.pairs import open_pairs

# Settings in which a resumed run may differ from the interrupted one.
FREE = {'output', 'settings', 'threads', 'device', 'resume', 'overwrite', 'keep', 'patience', *LENGTHS}
# Members start from other weights: where they agree, it is not because they began alike.
SEED_STEP = 7919


@dataclass
class TrainInputs:
    """What the checks found: the pairs, the cross-fitting that was chosen, and its members."""

    pairs: object
    mode: str
    members: list


def load_inputs(settings, job):
    """All checks of input; nothing is written."""
    s = settings.fill()
    choose_devices(s)
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
    parts = folds.make_folds(mode, len(pairs), halves, s.folds, s.validation_fraction, s.seed)
    _contaminate(s, job, pairs, np.unique(np.concatenate([p.training for p in parts])))
    members = [_member(s, job, pairs, parts, k, start) for k in range(len(parts))]
    if s.batch_size > min(len(p.training) for p in parts):
        job.warn(f'--batch-size: a batch of {s.batch_size} is all training pairs of a member')
    if s.resume and not any(m.checkpoint for m in members):
        job.say('no checkpoint to go on from: starting from the beginning')
    return TrainInputs(pairs, mode, members)


def _member(s, job, pairs, parts, k, start):
    """The FoldTask of a part: its settings, identity and checkpoint."""
    part = parts[k]
    names = pairs.names(part.touched)
    place = f'members/{part.name}/' if len(parts) > 1 else ''
    own = replace(s, seed=(s.seed + SEED_STEP * k) % 2**32, minutes=s.minutes and s.minutes / len(parts))
    identity = _identity(s, pairs, pairs.names(part.training))
    checkpoint = checkpoints.load(job.folder / place / 'checkpoints') if s.resume else None
    if checkpoint:
        checkpoints.check_same(checkpoint['identity'], identity)
    first = None if start is None else _first_weights(start, s, pairs, parts, part)
    synthetic = _synthetic(own, job, pairs, part.training)
    return FoldTask(part.name, place, [p.name for p in parts], own, pairs, part.training, part.validation, names,
                  identity, checkpoint, first, synthetic)  # fmt: skip


def _first_weights(start, s, pairs, parts, part):
    """The generator of --init that a member may start from: one that saw nothing the member must not know."""
    if len(parts) == 1:
        return next(iter(start.members.values()))
    hidden = pairs.names(np.setdiff1d(np.arange(len(pairs)), part.touched))
    seen = start.trained_on(hidden)
    for name in sorted(start.members, key=lambda n: n != part.name):
        if not seen[name].any():
            return start.members[name]
    raise InputError(
        f'--init: every member of {s.init} was trained on particles that member {part.name} must not know; start '
        'without --init, or give up cross-fitting with --cross-fit none'
    )


def _tell_ctf(job, pairs):
    if pairs.kind == 'references' and pairs.ctf == 'unknown':
        job.warn(
            f'{pairs.references.path} does not say what its images hold of the CTF (project writes it): the model '
            'and what it denoises are marked "unknown"'
        )


def _tell_assumptions(job, pairs):
    if pairs.kind in ASSUMPTIONS:
        job.say(f'trained without references: {ASSUMPTIONS[pairs.kind]}')


def _tell_half_maps(s, job, pairs):
    if s.volume:
        job.say('fresh pairs of both half sets come from --volume, which holds the noise of both')
    if pairs.references.provenance.get('half_maps') != 'yes':
        job.say(
            'references of both half sets come from one map, which holds the noise of both: project with --half1 and '
            '--half2 to keep them apart'
        )


def _check_start(model, s, pairs):
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


def _contaminate(s, job, pairs, training):
    if s.contaminate == 'none' or not s.contaminate_fraction:
        return
    chosen = sampling.contaminated(training, s.contaminate_fraction, s.seed)
    pairs.contaminate(s.contaminate, s.contaminate_noise, chosen, s.seed)
    job.warn(
        f'experiment: {s.contaminate} of {len(chosen)} of {len(training)} training pairs are replaced by '
        f'{s.contaminate_noise} noise'
    )
    if s.exchange_noise or s.noise_curriculum:
        job.warn(
            '--exchange-noise and --noise-curriculum are off in a contamination experiment: they would mix the '
            'contamination into clean pairs'
        )
        s.exchange_noise = s.noise_curriculum = 0.0


def _synthetic(s, job, pairs, training):
    """The source of fresh pairs, when they or changes of the noise are asked for."""
    if s.volume and not s.fresh_fraction and s.network != 'guided':
        raise InputError(
            '--volume is used for fresh pairs and for --network guided only: give --fresh-fraction too, or leave it out'
        )
    if s.noise_particles and not s.fresh_fraction:
        raise InputError('--noise-particles is used for fresh pairs only: give --fresh-fraction too, or leave it out')
    if not (s.fresh_fraction or s.noise_curriculum or s.exchange_noise):
        return None
    if s.contaminate != 'none':
        raise InputError('--contaminate is for real pairs: leave out --fresh-fraction')
    background = open_background(s.noise_particles, pairs, s.seed, job)
    synthetic = FreshPairs(pairs, training, s.seed, read_volumes(s.volume, pairs, job), background)
    job.say(f'noise of the particles: signal-to-noise ratio {synthetic.measured.snr:.3g}')
    if background is not None:
        job.say(f'images of noise are multiplied by {synthetic.background_scale:.3g} to be as strong as that')
    return synthetic


def _identity(s, pairs, names):
    """What must be equal in a resumed run: settings, data, grey scale. Files are told by content, not by path."""
    files = ('particles', 'references', 'copies', 'init', 'volume', 'noise_particles')
    kept = {k: v for k, v in s.as_dict().items() if k not in FREE and k not in files}
    scale = hashlib.sha256(repr(sorted(pairs.scale.as_dict().items())).encode()).hexdigest()
    kept['volume'] = [file_identity(v).get('sha256', v) for v in s.volume]
    kept['noise_particles'] = s.noise_particles and file_identity(s.noise_particles).get('sha256', s.noise_particles)
    return {**kept, 'training_particles': hashlib.sha256('\n'.join(names).encode()).hexdigest(), 'grey_values': scale}


def run(settings, job, inputs):
    """Train every member; returns the summary's results. WorkError when a loss term is no longer a number."""
    keep_freed_memory()
    fabric, precision = launch(settings)
    found = {member.name: _train(job, member, fabric, precision) for member in inputs.members}
    results = _merged(found)
    results['cross_fit'] = {'mode': inputs.mode, 'members': list(found)}
    if fabric.is_global_zero:
        how = assessment if inputs.pairs.kind == 'references' else assessment_from_copies
        measured = how.assess(Model.load(job.folder / 'model', fabric.device), inputs.pairs, inputs.members)
        half_maps = inputs.pairs.references.provenance.get('half_maps') == 'yes'
        amend_card(job.folder / 'model', cross_fit={'mode': inputs.mode, 'own_half_map': half_maps}, **measured)
        results |= measured
        job.say(how.sentence(measured))
        blank = collapse.warning(measured)
        if blank:
            job.warn(blank)
    return results


def _train(job, member, fabric, precision):
    """Results of one member. A member that an interrupted run had finished is not trained again."""
    if len(member.all_names) > 1:
        job.say(f'member {member.name}: {len(member.training)} training pairs')
    checkpoint = member.checkpoint
    if member.settings.network == 'guided':
        member.pairs = dataset.build(job, member, fabric)
        member.training = np.append(member.training, member.pairs.empty)
    batch_size = checkpoint['batch_size'] if checkpoint else member.settings.batch_size
    while True:
        try:
            return TrainingRun(member.settings, job, member, fabric, precision, batch_size, checkpoint).go()
        except (torch.OutOfMemoryError, RuntimeError) as e:
            if not _out_of_memory(e) or batch_size < 2 or fabric.world_size > 1:
                raise
            batch_size //= 2
            job.warn(f'out of memory: going on with batches of {batch_size} instead of {2 * batch_size}')
            checkpoint = checkpoints.load(job.folder / member.place / 'checkpoints')
            torch.cuda.empty_cache()


def _out_of_memory(error):
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _merged(found):
    """Results of one member as they are; of several: sums of what was spent, means of what was reached, and each."""
    first = next(iter(found.values()))
    if len(found) == 1:
        return first
    every = list(found.values())
    sums = {
        k: sum(f[k] for f in every) for k in ('iterations', 'training_seconds', 'training_pairs', 'validation_pairs')
    }
    best = {k: float(np.mean([f['best'][k] for f in every])) for k in SCORES if k in first['best']}
    spread = ('top_mse_mean', 'top_mse_sd')
    top = {k: float(np.mean([f[k] for f in every])) for k in spread}
    own = ('iterations', 'training_seconds', 'training_pairs', 'best', 'top', 'batch_size', 'train_ids', *spread)
    return {
        **{k: v for k, v in first.items() if k not in ('top', 'train_ids')},
        **sums,
        **top,
        'best': {'iteration': max(f['best']['iteration'] for f in every), **best},
        'members': {name: {k: f[k] for k in own} for name, f in found.items()},
    }
