"""Forms built from the engine's settings: each parameter is declared once, in ``engine/settings``."""

import dataclasses
import operator
import os
import re
import textwrap

import pyworkflow.protocol.params as params

from ..engine.errors import InputError
from ..engine.settings import COMMANDS, Settings
from ..engine.settings.base import flag, value_type
from ..engine.settings.reading import Reading
from .fields import Fields
from .machine import Machine

# Settings that the protocol gives itself.
OURS = ('output', 'threads', 'device', 'devices', 'nodes', 'resume', 'overwrite')
# Settings of reading that Scipion answers: the door writes absolute names, the set's pixel size, no .cs files.
DOOR = ('images_folder', 'pixel_size', 'passthrough')
# First choice of a list or of yes/no when the setting may stay open; what it then is may follow in brackets.
OPEN_CHOICE = 'from the preset'
# Scipion's help window is as wide as this, and as high as the text has line breaks.
HELP_WIDTH = 74


class Within(params.Conditional):
    """Form validator with the range of a setting: one message that says the whole range."""

    def __init__(self, meta, allowsNull):
        words = (('ge', 'at least'), ('gt', 'more than'), ('le', 'at most'), ('lt', 'less than'))
        self._bounds = {key: meta[key] for key, _ in words if meta[key] is not None}
        text = ' and '.join(f'{word} {meta[key]:g}' for key, word in words if meta[key] is not None)
        super().__init__(f'must be {text}', allowsNull)

    def _condition(self, value):
        return all(getattr(operator, key)(value, bound) for key, bound in self._bounds.items())


def camel(name):
    """Name of a setting as Scipion spells parameters: ``batch_size`` -> ``batchSize``."""
    head, *tail = name.split('_')
    return head + ''.join(part.capitalize() for part in tail)


def wrapped(text):
    """A help text with the line breaks that Scipion's window needs."""
    return '\n'.join(textwrap.fill(line, HELP_WIDTH, break_on_hyphens=False) for line in text.split('\n'))


class FormHabits(Fields):
    """What the forms of all our protocols share: hidden fields count for nothing, words are taken for choices.

    Scipion fills every pointer of a fitting class by itself, shown or not. What is optional is therefore asked for
    first, and a pointer whose condition does not hold is no input: not of the run, its graph or its validation.
    """

    def _createVarsFromDefinition(self, **kwargs):
        for _, param in self._definition.iterAllParams():
            if param.help.get():
                param.help.set(wrapped(self._in_form_words(param.help.get())))
        super()._createVarsFromDefinition(**kwargs)

    @classmethod
    def _in_form_words(cls, text):
        """A text of the engine as the form says it."""
        return text

    def _given(self, name):
        """The object that a field points to; None when the field is empty or not shown."""
        return getattr(self, name).get() if self.evalParamCondition(name) else None

    def iterInputAttributes(self):
        """As Scipion's, without what the form does not show."""
        for name, attribute in super().iterInputAttributes():
            if self.getParam(name) is None or self.evalParamCondition(name):
                yield name, attribute

    def processImportDict(self, importDict, importDir):
        """Values of a workflow file or template, in which choices may be words and numbers may be left open."""
        return {name: self._imported(name, value) for name, value in importDict.items()}

    def _imported(self, name, value):
        param = self.getParam(name)
        if param is None or not isinstance(value, str):
            return value
        word = value.strip().lower()
        if isinstance(param, params.EnumParam) and not word.isdigit():
            choices = [c.lower() for c in param.choices]
            if word not in choices:
                raise ValueError(f'{param.label.get()}: "{value}" is none of: {", ".join(param.choices)}')
            return choices.index(word)
        if isinstance(param, params.BooleanParam):
            return {'yes': True, 'no': False}.get(word, value)
        number = isinstance(param, (params.IntParam, params.FloatParam)) and not isinstance(param, params.EnumParam)
        return None if number and word in ('', 'none', 'default') else value


# Options that say which kind of network is meant: the form has a list of kinds in their place.
KINDS = (
    (r' \(--network guided\)', ''), ('--network guided', 'a network guided by the map'),
    ('--target (self|copies)', 'a map-free network'),
)  # fmt: skip


def _kinds_of_network(message):
    for options, words in KINDS:
        message = re.sub(options, words, message)
    return message


class SettingsForm(FormHabits, Machine):
    """The part of a protocol that turns a verb's settings into its form, and the filled form into values."""

    # Verb of the engine.
    _verb = None
    # Settings that come from pointers of the form, not from a field of their own.
    _from_inputs = ()
    # {condition on the form: settings that are shown only then}
    _shown_when = {}

    # --------------------------- DEFINE param functions ----------------------
    @classmethod
    def _settings_class(cls):
        return COMMANDS[cls._verb]

    @classmethod
    def _form_fields(cls):
        """The settings that are fields of the form, in their order."""
        hidden = {*OURS, *cls._from_inputs}
        common = {f.name for shared in (Reading, Settings) for f in dataclasses.fields(shared)}
        if issubclass(cls._settings_class(), Reading):
            # Scipion's sets say where their images are, and how large their pixels.
            hidden |= {*DOOR}
        shown = [f for f in dataclasses.fields(cls._settings_class()) if f.name not in hidden]
        # What every command has (bad images, the seed) comes last.
        return sorted(shown, key=lambda f: f.name in common)

    def _add_settings(self, form, *names, **more):
        """Add the named settings to the form (or to a group of it). more: arguments for all, e.g. condition."""
        known = {f.name: f for f in self._form_fields()}
        for name in names:
            kind, arguments = self._param_of(known[name])
            condition = next((c for c, names in self._shown_when.items() if name in names), None)
            arguments.update({'condition': condition} if condition else {})
            form.addParam(camel(name), kind, **{**arguments, **more})

    def _remaining(self, *used):
        """Names of the form's settings that are not among ``used``."""
        return [f.name for f in self._form_fields() if f.name not in used]

    @classmethod
    def _param_of(cls, field):
        """(Param class, arguments) of a setting."""
        meta, (kind, _) = field.metadata, value_type(cls._settings_class(), field.name)
        blank = cls._blank(field)
        beside = '; '.join(filter(None, (meta['unit'], f'default: {blank}' if blank else '')))
        arguments = dict(
            label=(meta['label'] or field.name) + (f' ({beside})' if beside else ''),
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
    def _blank(cls, field):
        """What a field that stays empty stands for, in a few words, or ''."""
        return field.metadata['blank']

    @classmethod
    def _choices_of(cls, field):
        """Strings of a list in the form; [] when the setting is not a choice."""
        kind, _ = value_type(cls._settings_class(), field.name)
        optional = field.default is None
        choices = list(field.metadata['choices'])
        if optional and kind is bool:
            choices = ['yes', 'no']
        return ([cls._open_choice(field)] if optional else []) + choices if choices else []

    @classmethod
    def _open_choice(cls, field):
        """First entry of a list that may stay open."""
        return OPEN_CHOICE

    @staticmethod
    def _default_choice(field, choices):
        return 0 if field.default is None else choices.index(field.default)

    @classmethod
    def _help_of(cls, field):
        """Help of a setting in the form; subclasses may add to it."""
        return field.metadata['help']

    @classmethod
    def _help(cls, name):
        """Help of a setting that the form asks for in a way of its own: of an object, not of a file."""
        return re.sub(r' \((STAR|MRC)\)', '', cls._settings_class().__dataclass_fields__[name].metadata['help'])

    # --------------------------- The filled form ------------------------------
    def where(self, name):
        """A setting as messages name it: its label, and its page when that is not the first or it is advanced."""
        param, place = self.getParam(camel(name)), []
        pages = [s for s in self._definition.iterSections() if s.label.get() != 'General']
        for page in pages[1:]:
            holders = [p for _, p in page.iterParams() if hasattr(p, 'iterParams')]
            names = [n for holder in (page, *holders) for n, _ in holder.iterParams()]
            place += [f'page {page.label.get()}'] if camel(name) in names else []
        place += ['Expert Level: Advanced'] if param.isExpert() else []
        label = self._settings_class().__dataclass_fields__[name].metadata['label'] or param.label.get()
        return f'"{label}"' + (f' ({", ".join(place)})' if place else '')

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
                if value.startswith(OPEN_CHOICE):
                    continue
                if not field.metadata['choices']:
                    value = value == 'yes'
            if value is not None and value != '':
                values[field.name] = value
        return values

    def _check_settings(self):
        """The settings' own checks of the whole form (fields that exclude each other), in the form's words."""
        cls, values = self._settings_class(), self._form_values()
        shown = [camel(f.name) for f in self._form_fields() if f.name in values]
        if any(self.getParam(name).validate(getattr(self, name).get()) for name in shown):
            # Scipion says so itself, field by field.
            return []
        try:
            cls(**{**self._stand_ins(), **values}).validate()
        except InputError as e:
            return [self._said(str(e))]
        return []

    def _stand_ins(self):
        """{setting: value} of inputs that are written later: any path that exists stands for them."""
        cls = self._settings_class()
        needed = [f.name for f in dataclasses.fields(cls) if f.metadata['required']]
        return {name: [os.curdir] if value_type(cls, name)[1] else os.curdir for name in needed}

    def _said(self, message):
        """A message of the engine with the form's fields, and where they are, in place of command-line options."""
        message = _kinds_of_network(message)
        places = {flag(f.name): self.where(f.name) for f in self._form_fields() if self.hasAttribute(camel(f.name))}
        return self._in_form_words(re.sub(r'--[a-z0-9-]+', lambda m: places.get(m[0], m[0]), message))

    @classmethod
    def _in_form_words(cls, message):
        """A text of the engine with the form's labels in place of command-line options."""
        fields = dataclasses.fields(cls._settings_class())
        labels = {flag(f.name): f'"{f.metadata["label"]}"' for f in fields if f.metadata['label']}
        return re.sub(r'--[a-z0-9-]+', lambda m: labels.get(m[0], m[0]), _kinds_of_network(message))
