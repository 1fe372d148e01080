"""Columns of a particle table: of the particles themselves, else of their optics group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import InputError, WorkError
from ..shapes import Floats, Rows
from .quantities import require_possible
from .star_blocks import Block, Column, Document, Loop
from .star_cells import quoted, value_of

# What a column is set to: numbers or text, one a row.
Values: TypeAlias = np.ndarray | Iterable[object]
IMAGE = '_rlnImageName'


class Columns:
    """Cells of a STAR document by label; only the columns that are asked for become numbers.

    Needs ``_document`` and ``path`` (for messages).
    """

    path: Path
    _document: Document
    _particles: Block
    _optics: Block | None

    def _find_blocks(self) -> None:
        """The table of particles is data_particles (RELION 3.1), else the first that names images; InputError when
        none does."""
        blocks = self._document.blocks
        found = [b for b in blocks if b.loop_with(IMAGE) is not None]
        if not found:
            labels = [tag for block in blocks for loop in block.loops for tag in loop.columns]
            raise InputError(
                f'{self.path}: no table with _rlnImageName in it (labels: {", ".join(labels[:4]) or "none"}); a '
                'particle STAR file of RELION is needed'
            )
        self._particles = next((b for b in found if b.name.lower() == 'particles'), found[0])
        self._optics = next((b for b in blocks if b.name.lower() == 'optics'), None)

    def __len__(self) -> int:
        return len(self._loop)

    @property
    def _loop(self) -> Loop:
        loop = self._particles.loop_with(IMAGE)
        assert loop is not None
        return loop

    def labels(self) -> list[str]:
        """Labels of the particle columns, without the leading underscore."""
        return [tag[1:] for tag in self._loop.columns]

    def has(self, label: str) -> bool:
        """Whether particles or their optics groups have this column."""
        return self._column(label) is not None or self._optics_column(label) is not None

    def strings(self, label: str) -> list[str]:
        """Column as a list of text; InputError when it is not there."""
        return list(self.texts(label))

    def texts(self, label: str) -> Iterator[str]:
        """`strings` one after the other, for columns that need not be in memory as a whole."""
        column = self._column(label)
        if column is None:
            column = self._optics_column(label)
            if column is None:
                raise InputError(f'{self.path}: column _{label} is missing')
            text = list(column.texts())
            return (text[g] for g in self._group_of_row())
        return column.texts()

    def floats(self, label: str, default: float | None = None) -> Floats:
        """float64 [n]: the particle's value, else that of its optics group, else ``default``, else InputError."""
        column, of_group = self._column(label), False
        if column is None:
            column, of_group = self._optics_column(label), True
        if column is None:
            if default is None:
                raise InputError(f'{self.path}: column _{label} is missing')
            return np.full(len(self), float(default))
        try:
            values = column.numbers()
        except ValueError as e:
            raise InputError(f'{self.path}: column _{label}: {_first_bad(column)}') from e
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(f'{self.path}: column _{label}, row {row + 1}: {column[row]} is not a finite number')
        require_possible(self.path, label, values, 'optics row' if of_group else 'row')
        return values[self._group_of_row()] if of_group else values

    def ints(self, label: str, default: float | None = None) -> Rows:
        """int64 [n], as ``floats``."""
        return self.floats(label, default).astype(np.int64)

    def set(self, label: str, values: Values) -> None:
        """Add or replace a column of the particles; values [n] (text is quoted where STAR needs it)."""
        if isinstance(values, np.ndarray) and values.dtype.kind == 'f' and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            name = value_of(self._loop.columns[IMAGE][row])
            raise WorkError(f'{self.path} row {row + 1} ({name}): its _{label} is {values[row]}, not a finite number')
        column = Column.of(cells(values))
        if len(column) != len(self):
            raise ValueError(f'{len(column)} values for {len(self)} rows')
        self._loop.columns['_' + label] = column

    def _column(self, label: str) -> Column | None:
        return self._particles.column('_' + label)

    def _optics_column(self, label: str) -> Column | None:
        return None if self._optics is None else self._optics.column('_' + label)

    def _fill(self, label: str, value: object) -> None:
        """Give a column of the particles or of their optics groups the same value everywhere, where it is."""
        for block, column in self._found(label):
            block.set_column('_' + label, Column.filled(str(value), len(column)))

    def _scale(self, label: str, factor: float) -> None:
        """Multiply a column of the particles or of their optics groups, where it is."""
        for block, column in self._found(label):
            block.set_column('_' + label, Column.of(cells(factor * column.numbers())))

    def _found(self, label: str) -> list[tuple[Block, Column]]:
        """The column of the particles and that of their optics groups with their tables, where they are."""
        found = [(b, b.column('_' + label)) for b in (self._particles, self._optics) if b is not None]
        return [(block, column) for block, column in found if column is not None]

    def _group_of_row(self) -> Rows:
        """Row of the optics table that each particle belongs to."""
        groups: dict[int | str, int] = {}
        for row, cell in enumerate(self._optics_column('rlnOpticsGroup') or ()):
            if groups.setdefault(_group(cell), row) != row:
                raise InputError(f'{self.path}: optics group {value_of(cell)} is described twice')
        column = self._column('rlnOpticsGroup')
        if column is None:
            if len(groups) > 1:
                raise InputError(f'{self.path}: several optics groups but no column _rlnOpticsGroup')
            return np.zeros(len(self), np.int32)
        spelled = {cell: groups.get(_group(cell)) for cell in set(column)}
        if None in spelled.values():
            unknown = next(cell for cell, group in spelled.items() if group is None)
            raise InputError(f'{self.path}: optics group {value_of(unknown)} is used by particles but not described')
        return np.fromiter((spelled[g] for g in column), np.int32, len(column))


def _group(cell: str) -> int | str:
    """Number of an optics group, however it is spelled (1, 001, 1.000000, "1")."""
    text = value_of(cell)
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else text


def _first_bad(column: Column) -> str:
    for row, cell in enumerate(column):
        try:
            float(value_of(cell))
        except ValueError:
            return f'row {row + 1}: {value_of(cell)!r} is not a number'
    return 'not numbers'


def cells(values: Values) -> Iterator[str]:
    """Values as STAR text: floats with 6 decimals as RELION writes them, text quoted where needed."""
    return map(_cell, values)


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f'{value:.6f}'
    return quoted(value) if isinstance(value, str) else str(value)
