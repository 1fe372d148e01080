"""Settings files: JSON from others, read whole and checked before anything is believed."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from .base import value_type

LARGEST = 2**20


def read_settings_file(cls: type, path: str | Path) -> dict[str, Any]:
    """Values of a settings file, by the names of the fields of ``cls``.

    A JSON object whose keys are option names; or the settings.json that a run of the same command left behind.
    InputError for anything that is no such object, or has an unknown or doubled key; types and ranges are the
    settings' own to check.
    """
    data = _read(path)
    if {'verb', 'version', 'settings'} <= set(data) and isinstance(data['settings'], dict):
        if data['verb'] != cls.__name__.lower():
            raise InputError(f'--settings: {path} holds the settings of {str(data["verb"])[:40]!r}')
        data = data['settings']
    known = {f.name for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        name = key.replace('-', '_')
        if name not in known:
            raise InputError(f'--settings: {path}: unknown option {key[:60]!r} for this verb')
        if name in values:
            raise InputError(f'--settings: {path}: {key!r} is given twice')
        values[name] = _number(cls, name, value)
    return values


def _read(path: str | Path) -> dict[str, Any]:
    try:
        path = Path(path)
        if path.exists() and not path.is_file():
            raise InputError(f'--settings: {path} is not a file')
        if path.stat().st_size > LARGEST:
            raise InputError(f'--settings: {path} has {path.stat().st_size} bytes: no settings file is that large')
        text = path.read_text(encoding='utf-8-sig')
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite)
    except OSError as e:
        raise InputError(f'--settings: cannot read {path}: {e.strerror}') from e
    except (ValueError, RecursionError) as e:
        reason = 'nested too deeply' if isinstance(e, RecursionError) else str(e)
        raise InputError(f'--settings: {path} is not valid JSON: {reason}') from e
    if not isinstance(data, dict):
        raise InputError(f'--settings: {path} must hold one JSON object')
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError('a key stands twice in one object')
    return found


def _not_finite(word: str) -> float:
    raise ValueError(f'{word} is not a finite number')


def _number(cls: type, name: str, value: Any) -> Any:
    """A whole number for a field of floats as a float; anything else as it is."""
    if value_type(cls, name) != (float, False) or not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        # Too large for a float: the field's own check refuses it.
        return value
