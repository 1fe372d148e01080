"""Columns of a particle table: of the particles themselves, else of their optics group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import gemmi
import numpy as np

from ..errors import InputError, WorkError
from ..shapes import Floats, Rows
from .quantities import require_possible
from .star_cells import quoted, value_of

# What a column is set to: numbers or text, one a row.
Values: TypeAlias = np.ndarray | Sequence[object]


class Columns:
    """Cells of a gemmi document by label; only the columns that are asked for become numbers.

    Needs ``_document`` and ``path`` (for messages).
    """

    path: Path
    _document: gemmi.cif.Document
    _particles: gemmi.cif.Block
    _optics: gemmi.cif.Block | None

    def _find_blocks(self) -> None:
        """The table of particles is data_particles (RELION 3.1), else the first that names images; InputError when
        none does."""
        found = [b for b in self._document if b.find_loop('_rlnImageName')]
        if not found:
            labels = [tag for block in self._document for item in block if item.loop for tag in item.loop.tags]
            raise InputError(
                f'{self.path}: no table with _rlnImageName in it (labels: {", ".join(labels[:4]) or "none"}); a '
                'particle STAR file of RELION is needed'
            )
        self._particles = next((b for b in found if b.name.lower() == 'particles'), found[0])
        self._optics = next((b for b in self._document if b.name.lower() == 'optics'), None)

    def __len__(self) -> int:
        return self._loop.length()

    @property
    def _loop(self) -> gemmi.cif.Loop:
        return self._particles.find_loop('_rlnImageName').get_loop()

    def labels(self) -> list[str]:
        """Labels of the particle columns, without the leading underscore."""
        return [tag[1:] for tag in self._loop.tags]

    def has(self, label: str) -> bool:
        """Whether particles or their optics groups have this column."""
        return self._column(label) is not None or self._optics_column(label) is not None

    def strings(self, label: str) -> list[str]:
        """Column as a list of text; InputError when it is not there."""
        column = self._column(label)
        if column is None:
            column = self._optics_column(label)
            if column is None:
                raise InputError(f'{self.path}: column _{label} is missing')
            text = [value_of(c) for c in column]
            return [text[g] for g in self._group_of_row()]
        return [value_of(c) for c in column]

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
            values = _numbers(column)
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
            name = self.strings('rlnImageName')[row]
            raise WorkError(f'{self.path} row {row + 1} ({name}): its _{label} is {values[row]}, not a finite number')
        values = cells(values)
        if len(values) != len(self):
            raise ValueError(f'{len(values)} values for {len(self)} rows')
        loop = self._loop
        if '_' + label not in loop.tags:
            loop.add_columns(['_' + label], '.')
        column = self._particles.find_loop('_' + label)
        for row, value in enumerate(values):
            column[row] = value

    def _column(self, label: str) -> gemmi.cif.Column | None:
        column = self._particles.find_loop('_' + label)
        return column if column and len(column) else None

    def _optics_column(self, label: str) -> gemmi.cif.Column | None:
        if self._optics is None:
            return None
        column = self._optics.find_loop('_' + label)
        return column if column and len(column) else None

    def _fill(self, label: str, value: object) -> None:
        """Give a column of the particles or of their optics groups the same value everywhere, where it is."""
        for column in self._found(label):
            for row in range(len(column)):
                column[row] = str(value)

    def _found(self, label: str) -> list[gemmi.cif.Column]:
        """The column of the particles and that of their optics groups, where they are."""
        return [c for c in (self._column(label), self._optics_column(label)) if c is not None]

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
            return np.zeros(len(self), np.int64)
        spelled = {cell: groups.get(_group(cell)) for cell in set(column)}
        if None in spelled.values():
            unknown = next(cell for cell, group in spelled.items() if group is None)
            raise InputError(f'{self.path}: optics group {value_of(unknown)} is used by particles but not described')
        return np.array([spelled[g] for g in column])


def _group(cell: str) -> int | str:
    """Number of an optics group, however it is spelled (1, 001, 1.000000, "1")."""
    text = value_of(cell)
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else text


def _numbers(column: gemmi.cif.Column) -> Floats:
    """float64 of cells; numbers between quotes are numbers."""
    try:
        return np.array(column, dtype=np.float64)
    except ValueError:
        return np.array([value_of(c) for c in column], dtype=np.float64)


def _first_bad(column: gemmi.cif.Column) -> str:
    for row, cell in enumerate(column):
        try:
            float(value_of(cell))
        except ValueError:
            return f'row {row + 1}: {value_of(cell)!r} is not a number'
    return 'not numbers'


def cells(values: Values) -> list[str]:
    """Values as STAR text: floats with 6 decimals as RELION writes them, text quoted where needed."""
    if isinstance(values, np.ndarray) and values.dtype.kind == 'f':
        return [f'{v:.6f}' for v in values]
    return [f'{v:.6f}' if isinstance(v, float) else quoted(v) if isinstance(v, str) else str(v) for v in values]
