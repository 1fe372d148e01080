"""``train``: pairs in, model folder out."""

import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import checkpoints, networks, sampling
from ..devices import choose_precision, launch, parse_device
from ..errors import InputError, WorkError
from ..feeding import Feed
from ..model import Model
from ..networks import parameter_count
from ..pairs import open_pairs
from ..settings.train import LENGTHS
from ..training import Diverged, Training
from ..validation import Validation

CHECKPOINT_SECONDS = 600
# Settings in which a resumed run may differ from the interrupted one.
FREE = {'output', 'settings', 'threads', 'device', 'resume', 'overwrite', 'keep', 'patience', *LENGTHS}


@dataclass
class Prepared:
    """What the checks found: the pairs, which of them train, and where to start."""

    pairs: object
    training: np.ndarray
    validation: np.ndarray
    identity: dict
    checkpoint: dict | None
    start: Model | None


def check(settings, job):
    """All checks of input; nothing is written."""
    s = settings.fill()
    choose_precision(parse_device(s.device)[0], s.precision)
    start = Model.load(job.input(s.init)) if s.init else None
    pairs = open_pairs(s, job)
    networks.create(s.network, pairs.box)
    if start is not None:
        _check_start(start, s, pairs)
    training, validation = sampling.split(len(pairs), s.validation_fraction, s.seed)
    _contaminate(s, job, pairs, training)
    if s.batch_size > len(training):
        job.warn(f'--batch-size: a batch of {s.batch_size} is all {len(training)} training pairs')
    identity = _identity(s, pairs, training)
    checkpoint = checkpoints.load(job.folder / 'checkpoints') if s.resume else None
    if checkpoint:
        checkpoints.check_same(checkpoint['identity'], identity)
    elif s.resume:
        job.say('no checkpoint to go on from: starting from the beginning')
    return Prepared(pairs, training, validation, identity, checkpoint, start)


def _check_start(model, s, pairs):
    if (model.card['network']['name'], model.card['box']) != (s.network, pairs.box):
        raise InputError(f'--init: {s.init} is a {model.card["network"]["name"]} network for {model.card["box"]} px, '
                         f'this run asks for {s.network} and {pairs.box} px; set --network and --box to the model\'s')
    if abs(model.card['pixel_size'] / pairs.pixel_size - 1) > 0.02:
        raise InputError(f'--init: {s.init} was trained at {model.card["pixel_size"]:.4g} A/px, these particles have '
                         f'{pairs.pixel_size:.4g} A/px; resample them (--box) to the model\'s pixel size')


def _contaminate(s, job, pairs, training):
    if s.contaminate == 'none' or not s.contaminate_fraction:
        return
    chosen = sampling.contaminated(training, s.contaminate_fraction, s.seed)
    pairs.contaminate(s.contaminate, s.contaminate_noise, chosen, s.seed)
    job.warn(f'experiment: {s.contaminate} of {len(chosen)} of {len(training)} training pairs are replaced by '
             f'{s.contaminate_noise} noise')
    if s.exchange_noise:
        job.warn('--exchange-noise is off in a contamination experiment: it would mix the contamination into '
                 'clean pairs')
        s.exchange_noise = 0.0


def _identity(s, pairs, training):
    """What must be equal in a resumed run: settings, data, grey scale. Files are told by content, not by path."""
    kept = {k: v for k, v in s.as_dict().items() if k not in FREE and k not in ('particles', 'references', 'init')}
    scale = hashlib.sha256(repr(sorted(pairs.scale.as_dict().items())).encode()).hexdigest()
    return {**kept, 'training_particles': _digest(pairs.names(training)), 'grey_values': scale}


def _digest(names):
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()


def run(settings, job, prepared):
    """Train; returns the summary's results. WorkError when a loss term is no longer a number."""
    fabric, precision = launch(settings)
    batch_size, checkpoint = settings.batch_size, prepared.checkpoint
    while True:
        try:
            return _Run(settings, job, prepared, fabric, precision, batch_size, checkpoint).go()
        except (torch.OutOfMemoryError, RuntimeError) as e:
            if not _out_of_memory(e) or batch_size < 2 or fabric.world_size > 1:
                raise
            batch_size //= 2
            job.warn(f'out of memory: going on with batches of {batch_size} instead of {2 * batch_size}')
            checkpoint = checkpoints.load(job.folder / 'checkpoints')
            torch.cuda.empty_cache()


def _out_of_memory(error):
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class _Run:
    """One attempt at a run, with one batch size."""

    def __init__(self, settings, job, prepared, fabric, precision, batch_size, checkpoint):
        self.s, self.job, self.prepared, self.fabric, self.precision = settings, job, prepared, fabric, precision
        s, pairs = settings, prepared.pairs
        torch.manual_seed(s.seed)
        self.pair = networks.create(s.network, pairs.box)
        if batch_size % fabric.world_size:
            raise InputError(f'--batch-size: {batch_size} cannot be shared among {fabric.world_size} processes')
        feed = Feed(pairs, prepared.training, s.seed, s.shuffle)
        if checkpoint is None:
            self._first_weights()
        self.training = Training(self.pair, feed, s, fabric, pairs.scale.signal(), batch_size)
        self.validation = Validation(pairs, prepared.validation, fabric, batch_size)
        saved = checkpoint or {'seconds': 0.0, 'scores': [], 'stale': 0}
        if checkpoint:
            self.training.restore(checkpoint)
        self.seconds, self.stale = saved['seconds'], saved['stale']
        self.total = self._iterations(len(prepared.training))
        if fabric.is_global_zero:
            self.log = checkpoints.MetricsLog(job.output('metrics.csv'), self.training.iteration)
        self.best = checkpoints.Best(job.output('checkpoints'), s.keep, saved['scores'],
                                     fabric.is_global_zero)
        self._measured = self.training.iteration

    def _first_weights(self):
        """A look at the data for networks that want one, or the weights of another model."""
        if self.prepared.start is not None:
            self.pair.generator.load_state_dict(self.prepared.start.generator.state_dict())
            return
        some = self.prepared.training
        some = some[np.linspace(0, len(some) - 1, min(len(some), 4000)).round().astype(int)]
        noisy, clean = (torch.from_numpy(x)[:, None] for x in self.prepared.pairs.read(some))
        self.pair.initialise(noisy, clean)

    def _iterations(self, count):
        """Number of iterations, or None when the clock rules."""
        s = self.s
        if s.iterations:
            return s.iterations
        if s.minutes:
            return None
        steps = s.generator_steps + (s.discriminator_steps if s.gan != 'none' else 0)
        return math.ceil(s.epochs * max(1, count // self.training.batch_size) / steps)

    def go(self):
        """The loop over iterations and evaluations."""
        t, before, clock = self.training, self.seconds, time.monotonic()
        saved = clock
        with self.job.progress(self.total or round(60 * self.s.minutes), 'training',
                               t.iteration if self.total else round(before)) as bar:
            while True:
                t.progress = self.fabric.broadcast(self._progress())
                if t.progress >= 1 and t.iteration > 0:
                    break
                self._iterate()
                self.seconds = before + time.monotonic() - clock
                bar.n = t.iteration if self.total else min(bar.total, round(self.seconds))
                bar.refresh() if bar.total == bar.n else bar.update(0)
                if self._evaluation_due(t.progress):
                    self._evaluate(bar)
                    saved = time.monotonic()
                    if self.s.patience and self.stale >= self.s.patience:
                        self.job.say(f'no improvement in {self.stale} evaluations: stopping early')
                        break
                elif self.fabric.is_global_zero and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
        if self._measured != t.iteration:
            self._evaluate(bar)
        return self._results()

    def _progress(self):
        """Part of the run that is done, 0..1."""
        return self.training.iteration / self.total if self.total else self.seconds / (60 * self.s.minutes)

    def _iterate(self):
        try:
            self.training.iterate()
        except Diverged as e:
            raise WorkError(f'{e}. {self._what_is_left()} Lower the learning rate, or set --clip') from e

    def _what_is_left(self):
        if not self.best.scores:
            return 'No model was written yet.'
        return f'The best model so far (iteration {self.best.scores[0]["iteration"]}) is kept in {self.job.folder}/model.'

    def _evaluation_due(self, progress_before):
        """At equal steps of progress, and at the end."""
        now, parts = self.fabric.broadcast(self._progress()), self.s.evaluations
        return now >= 1 or math.floor(now * parts) > math.floor(progress_before * parts)

    def _evaluate(self, bar):
        t, s = self.training, self.s
        found = self.validation.measure(t.average, t.discriminator if t.rule else None)
        if not math.isfinite(found['mse']):
            raise WorkError(f'iteration {t.iteration}: the validation error became {found["mse"]}. {self._what_is_left()}')
        self._measured = t.iteration
        terms = {k: total / count for k, (total, count) in t.terms.items()}
        rates = {f'learning_rate_{k}': o.param_groups[0]['lr']
                 for k, o in (('generator', t.optimise_g), ('discriminator', t.optimise_d))}
        t.terms = {}
        score = {'iteration': t.iteration, **{k: found[k] for k in ('mse', 'psnr', 'ssim')}}
        bar.set_postfix_str(f'validation mse {found["mse"]:.4g} psnr {found["psnr"]:.2f}')
        better = self.best.add(score, t.average.state_dict())
        self.stale = 0 if better else self.stale + 1
        if self.fabric.is_global_zero:
            epoch = t.feed.epoch + t.feed.offset / len(t.feed.positions)
            self.log.append({'iteration': t.iteration, 'epoch': epoch, 'seconds': self.seconds, **terms, **found,
                             **rates})
            if better:
                self._write_model(score)
            self._save()

    def _save(self):
        """Write the checkpoint (one process only)."""
        checkpoints.save(self.job.output('checkpoints'), {
            **self.training.state(), 'seconds': self.seconds, 'scores': self.best.scores, 'stale': self.stale,
            'identity': self.prepared.identity})

    def _write_model(self, score):
        raise NotImplementedError

    def _results(self):
        t, s = self.training, self.s
        scores = self.best.scores
        mse = np.array([x['mse'] for x in scores])
        return {
            'settings': s.as_dict(), 'generator_parameters': parameter_count(self.pair.generator),
            'discriminator_parameters': parameter_count(self.pair.discriminator), 'iterations': t.iteration,
            'epochs': t.feed.epoch + t.feed.offset / len(t.feed.positions), 'training_seconds': round(self.seconds, 3),
            'best': scores[0], 'top': scores, 'top_mse_mean': mse.mean(), 'top_mse_sd': mse.std(),
            'device': str(self.fabric.device), 'processes': self.fabric.world_size, 'precision': self.precision,
            'batch_size': t.batch_size, 'training_pairs': len(self.prepared.training),
            'validation_pairs': len(self.prepared.validation), 'validation_pairs_measured': self.validation.count,
            'train_ids': self.prepared.identity['training_particles'], 'scale': self.prepared.pairs.scale.as_dict(),
        }
