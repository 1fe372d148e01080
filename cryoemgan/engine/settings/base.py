"""How a parameter is declared: once, for the command line, the settings file and the Scipion form.

Only the standard library is imported here: Scipion's forms read these classes in a process without torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..errors import InputError
from ..schema import shown as _shown

if TYPE_CHECKING:
    from typing_extensions import Self

# What no option is ever meant to be: beyond these a value is a slip or an attack, and overflows somewhere later.
LARGEST_INT, LARGEST_FLOAT, LONGEST_TEXT, LONGEST_LIST = 2**53, 1e12, 4096, 10_000
# auto, cpu, or GPUs. Digits of other scripts are none here.
DEVICE = re.compile(r'(?:auto|cpu|cuda(?::[0-9]{1,4}(?:,[0-9]{1,4})*)?)')
Part = TypeVar('Part')
BOUNDS = {'ge': 'at least', 'gt': 'more than', 'le': 'at most', 'lt': 'less than'}


def option(
    default: Any,
    help: str,
    *,
    label: str = '',
    unit: str = '',
    choices: Iterable[str] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    required: bool = False,
    expert: bool = False,
    path: bool = False,
    blank: str = '',
    group: str = '',
    shown_as: str = '',
) -> Any:
    """Declare one parameter: a field of a settings class.

    Parameters
    ----------
    default
        Value when nothing is said; None = not set.
    help
        What it does, with numbers and trade-offs.
    label, unit
        Short name and unit in the form.
    choices
        The allowed strings.
    ge, gt, le, lt
        Range of a number.
    required
        Must be given (on the command line or in the settings file).
    expert
        Shown under Advanced in the form.
    path
        A file or folder that must exist.
    blank
        What is used when nothing is said, in the few words that the form puts beside the field.
    group
        Title of the group of options in ``--help``; default that of the class (``GROUP``).
    shown_as
        How ``--help`` writes the value; default FILE, N, X or TEXT, by the type.
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
        blank=blank,
        group=group,
        shown_as=shown_as,
    )
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def value_type(cls: type, name: str) -> tuple[type, bool]:
    """The (element type, is a list) of a field: ``int | None`` gives (int, False), ``list[str]`` (str, True)."""
    hint = typing.get_type_hints(cls)[name]
    if isinstance(hint, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], True
    return hint, False


def group_of(cls: type, field: dataclasses.Field[Any]) -> str:
    """Title of the group that an option stands in: its own, else that of the class that declares it."""
    if field.metadata['group']:
        return str(field.metadata['group'])
    owner = next(c for c in cls.__mro__ if field.name in inspect.get_annotations(c))
    return str(vars(owner).get('GROUP', 'Options'))


def flag(name: str) -> str:
    """Command-line spelling of a field: ``batch_size`` -> ``--batch-size``."""
    return '--' + name.replace('_', '-')


def batches(default: int, help: str) -> Any:
    """The parameter of a command that takes images batch by batch."""
    return option(default, help, ge=1, le=8192, expert=True, label='Batch size')


@dataclass
class Settings:
    """What every verb takes."""

    GROUP: ClassVar[str] = 'The run'
    # Names of settings of the machine that decide the last digits, or more, of this command's results.
    DECIDING: ClassVar[frozenset[str]] = frozenset()

    output: str | None = option(
        None,
        'Folder for the results; it is created. A folder that is not empty is refused unless --resume or '
        '--overwrite is given.',
        required=True,
        shown_as='DIR',
    )
    threads: int = option(
        0, 'CPU threads; 0 uses every core that this process may use.', ge=0, le=4096, label='Threads'
    )
    device: str = option(
        'auto',
        'Where to compute: auto (a GPU if there is one), cpu, cuda, or particular GPUs such as cuda:0,1.',
        label='Device',
        expert=True,
    )
    seed: int = option(
        1,
        'Seed of the random numbers. The same seed on the same machine gives the same result.',
        ge=0,
        lt=2**32,
        label='Random seed',
        expert=True,
    )
    resume: bool = option(False, 'Continue an interrupted run in the output folder.')
    overwrite: bool = option(False, 'Replace an earlier result of this program in the output folder.')

    def validate(self) -> None:
        """Raise InputError for the first field whose value is of the wrong type or out of range."""
        for f in fields(self):
            check_value(type(self), f, getattr(self, f.name))
        if not DEVICE.fullmatch(self.device):
            raise InputError(f'--device: {_shown(self.device)} is not auto, cpu, cuda, or cuda:0,1')
        if self.resume and self.overwrite:
            raise InputError('--resume and --overwrite exclude each other')

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """Names of settings that say where and how to compute, not what."""
        names = 'output threads device devices nodes resume overwrite batch_size bad_images images_folder'
        return frozenset(names.split()) - cls.DECIDING

    @classmethod
    def of_length(cls) -> frozenset[str]:
        """Names of settings with which a finished run may go on: how much of the same to do."""
        return frozenset()

    @classmethod
    def only_longer(cls) -> frozenset[str]:
        """Names of those among `of_length` that a resumed run must not make smaller."""
        return frozenset()

    @classmethod
    def is_path(cls, name: str) -> bool:
        """Whether a setting names files: a resumed run is told by their content, not by where they lie."""
        return any(f.name == name and f.metadata['path'] for f in fields(cls))

    def filled(self) -> Self:
        """These settings as they are worked with: a command with presets takes from them what was left open."""
        return self

    def part(self, cls: type[Part]) -> Part:
        """The settings that one of the bases of this class declares, as an instance of it: they travel together."""
        return cls(**{f.name: getattr(self, f.name) for f in fields(cls)})  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as written to settings.json."""
        return dataclasses.asdict(self)


def check_value(cls: type, field: dataclasses.Field[Any], value: Any) -> None:
    """Type, choice and range of one value; InputError names the option."""
    meta, name = field.metadata, flag(field.name)
    kind, many = value_type(cls, field.name)
    if value is None or (many and value == []):
        if meta['required']:
            raise InputError(f'{name} is missing')
        if value is None and field.default is not None:
            raise InputError(f'{name}: expected {"a list of " * many}{kind.__name__}, got nothing (null)')
        return
    if many and not isinstance(value, (list, tuple)):
        raise InputError(f'{name}: expected a list, got {_shown(value)}')
    if many and len(value) > LONGEST_LIST:
        raise InputError(f'{name}: {len(value)} values; at most {LONGEST_LIST} are taken')
    for item in value if many else [value]:
        _check_type(name, kind, item)
        if meta['choices'] and item not in meta['choices']:
            raise InputError(f'{name}: {_shown(item)} is not one of {", ".join(meta["choices"])}')
        _check_range(name, meta, item)
        if meta['path']:
            _check_path(name, item)


def _check_type(name: str, kind: type, item: Any) -> None:
    fits = isinstance(item, (int, float) if kind is float else kind)
    if not fits or (isinstance(item, bool) and kind is not bool):
        raise InputError(f'{name}: expected {kind.__name__}, got {_shown(item)}')
    if isinstance(item, str):
        try:
            os.fsencode(item)
        except UnicodeEncodeError:
            raise InputError(f'{name}: {_shown(item)} is not text') from None
        if len(item) > LONGEST_TEXT or any(ord(c) < 32 or ord(c) == 127 for c in item):
            raise InputError(f'{name}: {_shown(item)} is too long, or holds control characters')
    elif isinstance(item, float) and not math.isfinite(item):
        raise InputError(f'{name}: {item} is not a finite number')
    elif not isinstance(item, bool) and abs(item) > (LARGEST_INT if kind is int else LARGEST_FLOAT):
        raise InputError(f'{name}: {_shown(item)} is far out of every sensible range')


def _check_range(name: str, meta: typing.Mapping[str, Any], item: Any) -> None:
    for word, bad in (
        ('ge', lambda v, b: v < b),
        ('gt', lambda v, b: v <= b),
        ('le', lambda v, b: v > b),
        ('lt', lambda v, b: v >= b),
    ):
        if meta[word] is not None and bad(item, meta[word]):
            raise InputError(f'{name}: {item} must be {BOUNDS[word]} {meta[word]}')


def _check_path(name: str, item: str) -> None:
    """InputError unless a file or folder is there; NAME=FILE is taken apart when there is no such file."""
    target = item.split('=', 1)[1] if '=' in item and not _there(item) else item
    if not _there(target):
        raise InputError(f'{name}: {target} does not exist')
    if not (Path(target).is_file() or Path(target).is_dir()):
        # Opening a pipe would wait for ever.
        raise InputError(f'{name}: {target} is neither a file nor a folder')


def _there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        # A name too long, or a folder that may not be entered.
        return False
