"""Denoisers without a network: the rows of Table 1 that a network has to beat.

Every method has the same small interface (``Method``): ``fit`` where it learns from the set, ``denoise`` for a batch.
"""

from __future__ import annotations

import importlib
import zipfile
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic
from ..shapes import AnyPath
from .base import Method

METHODS = ('wiener', 'nlm', 'bm3d', 'ksvd', 'cwf')


def create(name: str, box: int, **options: Any) -> Method:
    """The method ``name`` for images of ``box`` px; options are those of its class (ValueError for other names)."""
    if name not in METHODS:
        raise ValueError(f'{name!r} is not one of {", ".join(METHODS)}')
    return importlib.import_module(f'.{name}', __name__).Denoiser(box, **options)


def save(method: Method, name: str, path: AnyPath) -> None:
    """Write what the method ``name`` has learnt (.npz)."""
    arrays: dict[str, np.ndarray] = {}
    for attribute in method.learnt:
        value = getattr(method, attribute)
        parts = value if isinstance(value, list) else [value]
        arrays |= {f'{attribute}.{k}' if parts is value else attribute: np.asarray(v) for k, v in enumerate(parts)}
    with atomic(path) as partial, open(partial, 'wb') as f:
        np.savez(f, method=np.array(name), box=np.array(method.box), **arrays)  # type: ignore[arg-type]


def restore(method: Method, name: str, path: AnyPath) -> None:
    """Give a method what ``save`` wrote; InputError when it is no such file, or of another method or box."""
    try:
        with np.load(path, allow_pickle=False) as found:
            held = {key: found[key] for key in found.files}
        of = (str(held['method']), int(held['box']))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f'{path}: not a learnt filter ({e}); "filter" writes one as learnt.npz') from e
    if of != (name, method.box):
        raise InputError(
            f'{path}: learnt by {of[0]} from images of {of[1]} px, these are {method.box} px and the method is {name}'
        )
    for attribute in method.learnt:
        parts = [held[k] for k in sorted((k for k in held if k.startswith(f'{attribute}.')), key=_number)]
        setattr(method, attribute, parts or held[attribute])


def _number(key: str) -> int:
    return int(key.rpartition('.')[2])
