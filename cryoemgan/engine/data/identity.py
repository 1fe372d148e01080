"""Who particles are: a particle is not the spelling of its name.

An image has a name, which changes when a project is moved; a particle has a place on a micrograph, which does not. What
shows one particle several times, or one filament in pieces, belongs on one side of every split.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..shapes import Rows
from .image_names import split_image_name

if TYPE_CHECKING:
    from .table import ParticleTable

# Coordinates that as many rows share are no places: a program filled the column.
CROWDED = 100


@dataclass(frozen=True)
class Who:
    """Particles by name, and where it is known by place.

    names: ``index@stack`` of the original images, normalised. spots: position on the micrograph as text, or None.
    micrographs: their names without folder and ending, or None.
    """

    names: list[str]
    spots: list[str] | None = None
    micrographs: list[str] | None = None

    @classmethod
    def of(cls, who: Who | Sequence[str]) -> Who:
        """Of particles known by their names alone, too."""
        return who if isinstance(who, Who) else cls(list(who))

    def __len__(self) -> int:
        return len(self.names)

    def at(self, rows: Rows) -> Who:
        """Some of the particles."""
        cut = [None if part is None else [part[r] for r in rows] for part in (self.spots, self.micrographs)]
        return Who([self.names[r] for r in rows], *cut)

    @property
    def tails(self) -> list[str]:
        """Names without the folders, which change when a project is moved."""
        return [tail(name) for name in self.names]

    @property
    def places(self) -> list[str] | None:
        """Micrograph and position; None where either is unknown."""
        if self.spots is None or self.micrographs is None:
            return None
        return [f'{m}|{s}' for m, s in zip(self.micrographs, self.spots)]

    @property
    def tails_at_spots(self) -> list[str] | None:
        """Names without folders, with the position: particles picked anew have other positions under old names."""
        return None if self.spots is None else [f'{t}|{s}' for t, s in zip(self.tails, self.spots)]


def who(table: ParticleTable) -> Who:
    """Who the particles of a table are."""
    names, spots = table.names(), _spots(table)
    micrographs = None
    if table.has('rlnMicrographName'):
        spelled = table.strings('rlnMicrographName')
        short = {name: stem(name) for name in set(spelled)}
        micrographs = [short[name] for name in spelled]
    found = Who(names, spots, micrographs)
    # A column that a program filled with one value tells nothing.
    places = found.places
    crowded = places is not None and len(set(places)) * CROWDED < len(places)
    return Who(names) if crowded else found


def _spots(table: ParticleTable) -> list[str] | None:
    if not (table.has('rlnCoordinateX') and table.has('rlnCoordinateY')):
        return None
    spots = [f'{x:.1f}|{y:.1f}' for x, y in zip(table.floats('rlnCoordinateX'), table.floats('rlnCoordinateY'))]
    return spots if len(spots) < 3 or len(set(spots)) > 1 else None


def tail(name: str) -> str:
    """``index@file`` of an image name: without folders."""
    split = split_image_name(name)
    return f'{split[0]}@{os.path.basename(split[1])}' if split else os.path.basename(name)


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
    labels = [images]
    if particles.places is not None:
        labels.append(_labels(particles.places))
    filaments = 0
    if table.has('rlnHelicalTubeID') and table.ints('rlnHelicalTubeID').any():
        micrographs = particles.micrographs or [''] * len(table)
        tubes = _labels([f'{m}|{t}' for m, t in zip(micrographs, table.ints('rlnHelicalTubeID'))])
        filaments = int((np.bincount(tubes) > 1).sum())
        labels.append(tubes)
    return Kin(_joined(labels), len(images) - len(np.unique(images)), filaments)


def _labels(values: Sequence[str]) -> Rows:
    """Number of each different value, from 0 in order of appearance."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], np.int64)


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
