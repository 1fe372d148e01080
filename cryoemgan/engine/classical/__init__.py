"""Denoisers without a network: the rows of Table 1 that a network has to beat.

Every method has the same small interface (``Method``): ``fit`` where it learns from the set, ``denoise`` for a batch.
"""

from __future__ import annotations

import importlib
from typing import Any

from .base import Method

METHODS = ('wiener', 'nlm', 'bm3d', 'ksvd', 'cwf')


def create(name: str, box: int, **options: Any) -> Method:
    """The method ``name`` for images of ``box`` px; options are those of its class (ValueError for other names)."""
    if name not in METHODS:
        raise ValueError(f'{name!r} is not one of {", ".join(METHODS)}')
    return importlib.import_module(f'.{name}', __name__).Denoiser(box, **options)
