"""What a JSON file may hold: types, ranges and lengths, declared once and checked whole when it is read.

A kind says what a value is and checks it; a `Record` is a kind made of named ones. Nothing behind a checked file has to
ask again whether a number is a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .errors import InputError
from .shapes import AnyPath

# No list of a model is longer, and no name.
LONGEST_LIST, LONGEST_TEXT = 100_000, 4096


class Kind(Protocol):
    """What a value may be."""

    def check(self, value: object, where: str) -> None:
        """InputError when it is something else; ``where``: the file and the entry."""


def shown(value: object) -> str:
    """A value in a message: no more of it than tells which."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # An int of too many digits for Python to print, or brackets within brackets.
        return f'a number of {value.bit_length()} bits' if isinstance(value, int) else f'a deep {type(value).__name__}'
    return text if len(text) <= 60 else text[:57] + '...'


@dataclass(frozen=True)
class Number:
    """A finite number in a range; ``whole``: without a fraction. ``zero``: whether it may be 0."""

    low: float
    high: float
    whole: bool = False
    zero: bool = True

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            raise InputError(f'{where} must be {"int" if self.whole else "float"}, found {shown(value)}')
        assert isinstance(value, int | float)
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f'{where} = {value} is not a finite number')
        if not self.low <= value <= self.high or (not self.zero and value == 0):
            but = '' if self.zero else ', not 0'
            raise InputError(f'{where} = {shown(value)} is out of range ({self.low:g} to {self.high:g}{but})')


@dataclass(frozen=True)
class Text:
    """Text: one of ``choices``, or matching ``pattern``; ``hint``: what it must be, for the message."""

    choices: tuple[str, ...] = ()
    pattern: str = ''
    hint: str = ''
    longest: int = LONGEST_TEXT

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if not isinstance(value, str):
            raise InputError(f'{where} must be str, found {shown(value)}')
        if len(value) > self.longest:
            raise InputError(f'{where} has {len(value)} characters; {self.longest} are the most')
        if self.choices and value not in self.choices:
            raise InputError(f'{where} = {shown(value)} is unknown (known: {", ".join(self.choices)})')
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise InputError(f'{where} = {shown(value)} is not {self.hint}')


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if not isinstance(value, bool):
            raise InputError(f'{where} must be true or false, found {shown(value)}')


@dataclass(frozen=True)
class Maybe:
    """Some kind, or null."""

    kind: Kind

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if value is not None:
            self.kind.check(value, where)


@dataclass(frozen=True)
class Array:
    """A list of values of one kind."""

    item: Kind
    shortest: int = 0
    longest: int = LONGEST_LIST

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if not isinstance(value, list | tuple):
            raise InputError(f'{where} must be list, found {shown(value)}')
        if not self.shortest <= len(value) <= self.longest:
            wanted = self.shortest if self.shortest == self.longest else f'{self.shortest} to {self.longest}'
            raise InputError(f'{where} has {len(value)} entries, not {wanted}')
        for position, item in enumerate(value):
            self.item.check(item, f'{where}[{position}]')


@dataclass(frozen=True)
class Record:
    """An object with these entries; others are left alone, unless there are too many of them."""

    needed: Mapping[str, Kind] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)
    others: Kind | None = None

    def check(self, value: object, where: str) -> None:
        """As of any kind."""
        if not isinstance(value, dict):
            raise InputError(f'{where} must be dict, found {shown(value)}')
        if len(value) > LONGEST_LIST:
            raise InputError(f'{where} has {len(value)} entries; {LONGEST_LIST} are the most')
        for key, kind in self.needed.items():
            if key not in value:
                raise InputError(f'{_inside(where, key)} is missing')
            kind.check(value[key], _inside(where, key))
        for key, kind in self.optional.items():
            if key in value:
                kind.check(value[key], _inside(where, key))
        for key in value.keys() - self.needed.keys() - self.optional.keys() if self.others else ():
            assert self.others is not None
            self.others.check(value[key], _inside(where, key))


def _inside(where: str, key: str) -> str:
    """Name of an entry: ``FILE: a.b``."""
    return f'{where}{"" if where.endswith(": ") else "."}{key[:60]}'


def require(kind: Kind, value: object, path: AnyPath) -> None:
    """InputError that names the file and the first entry of it that is not of its kind."""
    kind.check(value, f'{path}: ')
