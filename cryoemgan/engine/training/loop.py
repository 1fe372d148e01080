"""The loop of one fold model: iterate, evaluate, keep the best, checkpoint; and go on from a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import Interrupted, WorkError
from ..job import Job
from ..settings.optimisation import Evaluation, Length
from ..shapes import Json
from . import checkpoints
from .pilot import SECONDS, Pilot
from .step import Training
from .terms import Diverged
from .validation import Validation

# A killed run loses at most this much, however far apart its evaluations are.
CHECKPOINT_SECONDS = 600
# Part of the time that evaluations may take where the clock rules: they are put off then.
EVALUATING = 0.15
# Iterations after which a step that was not taken is told at the latest, and several processes agree on the time.
CHECK_EVERY, AGREE_EVERY = 50, 20
SCORES = ('mse', 'psnr', 'ssim')
# The clock of --minutes. Benchmarks on shared machines put process CPU time in its place.
clock = time.monotonic


class TrainingLoop:
    """The loop over iterations and evaluations.

    Parameters
    ----------
    training : Training
        What an iteration is.
    validation : Validation
        What an evaluation is.
    length, evaluation : Length, Evaluation
        Filled settings.
    job : Job
        For messages and progress.
    folder : Path
        Of the checkpoints.
    identity : dict
        What a resumed run must share; kept in the checkpoints.
    log : MetricsLog or None
        None in all processes but the first.
    keep_model : callable
        Called with the best generator so far and its score, in the first process.
    pilot : Pilot or None
        Says after some seconds whether --minutes are enough.
    """

    def __init__(
        self,
        training: Training,
        validation: Validation,
        length: Length,
        evaluation: Evaluation,
        job: Job,
        folder: Path,
        identity: Json,
        log: checkpoints.MetricsLog | None,
        keep_model: Callable[[nn.Module, Json], None],
        pilot: Pilot | None = None,
    ) -> None:
        self.training, self.validation, self.fabric, self.job = training, validation, training.fabric, job
        self.length, self.evaluation, self.folder, self.identity = length, evaluation, folder, identity
        self.log, self.keep_model, self._pilot = log, keep_model, pilot
        self.best = checkpoints.Best(folder, evaluation.keep, writes=self.fabric.is_global_zero)
        self.seconds, self._stale, self._evaluated = 0.0, 0, -1
        self.total, self._most = self._iterations(length.epochs), self._iterations(length.most_epochs)
        self._before, self._start = 0.0, clock()
        self._agreement: tuple[float, bool] | None = None
        # When the latest evaluation ended, and how long it took.
        self._ended, self._took = clock(), 0.0

    def _iterations(self, epochs: int | None) -> int | None:
        """Number of iterations of so many epochs, if these rule; None when the clock does."""
        if self.length.iterations:
            return self.length.iterations
        if not epochs:
            return None
        t = self.training
        steps = t.adversary.generator_steps + (t.adversary.discriminator_steps if t.rule else 0)
        batches = max(1, len(t.batches.loader.positions) // t.batches.size)
        return math.ceil(epochs * batches / steps)

    def restore(self, checkpoint: dict[str, Any], seconds: float) -> None:
        """Go on from a checkpoint. seconds: what was spent so far, if that is more than it says."""
        self.training.restore(checkpoint)
        self.best = checkpoints.Best(
            self.folder, self.evaluation.keep, checkpoint['scores'], self.fabric.is_global_zero
        )
        self.seconds, self._stale = max(seconds, checkpoint['seconds']), checkpoint['stale']
        self._evaluated = checkpoint.get('evaluated', self.training.iteration)

    def go(self) -> None:
        """Train to the end. WorkError when a loss term or the validation error is no longer a number; Interrupted when
        the run has been asked to end, with its state saved."""
        t, self._before, self._start = self.training, self.seconds, clock()
        saved, tells = clock(), self._pilot is not None and not self.total and not t.iteration
        total = self.total or max(1, round(60 * self._minutes))
        # Preparing may have taken longer than the time that was given.
        begun = min(total, t.iteration if self.total else round(self.seconds))
        with (
            self.job.stop.patient(),
            self.job.progress(total, 'training', begun) as bar,
        ):
            if self._evaluated < t.iteration == 0 and t.networks.starts_from_data:
                # What it can do before any training may be the best that the data allow.
                self._evaluate(bar.set_postfix_str)
            elif (
                self.total
                and self._evaluated != t.iteration
                and self._evaluation_due((t.iteration - 1) / self.total, t.iteration / self.total)
            ):
                # Asked to end between the iteration and its evaluation.
                self._evaluate(bar.set_postfix_str)
            progress = self._agreed()
            while (progress < 1 or not t.iteration) and not self._stopped():
                t.iterate(progress)
                before, progress = progress, self._agreed()
                if tells and self.seconds - self._before >= min(SECONDS, 60 * self._minutes / 3):
                    tells = False
                    self._tell_whether_time_is_enough()
                bar.n = t.iteration if self.total else min(bar.total, round(self.seconds))
                bar.refresh() if bar.total == bar.n else bar.update(0)
                if t.iteration % CHECK_EVERY == 0:
                    self._check()
                if self._evaluation_due(before, progress):
                    self._evaluate(bar.set_postfix_str)
                    saved = clock()
                elif self.fabric.is_global_zero and clock() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = clock()
            if self._evaluated != t.iteration:
                self._evaluate(bar.set_postfix_str)

    def _agreed(self) -> float:
        """Part of the run that is done, 0..1, the same in all processes; raises Interrupted in all when one was asked
        to end.

        Where the clock rules, or somebody may stop the run, the first process decides. It is asked every few
        iterations: asking is waiting.
        """
        t = self.training
        self.seconds = self._before + clock() - self._start
        mine = t.iteration / self.total if self.total else self.seconds / (60 * self._minutes)
        if self._most and not self.total:
            mine = max(mine, t.iteration / self._most)
        asked = self.job.stop.asked
        if self.fabric.world_size > 1:
            if self._agreement is None or t.iteration % AGREE_EVERY == 0:
                self._agreement = self.fabric.broadcast((mine, asked))
            shared, asked = self._agreement
            mine = mine if self.total else shared
        if asked:
            if self.fabric.is_global_zero:
                self._save()
            raise Interrupted(f'stopped after iteration {t.iteration}, the state is saved')
        return mine

    def _tell_whether_time_is_enough(self) -> None:
        assert self._pilot is not None
        batches = self.training.batches
        speed = batches.number * batches.size / (self.seconds - self._before)
        pairs = len(batches.loader.positions)
        self.job.say(self._pilot.sentence(speed, pairs, self._before, 60 * self._minutes))

    @property
    def _minutes(self) -> float:
        assert self.length.minutes is not None
        return self.length.minutes

    def _stopped(self) -> bool:
        patience = self.evaluation.patience
        if not patience or self._stale < patience:
            return False
        self.job.say(f'no improvement in {self._stale} evaluations: stopping early')
        return True

    def _check(self) -> None:
        try:
            self.training.check()
        except Diverged as e:
            raise WorkError(f'{e}. {self._what_is_left()} Lower the learning rate, or set --clip') from e

    def _what_is_left(self) -> str:
        if not self.best.scores:
            return 'No model was written yet.'
        best = self.best.scores[0]['iteration']
        return f'The best model so far (iteration {best}) is kept in {self.job.folder / "model"}.'

    def _evaluation_due(self, before: float, now: float) -> bool:
        """At equal steps of progress unless they take too much of the time, and at the end."""
        parts = self.evaluation.evaluations
        if now >= 1 or math.floor(now * parts) == math.floor(before * parts):
            return now >= 1
        affordable = bool(self.total) or clock() - self._ended >= self._took * (1 / EVALUATING - 1)
        return self.fabric.broadcast(affordable) if self.fabric.world_size > 1 else affordable

    def _evaluate(self, show: Callable[[str], object]) -> None:
        start = clock()
        self._check()
        t = self.training
        found = self.validation.scores(t.average, t.discriminator if t.rule else None, t.rule)
        if not math.isfinite(found['mse']):
            raise WorkError(
                f'iteration {t.iteration}: the validation error became {found["mse"]}. ' + self._what_is_left()
            )
        self._evaluated = t.iteration
        score = {'iteration': t.iteration, **{k: found[k] for k in SCORES if k in found}}
        show(' '.join(['validation', *(f'{k} {score[k]:.4g}' for k in SCORES[:2] if k in score)]))
        better = self.best.add(score, t.average.state_dict())
        self._stale = 0 if better else self._stale + 1
        if self.log is not None:
            self.log.append(
                {
                    'iteration': t.iteration,
                    'epoch': t.batches.loader.epochs,
                    'seconds': self.seconds,
                    **t.terms.means(),
                    **found,
                    **t.learning_rates(),
                    'noise_level': t.batches.level,
                }
            )
        t.terms.clear()
        if self.fabric.is_global_zero:
            if better:
                self.keep_model(t.average, score)
            self._save()
        self._ended = clock()
        self._took = self._ended - start

    def _save(self) -> None:
        """Write the checkpoint (one process only)."""
        self._check()
        state = {'seconds': self.seconds, 'scores': self.best.scores, 'stale': self._stale, 'identity': self.identity}
        state['evaluated'] = self._evaluated
        if self.log is not None:
            state['metrics'] = self.log.rows
        checkpoints.save(self.folder, {**self.training.state(), **state})
