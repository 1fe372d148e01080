"""What the protocols share: forms built from the engine's settings, and the run of one verb of the engine.

A protocol writes its input as a STAR table and its form as a settings file, runs one verb as a separate program, and
builds its output from the verb's table. Each parameter is declared once, in ``engine/settings``.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pyworkflow.protocol.params as params
import pyworkflow.utils as pwutils
from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.protocol import STEPS_SERIAL

from ..convert import write_particles
from ..engine.errors import InputError
from ..engine.job import SUMMARY, write_json
from ..engine.settings import VERBS, Settings
from ..engine.settings.base import value_type
from ..plugin import Plugin
from .. import constants

# Settings that the protocol gives itself.
OURS = ('output', 'threads', 'device', 'resume', 'overwrite')
# First choice of a list or of yes/no when the setting may stay open.
OPEN_CHOICE = 'from the preset'


class Within(params.Conditional):
    """Form validator with the range of a setting: one message that says the whole range."""

    def __init__(self, meta, allowsNull):
        words = (('ge', 'at least'), ('gt', 'more than'), ('le', 'at most'), ('lt', 'less than'))
        self._bounds = {key: meta[key] for key, _ in words if meta[key] is not None}
        text = ' and '.join(f'{word} {meta[key]:g}' for key, word in words if meta[key] is not None)
        super().__init__(f'must be {text}', allowsNull)

    def _condition(self, value):
        tests = {'ge': lambda v, b: v >= b, 'gt': lambda v, b: v > b, 'le': lambda v, b: v <= b,
                 'lt': lambda v, b: v < b}
        return all(tests[key](value, bound) for key, bound in self._bounds.items())


def camel(name):
    """Name of a setting as Scipion spells parameters: ``batch_size`` -> ``batchSize``."""
    head, *tail = name.split('_')
    return head + ''.join(part.capitalize() for part in tail)


class CryoEMGANProtBase(EMProtocol):
    """Base of the family: one verb of the engine as a Scipion protocol."""

    _label = None
    _devStatus = BETA
    _verb = None
    # Settings that come from pointers of the form, not from a field of their own.
    _from_inputs = ()
    # Settings whose change lets an unfinished run go on (a longer training), see _run_state.
    _may_change = ()
    stepsExecutionMode = STEPS_SERIAL

    # --------------------------- DEFINE param functions ----------------------
    @classmethod
    def _settings_class(cls):
        return VERBS[cls._verb]

    @classmethod
    def _form_fields(cls):
        """The settings that are fields of the form, in their order."""
        hidden, common = (*OURS, *cls._from_inputs), {f.name for f in dataclasses.fields(Settings)}
        shown = [f for f in dataclasses.fields(cls._settings_class()) if f.name not in hidden]
        # What every verb has (the seed) comes last.
        return sorted(shown, key=lambda f: f.name in common)

    def _add_settings(self, form, *names, **more):
        """Add the named settings to the form (or to a group of it). more: arguments for all, e.g. condition."""
        known = {f.name: f for f in self._form_fields()}
        for name in names:
            kind, arguments = self._param_of(known[name])
            form.addParam(camel(name), kind, **{**arguments, **more})

    def _remaining(self, *used):
        """Names of the form's settings that are not among ``used``."""
        return [f.name for f in self._form_fields() if f.name not in used]

    @classmethod
    def _param_of(cls, field):
        """(Param class, arguments) of a setting."""
        meta, (kind, _) = field.metadata, value_type(cls._settings_class(), field.name)
        unit = f' ({meta["unit"]})' if meta['unit'] else ''
        arguments = dict(label=(meta['label'] or field.name) + unit, help=cls._help_of(field),
                         expertLevel=params.LEVEL_ADVANCED if meta['expert'] else params.LEVEL_NORMAL)
        choices = cls._choices_of(field)
        if choices:
            return params.EnumParam, dict(arguments, choices=choices, default=cls._default_choice(field, choices))
        if kind is bool:
            return params.BooleanParam, dict(arguments, default=field.default)
        if kind is str:
            return (params.PathParam if meta['path'] else params.StringParam), dict(arguments, default=field.default or '')
        optional = field.default is None
        if any(meta[k] is not None for k in ('ge', 'gt', 'le', 'lt')):
            arguments['validators'] = [Within(meta, optional)]
        return (params.IntParam if kind is int else params.FloatParam), dict(
            arguments, default=field.default, allowsNull=optional)

    @classmethod
    def _choices_of(cls, field):
        """Strings of a list in the form; [] when the setting is not a choice."""
        kind, _ = value_type(cls._settings_class(), field.name)
        optional = field.default is None
        choices = list(field.metadata['choices'])
        if optional and kind is bool:
            choices = ['yes', 'no']
        return ([OPEN_CHOICE] if optional else []) + choices if choices else []

    @staticmethod
    def _default_choice(field, choices):
        return 0 if field.default is None else choices.index(field.default)

    @classmethod
    def _help_of(cls, field):
        """Help of a setting in the form; subclasses may add to it."""
        return field.metadata['help']

    def _define_machine(self, form, threads=2):
        """GPU (hidden: Scipion draws them in the header) and threads."""
        form.addHidden(params.USE_GPU, params.BooleanParam, default=True, label='Use GPU?',
                       help='Yes: a GPU is used when this machine has one, the processor otherwise.')
        form.addHidden(params.GPU_LIST, params.StringParam, default='0', label='Choose GPU IDs',
                       help='Ids as nvidia-smi counts them, e.g. 0 or 0,1.')
        form.addParallelSection(threads=threads, mpi=0)

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
        """Ids and sizes of the input objects."""
        found = []
        for name, attribute in self.iterInputAttributes():
            item = attribute.get()
            found.append([name, attribute.getUniqueId(), item.getSize() if hasattr(item, 'getSize') else str(item)])
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
        settings = {**self._form_values(), **self._input_settings()}
        state = self._run_state(settings)
        if state == 'complete':
            self.info('The engine had finished before the protocol was stopped: its result is used.')
            return
        path = self._getExtraPath(f'{self._verb}.json')
        write_json(path, settings)
        self._run_verb(path, {'unfinished': '--resume', 'other': '--overwrite'}.get(state, ''))

    def _run_verb(self, settings_path, flags):
        """One run of the engine; RuntimeError with the engine's own message when it fails."""
        start = self._log_size()
        gpus = self.getGpuList() if self.usesGpu() else []
        # Scipion fills in the ids, which a queue may have changed.
        program = Plugin.getProgram('%(GPU)s' if gpus else '')
        arguments = (f'{self._verb} --settings "{settings_path}" --output "{self.getRunDir()}" '
                     f'--threads {max(1, self.numberOfThreads.get())} --device {self._device(gpus)} {flags}')
        try:
            self.runJob(program, arguments.strip(), env=self._environ(), numberOfMpi=1, numberOfThreads=1)
        except Exception as e:
            raise RuntimeError(self._engine_message(start) or str(e)) from e
        # On a queue the exit status of a job is lost: only the summary says that the work was done.
        if not os.path.exists(self.getRunDir(SUMMARY)):
            raise RuntimeError(self._engine_message(start) or 'The engine ended without a result; see the logs.')

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

    def _run_state(self, settings):
        """'empty', 'complete', 'unfinished' (both with these settings) or 'other': what the run folder holds."""
        folder = Path(self.getRunDir())
        if not folder.is_dir() or not any(folder.iterdir()):
            return 'empty'
        try:
            held = json.loads((folder / 'settings.json').read_text(encoding='utf-8'))['settings']
        except (OSError, ValueError, KeyError):
            return 'other'
        changed = {k for k, v in settings.items() if k not in OURS and held.get(k) != v}
        if changed - set(self._may_change):
            return 'other'
        return 'complete' if not changed and (folder / SUMMARY).exists() else 'unfinished'

    def _log_size(self):
        path = self.getStderrLog()
        return os.path.getsize(path) if os.path.exists(path) else 0

    def _engine_message(self, start):
        """The engine's last sentence on stderr since byte ``start`` of the log, or ''."""
        path = self.getStderrLog()
        if not os.path.exists(path):
            return ''
        with open(path, encoding='utf-8', errors='replace') as f:
            f.seek(start)
            said = [line.split('cryoemgan: ', 1)[1].strip() for line in f if line.startswith('cryoemgan: ')]
        return said[-1] if said else ''

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        # Import problems of the engine are told by Plugin.validateInstallation.
        return self._check_settings()

    def _summary(self):
        summary = self.readSummary()
        if not summary:
            return ['Not finished yet.'] if self.isActive() or not self.isFinished() else []
        return self._summary_lines(summary) + [f'Warning: {w}' for w in summary.get('warnings', [])]

    def _summary_lines(self, summary):
        """Sentences on a finished run, from the engine's summary."""
        return []

    def _citations(self):
        return ['Gu2020', 'Gu2023']

    # --------------------------- UTILS functions -----------------------------
    def getRunDir(self, *names):
        """Folder of the engine's run, or a file in it; relative to the project."""
        return self._getExtraPath('run', *names)

    def readSummary(self):
        """The engine's summary of the finished run, or {}."""
        try:
            return json.loads(Path(self.getRunDir(SUMMARY)).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}

    def _form_values(self):
        """{setting: value} of the fields that are shown; those left open are not in it."""
        values = {}
        for field in self._form_fields():
            name = camel(field.name)
            if not self.hasAttribute(name) or not self.evalParamCondition(name):
                continue
            value = getattr(self, name).get()
            choices = self._choices_of(field)
            if choices:
                value = choices[value]
                if value == OPEN_CHOICE:
                    continue
                if not field.metadata['choices']:
                    value = value == 'yes'
            if value is not None and value != '':
                values[field.name] = value
        return values

    def _input_settings(self):
        """{setting: value} that come from the inputs (paths of tables, maps and models)."""
        raise NotImplementedError

    def _check_settings(self):
        """The settings' own checks of the whole form (fields that exclude each other)."""
        cls = self._settings_class()
        # Inputs are written later: any path that exists stands for them.
        stand_in = {f.name: os.curdir for f in dataclasses.fields(cls) if f.metadata['required']}
        try:
            cls(**{**stand_in, **self._form_values()}).validate()
        except InputError as e:
            return [str(e)]
        except TypeError as e:
            return [f'A field holds a value of the wrong kind: {e}']
        return []

    def _write_input(self, particles, name):
        """Write a set as ``name`` in the extra folder; the number of particles is logged."""
        count = write_particles(particles, self._getExtraPath(name))
        self.info(f'{name}: {count} particles')

    def _engine_path(self, name):
        """Absolute path of a file in the extra folder (a queue job may start elsewhere)."""
        return os.path.abspath(self._getExtraPath(name))


def describe_alignment_error(particles):
    """Why a set cannot be projected, or None."""
    if particles.hasAlignmentProj():
        return None
    if particles.hasAlignment2D():
        return ('The particles have a 2D alignment only: it does not say from which direction the map is seen. Use '
                'the particles that came out of a 3D refinement.')
    return ('The particles have no projection angles. Use the particles that came out of a 3D refinement (the '
            'output of the refinement protocol, or an import of its result with alignment).')
