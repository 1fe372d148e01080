"""What the protocols share: the run of one verb of the engine.

A protocol writes its input as a STAR table and its form as a settings file, runs one verb as a separate program, and
builds its output from the verb's table.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pyworkflow.utils as pwutils
from pwem.objects import SetOfParticles
from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.protocol import STEPS_SERIAL

from .. import constants
from ..convert import write_particles
from ..engine import costs
from ..engine.files import write_json
from ..engine.finished import SUMMARY, is_whole
from ..objects import DenoiserModel
from ..plugin import Plugin
from ..results import fill_particles
from .form import OURS, SettingsForm
from .progress import describe_progress
from .single_start import SingleStart


class CryoEMGANProtBase(SettingsForm, SingleStart, EMProtocol):
    """Base of the family: one verb of the engine as a Scipion protocol."""

    _label = None
    _devStatus = BETA
    # Settings whose change lets an unfinished run go on (a longer training), see _run_state.
    _may_change = ()
    # Whether the run writes an image for each of its particles.
    _makes_images = False
    stepsExecutionMode = STEPS_SERIAL

    # --------------------------- INSERT steps functions ----------------------
    def _insertAllSteps(self):
        # The digest is an argument of every step: a changed parameter runs them all again.
        digest = self._digest()
        self._insertFunctionStep(self.convertInputStep, digest, needsGPU=False)
        self._insertFunctionStep(self.runEngineStep, digest, needsGPU=True)
        self._insertFunctionStep(self.createOutputStep, digest, needsGPU=False)

    def _digest(self):
        """Short digest of everything that decides the result: fields of the form and the inputs."""
        text = json.dumps([self._form_values(), self._input_identity()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _input_identity(self):
        """Ids of the input objects, with their sizes or, of models, digests."""
        found = []
        for name, attribute in self.iterInputAttributes():
            item = attribute.get()
            more = item.getDigest() if isinstance(item, DenoiserModel) else getattr(item, 'getSize', item.__str__)()
            found.append([name, attribute.getUniqueId(), more])
        return found

    # --------------------------- STEPS functions -----------------------------
    def convertInputStep(self, digest):
        """Write the tables that the verb reads; a result of other inputs is thrown away first."""
        record, identity = self._getExtraPath('inputs.json'), json.loads(json.dumps(self._input_identity()))
        try:
            known = json.loads(Path(record).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            known = None
        if known != identity:
            pwutils.cleanPath(self.getRunDir())
        self._write_inputs()
        write_json(record, identity)

    def _write_inputs(self):
        """Write the input tables into the extra folder."""
        raise NotImplementedError

    def createOutputStep(self, digest):
        """Build the output from what the verb wrote."""
        raise NotImplementedError

    def runEngineStep(self, digest):
        """Run the verb; go on with an unfinished run of the same settings."""
        self._run_engine({**self._form_values(), **self._input_settings()}, self.getRunDir())

    def _run_engine(self, settings, folder):
        """Run the verb on a folder, or go on with what is in it; its settings file lies beside it."""
        state = self._run_state(settings, folder)
        if state == 'complete':
            self.info('The engine had finished before the protocol was stopped: its result is used.')
            return
        path = os.path.join(os.path.dirname(folder), f'{self._verb}.json')
        write_json(path, settings)
        self._run_verb(path, folder, {'unfinished': '--resume', 'other': '--overwrite'}.get(state, ''))

    def _run_verb(self, settings_path, folder, flags):
        """One run of the engine; RuntimeError with the engine's own message when it fails."""
        before = self._error_logs()
        gpus = self.getGpuList() if self.usesGpu() else []
        # Scipion fills in the ids, which a queue may have changed.
        program = Plugin.getProgram('%(GPU)s' if gpus else '')
        arguments = (
            f'{self._verb} --settings "{settings_path}" --output "{folder}" '
            f'--threads {max(1, self.numberOfThreads.get())} --device {self._device(gpus)} {flags}'
        )
        try:
            self.runJob(program, arguments.strip(), env=self._environ(), numberOfMpi=1, numberOfThreads=1)
        except Exception as e:
            raise RuntimeError(self._engine_message(before) or str(e)) from e
        # On a queue the exit status of a job is lost: only the summary says that the work was done.
        if not os.path.exists(os.path.join(folder, SUMMARY)):
            raise RuntimeError(self._engine_message(before) or 'The engine ended without a result; see the logs.')

    def _device(self, gpus):
        if not self.usesGpu():
            return 'cpu'
        # The program sees only the chosen GPUs, numbered from 0.
        return 'auto' if len(gpus) < 2 else 'cuda:' + ','.join(str(i) for i in range(len(gpus)))

    def _environ(self):
        environ = Plugin.getEnviron()
        # Not for a step on a queue: the protocol then lives on another host.
        if not (self.useQueue() and self.useQueueForSteps()):
            environ[constants.PARENT] = str(os.getpid())
        return environ

    def _run_state(self, settings, folder):
        """'empty', 'complete', 'unfinished' (both with these settings) or 'other': what the folder of a run holds."""
        folder = Path(folder)
        if not folder.is_dir() or not any(folder.iterdir()):
            return 'empty'
        try:
            held = json.loads((folder / 'settings.json').read_text(encoding='utf-8'))['settings']
        except (OSError, ValueError, KeyError):
            return 'other'
        changed = {k for k, v in settings.items() if k not in OURS and held.get(k) != v}
        if changed - set(self._may_change):
            return 'other'
        return 'complete' if not changed and is_whole(folder) else 'unfinished'

    def _error_logs(self):
        """{path: (size, time of change)} of the logs of the engine's stderr: the run's own, and a queue's."""
        logs = (Path(self.getStderrLog()), *sorted(Path(self._getLogsPath()).glob('*.err')))
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in logs if path.exists()}

    def _engine_message(self, before):
        """The engine's last sentence in the logs that changed since ``before`` (of `_error_logs`), or ''."""
        said, own = [], Path(self.getStderrLog())
        for path, state in self._error_logs().items():
            if state == before.get(path):
                continue
            with path.open(encoding='utf-8', errors='replace') as f:
                # Our own log grows; a queue writes its own anew for each job.
                f.seek(before[path][0] if path == own and path in before else 0)
                said += [line.split('cryoemgan: ', 1)[1].strip() for line in f if line.startswith('cryoemgan: ')]
        return self._said(said[-1]) if said else ''

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        # Import problems of the engine are told by Plugin.validateInstallation.
        return self._check_settings() + self._check_disk() + describe_unfinished_inputs(self)

    def _summary(self):
        summary = self.readSummary()
        if not summary:
            return self._progress_lines()
        warnings = [f'Warning: {w}' for w in summary.get('warnings', [])]
        return [self._said(line) for line in self._summary_lines(summary) + warnings]

    def _progress_lines(self):
        """Sentences on a run that has not finished: what it does, and how long that takes."""
        logs = self._error_logs() if self.isActive() else {}
        newest = max(logs, key=lambda path: logs[path][1], default=None)
        said = describe_progress(newest) if newest is not None else None
        return [f'At work: {said}.' if said else 'Not finished yet.', *self._cost_lines()]

    def _cost_lines(self):
        """Sentences on what a run that has not finished takes, as far as it is known before it starts."""
        made = self._images_made()
        said = costs.of_stack(*made) if made else ''
        return [f'{said[0].upper()}{said[1:]}.'] if made else []

    def _images_made(self):
        """(number, box) of the images that the run is going to write, or None."""
        particles = self._particles_there() if self._makes_images else None
        if particles is None:
            return None
        return particles.getSize(), self._form_values().get('box') or particles.getXDim()

    def _particles_there(self):
        """The particles of the form; None when there are none, or none yet (of an open set)."""
        particles = self.inputParticles.get()
        return particles if isinstance(particles, SetOfParticles) and particles.getSize() else None

    def _check_disk(self):
        """A sentence when the disk has no room for the result."""
        made = self._images_made()
        needed, free = costs.stack_bytes(*made) if made else 0, shutil.disk_usage(os.curdir).free
        if needed < free:
            return []
        return [
            f'The result takes {costs.in_words(needed)}, and the disk of this project has {costs.in_words(free)} left.'
        ]

    def _summary_lines(self, summary):
        """Sentences on a finished run, from the engine's summary."""
        return []

    def _citations(self):
        return ['Gu2020', 'Gu2023']

    # --------------------------- UTILS functions -----------------------------
    def run_label(self):
        """The run's name without the plugin's: what its outputs are told by."""
        return self.getRunName().removeprefix(f'{__package__.split(".")[0]} - ')

    def getRunDir(self, *names):
        """Folder of the engine's run, or a file in it; relative to the project."""
        return self._getExtraPath('run', *names)

    def getTables(self):
        """(table of the particles that went in, table of the result) of a verb that makes images of them."""
        return self._getExtraPath('particles.star'), self.getRunDir('denoised.star')

    def readSummary(self):
        """The engine's summary of the finished run, or {}."""
        try:
            return json.loads(Path(self.getRunDir(SUMMARY)).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}

    def _input_settings(self):
        """{setting: value} that come from the inputs (paths of tables, maps and models)."""
        raise NotImplementedError

    def _write_input(self, particles, name):
        """Write a set as ``name`` in the extra folder; the number of particles is logged."""
        count = write_particles(particles, self._getExtraPath(name))
        self.info(f'{name}: {count} particles')

    def _filled(self, suffix, particles, result, ctf=None):
        """A new set: ``particles`` with the images of a verb's table (ctf: see results); RuntimeError if any lack
        that the run did not leave out."""
        output = self._createSetOfParticles(suffix)
        # Bad images that the user has left out are no sign of an unfinished run.
        missing = fill_particles(output, particles, result, ctf) - len(self.readSummary().get('left_out', []))
        if missing > 0:
            raise RuntimeError(
                f'{missing} particles are not in {result.path}: the run is not complete. Restart this protocol.'
            )
        return output

    def _engine_path(self, name):
        """Absolute path of a file in the extra folder (a queue job may start elsewhere)."""
        return os.path.abspath(self._getExtraPath(name))


def describe_unfinished_inputs(protocol):
    """Sentences on inputs whose makers, protocols of ours, are running or about to.

    Until a protocol that runs again has finished, its output object is the old one while its files are already
    exchanged. A scheduled protocol (Continue or Restart of a workflow) starts as soon as this list is empty.
    """
    makers = (pointer.getObjValue() for _, pointer in protocol.iterInputAttributes())
    active = [m for m in makers if isinstance(m, CryoEMGANProtBase) and m.isActive()]
    return [
        f'"{name}" is {status}: its results are about to be replaced. Wait until it has finished, or stop it.'
        for name, status in {m.getRunName(): m.getStatus() for m in active}.items()
    ]


def describe_alignment_error(particles):
    """Why a set cannot be projected, or None."""
    if particles.hasAlignmentProj():
        return None
    if particles.hasAlignment2D():
        return (
            'The particles have a 2D alignment only: it does not say from which direction the map is seen. Use '
            'the particles that came out of a 3D refinement.'
        )
    return (
        'The particles have no projection angles. Use the particles that came out of a 3D refinement (the '
        'output of the refinement protocol, or an import of its result with alignment).'
    )
