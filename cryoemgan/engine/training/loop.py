"""One training run: the loop over iterations, evaluations, checkpoints and the model folder."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from ... import __version__
from .. import networks
from ..errors import InputError, WorkError
from ..inference.card import CARD, read_card
from ..inference.model import save_model
from ..networks import parameter_count
from . import checkpoints
from .augmentation import with_channel
from .loading import PairLoader
from .step import Diverged, Training
from .validation import CopiesValidation, Validation

# A killed run loses at most this much, however far apart its evaluations are.
CHECKPOINT_SECONDS = 600
SCORES = ('mse', 'psnr', 'ssim')
# ReferencePairs that a network may look at before training: enough for its components.
LOOK_COUNT, LOOK_BYTES = 4000, 2**29
# The clock of --minutes. Benchmarks on shared machines put process CPU time in its place.
clock = time.monotonic


@dataclass
class FoldTask:
    """One network to train: its pairs, its settings, and where it stands.

    place: its sub-folder of the run ('' or 'members/NAME/'). all_names: of every member of the run. names: identities
    of the particles it knows of. identity: what a resumed run must share. start: generator to begin with, or None.
    synthetic: source of fresh pairs, or None.
    """

    name: str
    place: str
    all_names: list
    settings: object
    pairs: object
    training: np.ndarray
    validation: np.ndarray
    names: list
    identity: dict
    checkpoint: dict | None
    start: object
    synthetic: object


class TrainingRun:
    """One attempt at a run, with one batch size. settings: Train, filled. task: the FoldTask to train."""

    def __init__(self, settings, job, task, fabric, precision, batch_size, checkpoint):
        self.s, self.job, self.task, self.fabric, self.precision = settings, job, task, fabric, precision
        s, pairs = settings, task.pairs
        torch.manual_seed(s.seed)
        self.pair = networks.create(s.network, pairs.box, **networks.options(s.network, s.gan))
        if batch_size % fabric.world_size:
            raise InputError(f'--batch-size: {batch_size} cannot be shared among {fabric.world_size} processes')
        feed = PairLoader(pairs, task.training, s.seed, s.shuffle)
        if checkpoint is None:
            self._first_weights()
        self.training = Training(self.pair, feed, s, fabric, batch_size, task.synthetic)
        self.validation = self._validation(pairs, fabric, batch_size)
        saved = checkpoint or {'seconds': 0.0, 'scores': [], 'stale': 0}
        if checkpoint:
            self.training.restore(checkpoint)
        self.seconds, self.stale = saved['seconds'], saved['stale']
        self.total = self._iterations(len(task.training))
        if fabric.is_global_zero:
            others = [n for n in task.all_names if n != task.name]
            self.log = checkpoints.MetricsLog(job.output('metrics.csv'), self.training.iteration, task.name, others)
        folder = job.output(task.place + 'checkpoints')
        self.best = checkpoints.Best(folder, s.keep, saved['scores'], fabric.is_global_zero)
        self._measured = self.training.iteration

    def _validation(self, pairs, fabric, batch_size):
        arguments = pairs, self.task.validation, fabric, batch_size
        if pairs.kind == 'references':
            return Validation(*arguments)
        return CopiesValidation(*arguments, self.s.hidden_pixels if pairs.kind == 'self' else 0, self.s.seed)

    def _first_weights(self):
        """A look at the data for networks that want one, or the weights of another model."""
        if self.task.start is not None:
            self.pair.generator.load_state_dict(self.task.start.state_dict())
            return
        some = self.task.training
        most = max(2, min(len(some), LOOK_COUNT, LOOK_BYTES // (8 * self.task.pairs.box**2)))
        some = some[np.linspace(0, len(some) - 1, most).round().astype(int)]
        noisy, clean = (with_channel(x) for x in self.task.pairs.read(some))
        if self.task.pairs.kind != 'references':
            # What the output shall be has the spread of the signal, not that of the noisy targets.
            clean = clean * (self.task.pairs.scale.unit_sd / clean.std())
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
        t, before, start = self.training, self.seconds, clock()
        saved = start
        with self.job.progress(
            self.total or round(60 * self.s.minutes), 'training', t.iteration if self.total else round(before)
        ) as bar:
            while True:
                t.progress = self.fabric.broadcast(self._progress())
                if (t.progress >= 1 and t.iteration > 0) or self._stopped():
                    break
                self._iterate()
                self.seconds = before + clock() - start
                bar.n = t.iteration if self.total else min(bar.total, round(self.seconds))
                bar.refresh() if bar.total == bar.n else bar.update(0)
                if self._evaluation_due(t.progress):
                    self._evaluate(bar)
                    saved = clock()
                elif self.fabric.is_global_zero and clock() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = clock()
        if self._measured != t.iteration:
            self._evaluate(bar)
        return self._results()

    def _progress(self):
        """Part of the run that is done, 0..1."""
        return self.training.iteration / self.total if self.total else self.seconds / (60 * self.s.minutes)

    def _stopped(self):
        if not self.s.patience or self.stale < self.s.patience:
            return False
        self.job.say(f'no improvement in {self.stale} evaluations: stopping early')
        return True

    def _iterate(self):
        try:
            self.training.iterate()
        except Diverged as e:
            raise WorkError(f'{e}. {self._what_is_left()} Lower the learning rate, or set --clip') from e

    def _what_is_left(self):
        if not self.best.scores:
            return 'No model was written yet.'
        best = self.best.scores[0]['iteration']
        return f'The best model so far (iteration {best}) is kept in {self.job.folder / "model"}.'

    def _evaluation_due(self, progress_before):
        """At equal steps of progress, and at the end."""
        now, parts = self.fabric.broadcast(self._progress()), self.s.evaluations
        return now >= 1 or math.floor(now * parts) > math.floor(progress_before * parts)

    def _evaluate(self, bar):
        t = self.training
        found = self.validation.measure(t.average, *((t.discriminator, t.rule.probability) if t.rule else ()))
        if not math.isfinite(found['mse']):
            raise WorkError(
                f'iteration {t.iteration}: the validation error became {found["mse"]}. ' + self._what_is_left()
            )
        self._measured = t.iteration
        terms = {k: total / count for k, (total, count) in t.terms.items()}
        rates = {
            f'learning_rate_{k}': o.param_groups[0]['lr']
            for k, o in (('generator', t.optimise_g), ('discriminator', t.optimise_d))
        }
        t.terms = {}
        score = {'iteration': t.iteration, **{k: found[k] for k in SCORES if k in found}}
        bar.set_postfix_str(' '.join(['validation', *(f'{k} {score[k]:.4g}' for k in SCORES[:2] if k in score)]))
        better = self.best.add(score, t.average.state_dict())
        self.stale = 0 if better else self.stale + 1
        if self.fabric.is_global_zero:
            epoch = t.feed.epoch + t.feed.offset / len(t.feed.positions)
            self.log.append(
                {'iteration': t.iteration, 'epoch': epoch, 'seconds': self.seconds, **terms, **found, **rates}
            )
            if better:
                self._write_model(score)
            self._save()

    def _save(self):
        """Write the checkpoint (one process only)."""
        checkpoints.save(
            self.job.output(self.task.place + 'checkpoints'),
            {
                **self.training.state(),
                'seconds': self.seconds,
                'scores': self.best.scores,
                'stale': self.stale,
                'identity': self.task.identity,
            },
        )

    def _write_model(self, score):
        """The average generator as model folder: from the first evaluation on there is a usable one."""
        p, s = self.task, self.s
        scale = p.pairs.scale
        card = {
            'network': {'name': s.network, 'options': networks.options(s.network, s.gan)},
            'box': p.pairs.box,
            'pixel_size': p.pairs.pixel_size,
            'target': p.pairs.kind,
            'ctf': p.pairs.ctf,
            'input': {'mean': scale.mean, 'sd': scale.sd},
            'grey': {'gain': scale.gain, 'offset': scale.offset},
            'units': {'scale': 1 / scale.unit_scale, 'offset': -scale.unit_offset / scale.unit_scale},
            **self._whitening(),
            'settings': self.job.settings.as_dict(),
            'data': {'inputs': self.job.inputs, 'training_particles': p.identity['training_particles']},
            'metrics': score,
            'versions': {'cryoemgan': __version__, 'torch': torch.__version__},
        }
        folder = self.job.output('model')
        others = read_card(folder)[0]['members'] if (folder / CARD).exists() else []
        others = [m for m in others if m['name'] != p.name and m['name'] in p.all_names]
        if others:
            every = [score, *(m['metrics'] for m in others)]
            card['metrics'] = {k: float(np.mean([m[k] for m in every])) for k in SCORES if k in score}
        about, guides = {p.name: {'metrics': score}}, {p.name: getattr(p.pairs, 'guide', None)}
        save_model(folder, card, {p.name: self.training.average}, {p.name: p.names}, about, others, guides)

    def _whitening(self):
        gains = getattr(self.task.pairs, 'gains', None)
        return {} if gains is None else {'whitening': {'gains': gains.tolist()}}

    def _results(self):
        t = self.training
        scores = self.best.scores
        mse = np.array([x['mse'] for x in scores])
        return {
            'settings': self.job.settings.as_dict(),
            'generator_parameters': parameter_count(self.pair.generator),
            'discriminator_parameters': parameter_count(self.pair.discriminator),
            'iterations': t.iteration,
            'epochs': t.feed.epoch + t.feed.offset / len(t.feed.positions),
            'training_seconds': round(self.seconds, 3),
            'best': scores[0],
            'top': scores,
            'top_mse_mean': mse.mean(),
            'top_mse_sd': mse.std(),
            'device': str(self.fabric.device),
            'processes': self.fabric.world_size,
            'precision': self.precision,
            'batch_size': t.batch_size,
            'training_pairs': len(self.task.training),
            'validation_pairs': len(self.task.validation),
            'validation_pairs_measured': self.validation.count,
            'train_ids': self.task.identity['training_particles'],
            'scale': self.task.pairs.scale.as_dict(),
            'snr_measured': self.task.synthetic and self.task.synthetic.measured.snr,
        }
