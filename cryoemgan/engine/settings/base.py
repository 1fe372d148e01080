"""How a parameter is declared: once, for the command line, the settings file and the Scipion form.

Only the standard library is imported here: Scipion's forms read these classes in a process without torch.
"""

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import InputError


def option(
    default,
    help,
    *,
    label='',
    unit='',
    choices=(),
    ge=None,
    gt=None,
    le=None,
    lt=None,
    required=False,
    expert=False,
    path=False,
):
    """Declare one parameter.

    default: value when nothing is said (None = not set). help: what it does, with numbers and trade-offs.
    label: short name in the form. choices: the allowed strings. ge, gt, le, lt: range. expert: shown under
    Advanced in the form. path: a file or folder that must exist.
    """
    meta = dict(
        help=help,
        label=label,
        unit=unit,
        choices=tuple(choices),
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        required=required,
        expert=expert,
        path=path,
    )
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def value_type(cls, name):
    """The (element type, is a list) of a field: ``int | None`` gives (int, False), ``list[str]`` (str, True)."""
    hint = typing.get_type_hints(cls)[name]
    if isinstance(hint, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], True
    return hint, False


def flag(name):
    """Command-line spelling of a field: ``batch_size`` -> ``--batch-size``."""
    return '--' + name.replace('_', '-')


@dataclass
class Settings:
    """What every verb takes."""

    output: str | None = option(
        None,
        'Folder for the results; created. A folder that is not empty is refused '
        'unless --resume or --overwrite is given.',
        required=True,
    )
    threads: int = option(0, 'CPU threads; 0 uses every core this process may use.', ge=0, label='Threads')
    device: str = option(
        'auto',
        'Where to compute: auto (a GPU when there is one), cpu, cuda, or chosen GPUs such as cuda:0,1.',
        label='Device',
        expert=True,
    )
    seed: int = option(
        1,
        'Start of every random choice; the same seed on the same machine gives the same result.',
        ge=0,
        lt=2**32,
        label='Random seed',
        expert=True,
    )
    resume: bool = option(False, 'Go on with an interrupted run in the output folder.')
    overwrite: bool = option(False, 'Replace an earlier result of this program in the output folder.')

    def validate(self):
        """Raise InputError for the first field whose value is of the wrong type or out of range."""
        for f in fields(self):
            check_value(type(self), f, getattr(self, f.name))
        if self.resume and self.overwrite:
            raise InputError('--resume and --overwrite exclude each other')

    @classmethod
    def of_machine(cls):
        """Names of settings that say where and how to compute, not what."""
        return frozenset({'output', 'threads', 'device', 'resume', 'overwrite', 'batch_size'})

    @classmethod
    def of_length(cls):
        """Names of settings with which a finished run may go on: how much of the same to do."""
        return frozenset()

    @classmethod
    def is_path(cls, name):
        """Whether a setting names files: a resumed run is told by their content, not by where they lie."""
        return any(f.name == name and f.metadata['path'] for f in fields(cls))

    def as_dict(self):
        """Plain values, as written to settings.json."""
        return dataclasses.asdict(self)


def check_value(cls, field, value):
    """Type, choice and range of one value; InputError names the option."""
    meta, name = field.metadata, flag(field.name)
    if value is None or value == []:
        if meta['required']:
            raise InputError(f'{name} is missing')
        return
    kind, many = value_type(cls, field.name)
    for item in value if many else [value]:
        wrong_type = not isinstance(item, (int, float) if kind is float else kind)
        if wrong_type or (isinstance(item, bool) and kind is not bool):
            raise InputError(f'{name}: expected {kind.__name__}, got {item!r}')
        if kind is float and not math.isfinite(item):
            raise InputError(f'{name}: {item} is not a finite number')
        if meta['choices'] and item not in meta['choices']:
            raise InputError(f'{name}: {item!r} is not one of {", ".join(meta["choices"])}')
        for word, bad in (
            ('ge', lambda v, b: v < b),
            ('gt', lambda v, b: v <= b),
            ('le', lambda v, b: v > b),
            ('lt', lambda v, b: v >= b),
        ):
            if meta[word] is not None and bad(item, meta[word]):
                sign = {'ge': 'at least', 'gt': 'more than', 'le': 'at most', 'lt': 'less than'}[word]
                raise InputError(f'{name}: {item} must be {sign} {meta[word]}')
        if meta['path']:
            target = item.split('=', 1)[1] if '=' in item and not Path(item).exists() else item
            if not Path(target).exists():
                raise InputError(f'{name}: {target} does not exist')


def add_options(parser, cls):
    """Add every field of a settings class to an argparse parser; unset options stay absent (SUPPRESS)."""
    import argparse

    for f in fields(cls):
        meta = f.metadata
        kind, many = value_type(cls, f.name)
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory()
        shown = '' if default in (None, [], '') or meta['required'] else f' [default: {default}]'
        unit = f' ({meta["unit"]})' if meta['unit'] else ''
        text = (meta['help'] + unit + shown).replace('%', '%%')
        common = dict(dest=f.name, default=argparse.SUPPRESS, help=text)
        if kind is bool:
            parser.add_argument(flag(f.name), action=argparse.BooleanOptionalAction, **common)
        else:
            extra = {'choices': meta['choices']} if meta['choices'] else {}
            if many:
                extra['action'] = 'append'
            parser.add_argument(flag(f.name), type=kind, **common, **extra)


def read_settings_file(cls, path):
    """Values of a settings file (JSON object; keys are option names). InputError for anything unknown."""
    try:
        data = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as e:
        raise InputError(f'--settings: cannot read {path}: {e.strerror}') from e
    except ValueError as e:
        raise InputError(f'--settings: {path} is not valid JSON: {e}') from e
    if not isinstance(data, dict):
        raise InputError(f'--settings: {path} must hold one JSON object')
    known = {f.name for f in fields(cls)}
    values = {}
    for key, value in data.items():
        name = key.replace('-', '_')
        if name not in known:
            raise InputError(f'--settings: {path}: unknown option {key!r} for this verb')
        values[name] = float(value) if _is_int_for_float(cls, name, value) else value
    return values


def _is_int_for_float(cls, name, value):
    return value_type(cls, name) == (float, False) and isinstance(value, int) and not isinstance(value, bool)
