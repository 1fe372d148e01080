"""Who trains what: one fold model after the other, each from its pairs to its place in the model folder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .. import costs, networks
from ..data.identity import Who
from ..data.sampling import evenly_spread
from ..devices import is_out_of_memory
from ..errors import WorkError
from ..job import Job
from ..networks import Networks, parameter_count
from ..posterior import dataset
from ..settings.adversary import Adversary
from ..settings.optimisation import Evaluation, Length, Optimisation
from ..settings.pairs import Augmentation, SelfSupervision
from ..settings.train import Train
from ..shapes import Json, Rows
from . import checkpoints
from . import loop as timing
from .batches import Batches, group_of_rows
from .interfaces import FreshSource, TrainingPairs
from .linear_start import stand_ins
from .loading import read
from .loop import SCORES, TrainingLoop
from .model_folder import holds, write_model
from .noisy_pairs import NoisyPairs
from .pilot import Pilot
from .previews import Previews
from .recorrupted_pairs import RecorruptedPairs
from .shares import Share
from .step import Training
from .validation import open_validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Pairs that a network may look at before training: enough for its components.
LOOK_COUNT, LOOK_BYTES = 4000, 2**29


@dataclass(frozen=True)
class FoldTask:
    """One fold model to train.

    name: of it; all_names: of all fold models of the run. place: its sub-folder of the run ('' or 'members/NAME/').
    settings: filled, with its own seed and share of the minutes. options: of the network.
    training, validation: positions among the pairs.
    who: the particles that it knows of. identity: what a resumed run must share. checkpoint: of an
    interrupted run, or None. start: generator to begin with, or None. fresh: source of fresh pairs, or None.
    """

    name: str
    place: str
    all_names: list[str]
    settings: Train
    pairs: TrainingPairs
    training: Rows
    validation: Rows
    who: Who
    identity: Json
    checkpoint: Json | None
    start: nn.Module | None
    fresh: FreshSource | None
    options: Json


def train_fold_models(tasks: Sequence[FoldTask], job: Job, fabric: Fabric) -> dict[str, Json]:
    """Train them all; {name: what the summary says of it}. One that an interrupted run had finished is kept as it is.

    WorkError when a loss term is no longer a number.
    """
    job.say(_cost(tasks))
    saved = [task.checkpoint for task in tasks if task.checkpoint]
    if fabric.is_global_zero and saved and all('metrics' in c for c in saved):
        rows = [row for c in saved for row in c['metrics']]
        checkpoints.write_metrics(job.output('metrics.csv'), rows)
    return {task.name: _train(task, job, fabric) for task in tasks}


def _cost(tasks: Sequence[FoldTask]) -> str:
    pairs, s = tasks[0].pairs, tasks[0].settings
    minutes = s.minutes and s.minutes * len(tasks)
    return costs.of_training(len(pairs), pairs.box, len(tasks), minutes, s.network == 'guided')


def _train(task: FoldTask, job: Job, fabric: Fabric) -> Json:
    if len(task.all_names) > 1:
        job.say(f'fold model {task.name}: {len(task.training)} training pairs')
    start = timing.clock()
    if task.settings.network == 'guided':
        task = _guided(task, job, fabric)
    folder, previews = job.output(task.place + 'checkpoints'), Previews(task, job, fabric.device)
    # --minutes are those of a person: preparing counts.
    checkpoint, seconds = task.checkpoint, timing.clock() - start
    batch_size = checkpoint['batch_size'] if checkpoint else task.settings.batch_size
    while True:
        loop = _loop(task, job, fabric, folder, batch_size, checkpoint, seconds, previews)
        try:
            loop.go()
            previews.finish()
            return _results(task, loop)
        except (RuntimeError, MemoryError) as e:
            if not is_out_of_memory(e) or batch_size < 2 or fabric.world_size > 1:
                raise
            seconds = loop.seconds
        # Out of the except clause: its traceback would hold every tensor of the step that failed.
        del loop
        torch.cuda.empty_cache()
        batch_size //= 2
        job.warn(f'out of memory: going on with batches of {batch_size} instead of {2 * batch_size}')
        checkpoint = checkpoints.load(folder, job.warn)


def _guided(task: FoldTask, job: Job, fabric: Fabric) -> FoldTask:
    """The task with pairs that know their posterior, and with empty images."""
    if isinstance(task.pairs, NoisyPairs):
        s = task.settings
        assert s.recorruption is not None
        task = replace(task, pairs=RecorruptedPairs(task.pairs, s.recorruption, s.seed))
    pairs = dataset.build(job, task, fabric)
    training = np.append(pairs.training, pairs.empty)
    return replace(task, pairs=pairs, training=training, validation=pairs.validation)


def _loop(
    task: FoldTask,
    job: Job,
    fabric: Fabric,
    folder: Path,
    batch_size: int,
    checkpoint: Json | None,
    seconds: float,
    previews: Previews,
) -> TrainingLoop:
    """The loop of a fold model, ready to go on from a checkpoint or to start."""
    s, start, alone = task.settings, timing.clock(), task.settings.part(SelfSupervision)
    torch.manual_seed(s.seed)
    pair = networks.create(s.network, task.pairs.box, **task.options)
    if checkpoint is None:
        _first_weights(task, pair)
    how = s.part(Augmentation)
    share = Share(fabric.global_rank, fabric.world_size, group_of_rows(how))
    batches = Batches(
        task.pairs, task.training, task.fresh, how, s.fresh_fraction, alone, s.seed, batch_size, share,
        fabric.device,
    )  # fmt: skip
    training = Training(pair, batches, s.part(Optimisation), s.part(Adversary), s.seed, fabric)
    # What is trained on replicates is judged on them.
    fresh = task.fresh if how.exchange_noise or s.fresh_fraction else None
    validation = open_validation(task.pairs, task.validation, fabric, batch_size, alone, s.seed, fresh)
    others = [n for n in task.all_names if n != task.name]
    iteration = checkpoint['iteration'] if checkpoint else -1
    path, log = job.output('metrics.csv'), None
    if fabric.is_global_zero:
        log = checkpoints.MetricsLog(path, iteration, task.name, others)

    def keep_model(generator: nn.Module, score: Json) -> None:
        write_model(task, job, generator, score)
        previews.show(generator, score)

    loop = TrainingLoop(
        training, validation, s.part(Length), s.part(Evaluation), job, folder, task.identity, log, keep_model,
        Pilot.of(s.network, s.most_epochs, len(task.all_names)) if task.name == task.all_names[0] else None,
    )  # fmt: skip
    if checkpoint:
        loop.restore(checkpoint, seconds)
        _mend_model(task, job, loop, previews)
    else:
        # Looking at the data is part of the minutes, too.
        loop.seconds = seconds + timing.clock() - start
    return loop


def _mend_model(task: FoldTask, job: Job, loop: TrainingLoop, previews: Previews) -> None:
    """Write the best generator so far, and its previews, again where they are not as they were written."""
    folder = job.output('model')
    whole = holds(folder, task.name)
    if not loop.fabric.is_global_zero or not loop.best.scores or (whole and previews.are_there()):
        return
    try:
        weights = loop.best.weights()
    except checkpoints.Damaged as e:
        raise WorkError(f'{folder}: fold model {task.name} is missing or damaged, and so are its weights ({e}): train '
                        'again with --overwrite') from e  # fmt: skip
    if not whole:
        job.warn(f'{folder}: fold model {task.name} is missing or damaged: it is written again from its checkpoint')
    generator = copy.deepcopy(loop.training.average)
    generator.load_state_dict(weights)
    loop.keep_model(generator, loop.best.scores[0])


def _first_weights(task: FoldTask, pair: Networks) -> None:
    """A look at the data for networks that want one, or the weights of another model."""
    if task.start is not None:
        pair.generator.load_state_dict(task.start.state_dict())
        return
    most = max(2, min(LOOK_COUNT, LOOK_BYTES // (8 * task.pairs.box**2)))
    if isinstance(task.pairs, NoisyPairs) and pair.starts_from_data:
        pair.initialise(*stand_ins(task.pairs, task.training, task.settings.seed))
        return
    looked_at = read(task.pairs, task.training[evenly_spread(len(task.training), most)])
    noisy, clean = looked_at.noisy, looked_at.clean
    if task.pairs.target_noise:
        # What the output shall be has the spread of the signal, not that of the noisy targets.
        clean = clean * (task.pairs.scale.unit_sd / clean.std())
    pair.initialise(noisy, clean)


def _results(task: FoldTask, loop: TrainingLoop) -> Json:
    t, scores = loop.training, loop.best.scores
    mse = np.array([x['mse'] for x in scores])
    return {
        'generator_parameters': parameter_count(t.generator),
        'discriminator_parameters': parameter_count(t.discriminator),
        'iterations': t.iteration,
        'epochs': t.batches.loader.epochs,
        'training_seconds': round(loop.seconds, 3),
        'best': scores[0],
        'top': scores,
        'top_mse_mean': mse.mean(),
        'top_mse_sd': mse.std(),
        'batch_size': t.batches.size,
        'training_pairs': len(task.training),
        'validation_pairs': len(task.validation),
        'validation_pairs_measured': loop.validation.count,
        'train_ids': task.identity['training_particles'],
        'scale': task.pairs.scale.as_dict(),
        'snr_measured': task.fresh and task.fresh.snr,
    }


def merged(found: dict[str, Json]) -> Json:
    """Results of one fold model as they are; of several: sums of what was spent, means of what was reached, and
    each."""
    every = list(found.values())
    first = every[0]
    if len(every) == 1:
        return first
    spent = ('iterations', 'training_seconds', 'training_pairs', 'validation_pairs')
    spread = ('top_mse_mean', 'top_mse_sd')
    own = ('iterations', 'training_seconds', 'training_pairs', 'best', 'top', 'batch_size', 'train_ids', *spread)

    def mean(values: list[Any]) -> float:
        return float(np.mean(values))

    return {
        **{k: v for k, v in first.items() if k not in ('top', 'train_ids')},
        **{k: sum(f[k] for f in every) for k in spent},
        **{k: mean([f[k] for f in every]) for k in spread},
        'best': {
            'iteration': max(f['best']['iteration'] for f in every),
            **{k: mean([f['best'][k] for f in every]) for k in SCORES if k in first['best']},
        },
        'members': {name: {k: f[k] for k in own} for name, f in found.items()},
    }
