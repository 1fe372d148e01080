"""Who particles are: a particle is not the spelling of its name.

An image has a name, which changes when a project is moved; a particle has a place on a micrograph, which does not. What
shows one particle several times, or one filament in pieces, belongs on one side of every split.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..shapes import Rows
from .image_names import split_image_name
from .star_blocks import Column

if TYPE_CHECKING:
    from .table import ParticleTable

# Coordinates that as many rows share are no places: a program filled the column.
CROWDED = 100
# Names of micrographs that are remembered while a column is read.
MICROGRAPHS = 2**10


# Text of many particles: packed where it comes from a table.
Texts: TypeAlias = Column | list[str]


@dataclass(frozen=True)
class Who:
    """Particles by name, and where it is known by place.

    names: ``index@stack`` of the original images, normalised. spots: position on the micrograph as text, or None.
    micrographs: their names without folder and ending, or None.
    """

    names: Texts
    spots: Texts | None = None
    micrographs: Texts | None = None

    @classmethod
    def of(cls, who: Who | Iterable[str]) -> Who:
        """Of particles known by their names alone, too."""
        return who if isinstance(who, Who) else cls(list(who))

    def __len__(self) -> int:
        return len(self.names)

    def at(self, rows: Rows) -> Who:
        """Some of the particles."""
        return Who(_at(self.names, rows), *(part and _at(part, rows) for part in (self.spots, self.micrographs)))

    @property
    def tails(self) -> Iterator[str]:
        """Names without the folders, which change when a project is moved."""
        return map(tail, self.names)

    @property
    def places(self) -> Iterator[str] | None:
        """Micrograph and position; None where either is unknown."""
        if self.spots is None or self.micrographs is None:
            return None
        return (f'{m}|{s}' for m, s in zip(self.micrographs, self.spots))

    @property
    def tails_at_spots(self) -> Iterator[str] | None:
        """Names without folders, with the position: particles picked anew have other positions under old names."""
        return None if self.spots is None else (f'{t}|{s}' for t, s in zip(self.tails, self.spots))


def _at(texts: Texts, rows: Rows) -> Texts:
    return texts.take(rows) if isinstance(texts, Column) else [texts[r] for r in rows]


def who(table: ParticleTable) -> Who:
    """Who the particles of a table are."""
    names = Column.of(table.identity('original') or table.identity('name') or ())
    spots, micrographs = _spots(table), None
    if table.has('rlnMicrographName'):
        micrographs = Column.of(map(stem, table.texts('rlnMicrographName')))
    found = Who(names, spots, micrographs)
    # A column that a program filled with one value tells nothing.
    places = found.places
    crowded = places is not None and len(np.unique(name_hashes(places))) * CROWDED < len(names)
    return Who(names) if crowded else found


def _spots(table: ParticleTable) -> Column | None:
    if not (table.has('rlnCoordinateX') and table.has('rlnCoordinateY')):
        return None
    x, y = (table.floats(f'rlnCoordinate{axis}') for axis in 'XY')
    spots = Column.of(f'{a:.1f}|{b:.1f}' for a, b in zip(x, y))
    first = spots[0]
    return spots if len(spots) < 3 or any(spot != first for spot in spots) else None


def name_hashes(names: Iterable[str]) -> Rows:
    """int64 [n]: 64 bits of BLAKE2b of each name; for a million particles a collision has a chance of 3e-8."""
    digests = (hashlib.blake2b(n.encode('utf-8', 'surrogateescape'), digest_size=8).digest() for n in names)
    return np.fromiter((int.from_bytes(d, 'little', signed=True) for d in digests), np.int64)


def tail(name: str) -> str:
    """``index@file`` of an image name: without folders."""
    split = split_image_name(name)
    return f'{split[0]}@{os.path.basename(split[1])}' if split else os.path.basename(name)


@lru_cache(MICROGRAPHS)
def stem(path: str) -> str:
    """A micrograph's name without folder and ending."""
    return os.path.splitext(os.path.basename(path))[0]


@dataclass(frozen=True)
class Kin:
    """What of a set belongs together.

    group: number of the group of each row, int64 [n]. copies: rows whose image stands in an earlier row. filaments:
    number of filaments that several rows are segments of.
    """

    group: Rows
    copies: int
    filaments: int

    @property
    def alone(self) -> bool:
        """Whether every row is a group of its own."""
        return len(np.unique(self.group)) == len(self.group)


def kin(table: ParticleTable) -> Kin:
    """Rows that show one image or one particle, or segments of one filament of a micrograph."""
    particles = who(table)
    images = _labels(particles.names)
    labels, places = [images], particles.places
    if places is not None:
        labels.append(_labels(places))
    filaments = 0
    if table.has('rlnHelicalTubeID') and table.ints('rlnHelicalTubeID').any():
        micrographs = particles.micrographs or [''] * len(table)
        tubes = _labels(f'{m}|{t}' for m, t in zip(micrographs, table.ints('rlnHelicalTubeID')))
        filaments = int((np.bincount(tubes) > 1).sum())
        labels.append(tubes)
    return Kin(_joined(labels), len(images) - len(np.unique(images)), filaments)


def _labels(values: Iterable[str]) -> Rows:
    """Number of each different value, from 0 in order of appearance."""
    _, first, inverse = np.unique(name_hashes(values), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _joined(labels: Sequence[Rows]) -> Rows:
    """Group of each row when rows that share any label belong together."""
    if len(labels) == 1:
        return labels[0]
    count = len(labels[0])
    rows, columns, offset = [], [], count
    for label in labels:
        rows.append(np.arange(count))
        columns.append(label + offset)
        offset += int(label.max(initial=-1)) + 1
    ends = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(ends[0]), bool), ends), shape=(offset, offset))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)
