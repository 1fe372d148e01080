"""``train``: pairs in, model folder out."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from .. import checkpoints, guiding, networks, sampling
from ..errors import InputError
from ..launching import launch, plan
from ..model import Model
from ..pairs import open_pairs
from ..settings.train import LENGTHS
from ..trainingrun import TrainingRun

# Settings in which a resumed run may differ from the interrupted one.
FREE = {'output', 'settings', 'threads', 'device', 'resume', 'overwrite', 'keep', 'patience', *LENGTHS}


@dataclass
class Prepared:
    """What the checks found: the pairs, which of them train, and where to start."""

    pairs: object
    training: np.ndarray
    validation: np.ndarray
    training_names: list
    identity: dict
    checkpoint: dict | None
    start: Model | None


def check(settings, job):
    """All checks of input; nothing is written."""
    s = settings.fill()
    plan(s)
    start = Model.load(job.input(s.init)) if s.init else None
    pairs = open_pairs(s, job)
    networks.create(s.network, pairs.box)
    if start is not None:
        _check_start(start, s, pairs)
    training, validation = sampling.split(len(pairs), s.validation_fraction, s.seed)
    _contaminate(s, job, pairs, training)
    if s.batch_size > len(training):
        job.warn(f'--batch-size: a batch of {s.batch_size} is all {len(training)} training pairs')
    if s.network == 'guided':
        guiding.check(s, pairs)
        for path in s.volume:
            job.input(path)
    names = pairs.names(training)
    identity = _identity(s, pairs, names)
    checkpoint = checkpoints.load(job.folder / 'checkpoints') if s.resume else None
    if checkpoint:
        checkpoints.check_same(checkpoint['identity'], identity)
    elif s.resume:
        job.say('no checkpoint to go on from: starting from the beginning')
    return Prepared(pairs, training, validation, names, identity, checkpoint, start)


def _check_start(model, s, pairs):
    if (model.card['network']['name'], model.card['box']) != (s.network, pairs.box):
        raise InputError(
            f'--init: {s.init} is a {model.card["network"]["name"]} network for {model.card["box"]} px, '
            f"this run asks for {s.network} and {pairs.box} px; set --network and --box to the model's"
        )
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
    if s.exchange_noise:
        job.warn(
            '--exchange-noise is off in a contamination experiment: it would mix the contamination into clean pairs'
        )
        s.exchange_noise = 0.0


def _identity(s, pairs, names):
    """What must be equal in a resumed run: settings, data, grey scale. Files are told by content, not by path."""
    kept = {k: v for k, v in s.as_dict().items() if k not in FREE and k not in ('particles', 'references', 'init')}
    scale = hashlib.sha256(repr(sorted(pairs.scale.as_dict().items())).encode()).hexdigest()
    return {**kept, 'training_particles': hashlib.sha256('\n'.join(names).encode()).hexdigest(), 'grey_values': scale}


def run(settings, job, prepared):
    """Train; returns the summary's results. WorkError when a loss term is no longer a number."""
    fabric, precision = launch(settings)
    checkpoint = prepared.checkpoint
    if settings.network == 'guided':
        if fabric.world_size > 1:
            raise InputError('--network guided trains in one process: its preparation is most of the cost')
        prepared.pairs = guiding.build(settings, job, prepared.pairs, prepared.training)
        prepared.training = np.append(prepared.training, prepared.pairs.empty)
    batch_size = checkpoint['batch_size'] if checkpoint else settings.batch_size
    while True:
        try:
            return TrainingRun(settings, job, prepared, fabric, precision, batch_size, checkpoint).go()
        except (torch.OutOfMemoryError, RuntimeError) as e:
            if not _out_of_memory(e) or batch_size < 2 or fabric.world_size > 1:
                raise
            batch_size //= 2
            job.warn(f'out of memory: going on with batches of {batch_size} instead of {2 * batch_size}')
            checkpoint = checkpoints.load(job.folder / 'checkpoints')
            torch.cuda.empty_cache()


def _out_of_memory(error):
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
