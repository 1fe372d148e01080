"""Maps of the classes of a 3D classification, and which of them each particle belongs to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...data.table import ParticleTable
from ...errors import InputError
from ...settings.project import Project
from ...shapes import Rows


def maps(settings: Project) -> dict[int, str]:
    """{class number: path} of ``settings.class_volume`` (Project); InputError for a number that stands twice."""
    found: dict[int, str] = {}
    for position, text in enumerate(settings.class_volume, 1):
        named = re.fullmatch(r'(\d+)=(.+)', text)
        number, path = (int(named[1]), named[2]) if named and not Path(text).exists() else (position, text)
        if number in found:
            raise InputError(f'--class-volume: class {number} has two maps, {found[number]} and {path}')
        found[number] = path
    return found


def map_of_row(settings: Project, table: ParticleTable) -> Rows:
    """int64[n]: position of each particle's map among those of the classes; after the last = ``settings.volume``."""
    numbers = np.array(list(maps(settings)))
    if not table.has('rlnClassNumber'):
        raise InputError(
            f'{table.path}: particles without class (_rlnClassNumber): take the particles that came out of the 3D '
            'classification, or give only --volume'
        )
    own = table.ints('rlnClassNumber')
    order = np.argsort(numbers)
    at = order[np.minimum(np.searchsorted(numbers[order], own), len(numbers) - 1)]
    strange = numbers[at] != own
    if strange.any() and not settings.volume:
        raise InputError(
            f'{table.path}: {strange.sum()} particles belong to classes without a map '
            f'({", ".join(map(str, np.unique(own[strange])[:5]))}): give their maps (--class-volume NUMBER=FILE), '
            'leave the particles out, or give --volume for them'
        )
    return np.where(strange, len(numbers), at)
