"""Forms built from the engine's settings: each parameter is declared once, in ``engine/settings``."""

import dataclasses
import os
import re

import pyworkflow.protocol.params as params

from ..engine.errors import InputError
from ..engine.settings import COMMANDS, Settings
from ..engine.settings.base import flag, value_type

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
        tests = {
            'ge': lambda v, b: v >= b,
            'gt': lambda v, b: v > b,
            'le': lambda v, b: v <= b,
            'lt': lambda v, b: v < b,
        }
        return all(tests[key](value, bound) for key, bound in self._bounds.items())


def camel(name):
    """Name of a setting as Scipion spells parameters: ``batch_size`` -> ``batchSize``."""
    head, *tail = name.split('_')
    return head + ''.join(part.capitalize() for part in tail)


class SettingsForm:
    """The part of a protocol that turns a verb's settings into its form, and the filled form into values."""

    # Verb of the engine.
    _verb = None
    # Settings that come from pointers of the form, not from a field of their own.
    _from_inputs = ()

    # --------------------------- DEFINE param functions ----------------------
    @classmethod
    def _settings_class(cls):
        return COMMANDS[cls._verb]

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

    def _add_particles(self, form, name, **arguments):
        """A field for one set of particles; asked for by a star unless it may stay empty (allowsNull)."""
        arguments.setdefault('important', not arguments.get('allowsNull', False))
        form.addParam(name, params.PointerParam, pointerClass='SetOfParticles', **arguments)

    @staticmethod
    def _add_model_pointer(form, name, **arguments):
        """A field for one trained model of the project."""
        form.addParam(name, params.PointerParam, pointerClass='DenoiserModel', **arguments)

    def _remaining(self, *used):
        """Names of the form's settings that are not among ``used``."""
        return [f.name for f in self._form_fields() if f.name not in used]

    @classmethod
    def _param_of(cls, field):
        """(Param class, arguments) of a setting."""
        meta, (kind, _) = field.metadata, value_type(cls._settings_class(), field.name)
        unit = f' ({meta["unit"]})' if meta['unit'] else ''
        arguments = dict(
            label=(meta['label'] or field.name) + unit,
            help=cls._help_of(field),
            expertLevel=params.LEVEL_ADVANCED if meta['expert'] else params.LEVEL_NORMAL,
        )
        choices = cls._choices_of(field)
        if choices:
            return params.EnumParam, dict(arguments, choices=choices, default=cls._default_choice(field, choices))
        if kind is bool:
            return params.BooleanParam, dict(arguments, default=field.default)
        if kind is str:
            return (params.PathParam if meta['path'] else params.StringParam), dict(
                arguments, default=field.default or ''
            )
        optional = field.default is None
        if any(meta[k] is not None for k in ('ge', 'gt', 'le', 'lt')):
            arguments['validators'] = [Within(meta, optional)]
        return (params.IntParam if kind is int else params.FloatParam), dict(
            arguments, default=field.default, allowsNull=optional
        )

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

    @classmethod
    def _help(cls, name):
        """Help of a setting that the form asks for in a way of its own."""
        return cls._settings_class().__dataclass_fields__[name].metadata['help']

    def _define_machine(self, form, threads=2):
        """GPU (hidden: Scipion draws them in the header) and threads."""
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=True,
            label='Use GPU?',
            help='Yes: a GPU is used when this machine has one, the processor otherwise.',
        )
        form.addHidden(
            params.GPU_LIST,
            params.StringParam,
            default='0',
            label='Choose GPU IDs',
            help='Ids as nvidia-smi counts them, e.g. 0 or 0,1.',
        )
        form.addParallelSection(threads=threads, mpi=0)

    # --------------------------- The filled form ------------------------------
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

    def _check_settings(self):
        """The settings' own checks of the whole form (fields that exclude each other), in the form's words."""
        cls, values = self._settings_class(), self._form_values()
        if any(self.getParam(camel(name)).validate(getattr(self, camel(name)).get()) for name in values):
            # Scipion says so itself, field by field.
            return []
        try:
            cls(**{**self._stand_ins(), **values}).validate()
        except InputError as e:
            return [self._in_form_words(str(e))]
        return []

    def _stand_ins(self):
        """{setting: value} of inputs that are written later: any path that exists stands for them."""
        fields = dataclasses.fields(self._settings_class())
        return {f.name: os.curdir for f in fields if f.metadata['required']}

    @classmethod
    def _in_form_words(cls, message):
        """A message of the engine with the form's labels in place of command-line options."""
        labels = {flag(f.name): f'"{f.metadata["label"]}"' for f in cls._form_fields() if f.metadata['label']}
        return re.sub(r'--[a-z0-9-]+', lambda m: labels.get(m[0], m[0]), message)
