"""Work while particles arrive: an open set is taken in batches, each a run of the engine in a folder of its own.

As pwem's protocols do it: ``_stepsCheck`` looks for new input and inserts steps. Not `ProtStreamingBase`, which needs
three of Scipion's threads and polls between steps; a set that is closed would take longer with it.
"""

import json
import os
from datetime import datetime
from pathlib import Path

import pyworkflow.protocol.params as params
import pyworkflow.utils as pwutils
from pwem.objects import SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import STATUS_NEW
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock

from ..batches import join_summaries, join_tables
from ..convert import write_particles
from ..engine.files import write_json
from ..engine.finished import SUMMARY, is_whole
from ..results import Result, append_particles, describe_particles

OUTPUT, IDS, TABLE, DENOISED = 'outputParticles', 'ids.json', 'particles.star', 'denoised.star'


@retry_on_sqlite_lock()
def arrived(particles):
    """(ids of the enabled items of a set, ascending; whether more may come), as its file says now."""
    # A connection of its own: the steps may be in another thread.
    now = SetOfParticles(filename=particles.getFileName(), prefix=particles.getPrefix() or '')
    try:
        # The state first: what is appended before a set closes is then seen. The file of an empty set does not say it.
        still_open = int(now.getProperty('_streamState', particles.getStreamState())) == Set.STREAM_OPEN
        return sorted(now.getUniqueValues('id', where='enabled=1')) if now.getSize() else [], still_open
    finally:
        now.close()


def as_it_is_now(particles):
    """A set with what its file says by now, and all that the project knows of it."""
    now = SetOfParticles()
    now.copy(particles, ignoreAttrs=[])
    now.loadAllProperties()
    return now


class Streaming:
    """The part of a protocol that takes an open set (``inputParticles``) in batches, and a closed one in one run.

    Batches are folders of ``extra/batches``: ids.json (what belongs to it, written first), the table of its particles,
    the run of the engine. A batch whose run has a summary is done; its items stand in the output, or none of them does.
    One whose files are no longer what its run wrote is made again when the protocol continues, and refused at the end.
    Subclasses say what the output is (`_describe_output`, `_relate_output`) and what a batch needs (`_batch_settings`).
    """

    # Whether this run takes its particles in batches.
    _in_batches = False
    _suffix = ''

    # --------------------------- DEFINE param functions ----------------------
    def _add_streaming(self, form):
        form.addSection(label='Streaming')
        form.addParam(
            'streamingBatchSize',
            params.IntParam,
            default=1000,
            validators=[params.Range(1, 1_000_000, 'must be at least 1 and at most 1000000')],
            label='Particles in a batch',
            help='Used only if particles are still arriving (the input is an open set). Each batch starts the program '
            'once, which takes a moment. It contains all particles that have arrived by then, but at least this many, '
            'or what is left when the input closes. The results do not depend on it. A closed set is done at once.',
        )

    # --------------------------- INSERT steps functions ----------------------
    def _insertAllSteps(self):
        particles = self.inputParticles.get()
        self._in_batches = True
        digest, record = self._digest(), self._batch_path('digest.json')
        if _read(record) != digest:
            self._forget_batches()
            self._in_batches = arrived(particles)[1]
            if not self._in_batches:
                super()._insertAllSteps()
                return
            pwutils.makePath(self._batch_path())
            write_json(record, digest)
        self._begun = digest
        numbers = self._batches()
        self._taken = {i for number in numbers for i in _read(self._batch_path(number, IDS))}
        for number in numbers:
            # Scipion skips a step that has finished, unless its arguments differ.
            again = [str(datetime.now())] if self._is_damaged(number) else []
            self._insertFunctionStep(self.batchStep, digest, number, *again, prerequisites=[], needsGPU=True)
        # Never the same twice: a set that was closed may be open again.
        self._insertFunctionStep(
            self.closeOutputStep, digest, str(datetime.now()), prerequisites=[], wait=True, needsGPU=False
        )
        self._look()

    def _forget_batches(self):
        """Throw away the batches of other settings or inputs, and what was made of them."""
        if not os.path.isdir(self._batch_path()):
            return
        pwutils.cleanPath(self._batch_path(), self.getRunDir())
        for _, output in list(self.iterOutputAttributes()):
            self.deleteOutput(output)

    def _stepsCheck(self):
        """Called by Scipion every few seconds."""
        if self._in_batches:
            self._look()
            if self._newSteps:
                self.updateSteps()

    def _look(self):
        """Insert a batch, or let the output be closed."""
        waiting = [s for s in self._steps if s.funcName == 'batchStep' and not s.isFinished()]
        if not waiting and not self._take() and not self._still_open:
            for step in self._steps:
                if step.funcName == 'closeOutputStep' and step.isWaiting():
                    step.setStatus(STATUS_NEW)

    def _take(self):
        """Make a batch of what has arrived, if that is enough; whether there is one."""
        ids, self._still_open = arrived(self.inputParticles.get())
        new = [i for i in ids if i not in self._taken]
        number = len(self._batches()) + 1
        if not new or (self._still_open and len(new) < self._least(number)):
            return False
        pwutils.makePath(self._batch_path(number))
        write_json(self._batch_path(number, IDS), new)
        self._taken.update(new)
        self._insertFunctionStep(self.batchStep, self._begun, number, prerequisites=[], needsGPU=True)
        return True

    def _least(self, number):
        """Particles that a batch waits for."""
        return self.streamingBatchSize.get()

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), TABLE)

    def createOutputStep(self, digest):
        """Build the output of a closed set."""
        particles, result = self.inputParticles.get(), Result(self.getRunDir(DENOISED))
        output = self._filled(self._suffix, particles, result, self._ctf_of_output(result, particles))
        self._describe_output(output)
        self._defineOutputs(**{OUTPUT: output})
        self._relate_output(output)

    def batchStep(self, digest, number, again=None):
        """Run the engine on one batch, and append what it gives to the output. again: when it was found damaged."""
        ids, table = _read(self._batch_path(number, IDS)), self._batch_path(number, TABLE)
        particles = as_it_is_now(self.inputParticles.get())
        try:
            if not os.path.exists(table):
                write_particles(particles, table, ids)
            self.info(f'Batch {number}: {len(ids)} particles')
            own = {'particles': os.path.abspath(table), **self._batch_settings(number)}
            self._run_engine({**self._form_values(), **self._input_settings(), **own}, self._batch_path(number, 'run'))
            self._append_batch(number, particles, ids)
        finally:
            particles.close()

    def _batch_settings(self, number):
        """{setting: value} of a batch, beside its particles."""
        return {}

    def _append_batch(self, number, particles, ids):
        result = Result(self._batch_path(number, 'run', DENOISED))
        output, ctf = getattr(self, OUTPUT, None), self._ctf_of_output(result, particles)
        new = output is None
        if new:
            output = self._createSetOfParticles(self._suffix)
            describe_particles(output, particles, result, ctf)
            self._describe_output(output)
        elif next(i for i in ids if result.row(i) is not None) in output:
            # Killed after they had been appended: one commit appends all.
            output.close()
            return
        else:
            output.enableAppend()
        left_out = _read(self._batch_path(number, 'run', SUMMARY)).get('left_out', [])
        missing = append_particles(output, particles, result, ctf, ids) - len(left_out)
        if missing > 0:
            raise RuntimeError(f'{missing} particles are not in {result.path}: the run is not complete.')
        self._updateOutputSet(OUTPUT, output, Set.STREAM_OPEN)
        if new:
            self._relate_output(output)

    def closeOutputStep(self, digest, started):
        """Close the output, and write its whole table and summary, as a run without batches does."""
        numbers = self._batches()
        if not numbers:
            raise RuntimeError('No particles have arrived.')
        damaged = [number for number in numbers if self._is_damaged(number)]
        if damaged:
            raise RuntimeError(
                f'Files of batch {", ".join(map(str, damaged))} are missing, damaged or changed. Run this protocol '
                'again in the mode Continue: only these batches are made again.'
            )
        self._updateOutputSet(OUTPUT, getattr(self, OUTPUT), Set.STREAM_CLOSED)
        particles = as_it_is_now(self.inputParticles.get())
        write_particles(particles, self._getExtraPath(TABLE), sorted(self._taken))
        particles.close()
        pwutils.makePath(self.getRunDir())
        tables = [self._batch_path(number, 'run', DENOISED) for number in numbers]
        whole = join_tables(self._getExtraPath(TABLE), tables, self.getRunDir(DENOISED))
        summaries = {number: _read(self._batch_path(number, 'run', SUMMARY)) for number in numbers}
        write_json(self.getRunDir(SUMMARY), join_summaries(summaries, whole))

    # --------------------------- INFO functions ------------------------------
    def _progress_lines(self):
        done = self._done()
        if not self._batches():
            return super()._progress_lines()
        count = sum(len(_read(self._batch_path(number, IDS))) for number in done)
        size = self.inputParticles.get().getSize() if self.inputParticles.get() is not None else 0
        return [
            f'{count} of the {max(count, size)} particles that have arrived are done, in {len(done)} batches.',
            *super()._progress_lines(),
        ]

    def getTables(self):
        """(table of the noisy particles, of the result); while particles arrive, those of the latest batch."""
        done = self._done()
        if os.path.exists(self.getRunDir(DENOISED)) or not done:
            return super().getTables()
        return self._batch_path(done[-1], TABLE), self._batch_path(done[-1], 'run', DENOISED)

    # --------------------------- UTILS functions -----------------------------
    def _input_identity(self):
        found = super()._input_identity()
        if not self._in_batches:
            return found
        # The set grows, and stays the same.
        return [[*f[:2], None] if f[0] == 'inputParticles' else f for f in found]

    def _batch_path(self, *names):
        """Path in the folder of batches; a number is the folder of one."""
        return self._getExtraPath('batches', *(f'{n:06d}' if isinstance(n, int) else n for n in names))

    def _batches(self):
        """Numbers of the batches, ascending."""
        return sorted(int(p.parent.name) for p in Path(self._batch_path()).glob(f'*/{IDS}'))

    def _is_damaged(self, number):
        """Whether a batch was done once, and its files are no longer what its run wrote."""
        folder = Path(self._batch_path(number, 'run'))
        return (folder / SUMMARY).exists() and not is_whole(folder)

    def _done(self):
        """Numbers of the batches that the engine has finished."""
        return [n for n in self._batches() if os.path.exists(self._batch_path(n, 'run', SUMMARY))]


def _read(path):
    """Content of a JSON file; None when there is none."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
