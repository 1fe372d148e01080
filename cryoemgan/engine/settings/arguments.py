"""Settings classes as options of an argparse parser: grouped, with the required ones first and marked."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, Field, fields
from typing import Any

from .base import flag, group_of, value_type

REQUIRED = 'Required'
# Title of what every command takes; it stands last.
LAST = 'The run'
SHOWN = {int: 'N', float: 'X', str: 'TEXT'}


def add_options(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add every field of a settings class to a parser; unset options stay absent (SUPPRESS).

    Whether required ones are there is checked later: they may come from the settings file.
    """
    groups: dict[str, list[Field[Any]]] = {}
    # Fields of a base class come first in a dataclass; what is special to the command shall.
    for field in sorted(fields(cls), key=lambda f: group_of(cls, f) == LAST):
        title = REQUIRED if field.metadata['required'] else group_of(cls, field)
        groups.setdefault(title, []).append(field)
    order = {REQUIRED: 0, LAST: 2}
    for title in sorted(groups, key=lambda t: order.get(t, 1)):
        group = parser.add_argument_group(title)
        for field in groups[title]:
            _add(group, cls, field)
    needed = ' '.join(f'{flag(f.name)} {_shown_as(cls, f)}' for f in groups.get(REQUIRED, []))
    parser.usage = f'%(prog)s {needed} [options]'


def _add(group: argparse._ArgumentGroup, cls: type, field: Field[Any]) -> None:
    meta, (kind, many) = field.metadata, value_type(cls, field.name)
    common: dict[str, Any] = dict(dest=field.name, default=argparse.SUPPRESS, help=_help(field))
    if kind is bool:
        group.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, **common)
        return
    if meta['choices']:
        common['choices'] = meta['choices']
    else:
        common['metavar'] = _shown_as(cls, field)
    if many:
        common['action'] = 'append'
    group.add_argument(flag(field.name), type=kind, **common)


def _help(field: Field[Any]) -> str:
    meta = field.metadata
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    unit = f' ({meta["unit"]})' if meta['unit'] else ''
    shown = '' if default in (None, [], '') or meta['required'] else f' [default: {default}]'
    required = ' [required]' if meta['required'] else ''
    many = ' [may be repeated]' if default == [] else ''
    return (meta['help'] + unit + shown + many + required).replace('%', '%%')


def _shown_as(cls: type, field: Field[Any]) -> str:
    meta, (kind, _) = field.metadata, value_type(cls, field.name)
    return meta['shown_as'] or ('FILE' if meta['path'] else SHOWN.get(kind, 'X'))
