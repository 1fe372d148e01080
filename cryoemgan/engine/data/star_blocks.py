"""The tables of a STAR file in memory: cells as RELION spells them, compressed column by column.

A million rows of 25 columns are 300 MB of text, and gigabytes as objects. Compressed in pieces they take tens of bytes
a row and stay what they were, character by character; a column becomes numbers or text only where it is asked for.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

import numpy as np

from ..shapes import Floats, Rows, RowsLike
from .star_cells import quoted, value_of

# Rows that are compressed together.
PIECE_ROWS = 2**13
FASTEST = 1


class Column:
    """The cells of a column; never changed."""

    def __init__(self, pieces: list[bytes], count: int) -> None:
        """pieces: of `PIECE_ROWS` cells each but the last, compressed."""
        self._pieces, self._count = pieces, count

    @classmethod
    def of(cls, cells: Iterable[str | bytes]) -> Column:
        """From cells that are spelled already."""
        spelled, pieces, count = iter(cells), [], 0
        while piece := [c if isinstance(c, bytes) else c.encode() for c in islice(spelled, PIECE_ROWS)]:
            pieces.append(_packed(piece))
            count += len(piece)
        return cls(pieces, count)

    @classmethod
    def filled(cls, cell: str, count: int) -> Column:
        """The same cell in every row."""
        whole, rest = divmod(count, PIECE_ROWS)
        pieces = [_packed([cell.encode()] * PIECE_ROWS)] * whole
        return cls(pieces + ([_packed([cell.encode()] * rest)] if rest else []), count)

    def __len__(self) -> int:
        return self._count

    def pieces(self) -> Iterator[list[bytes]]:
        """Cells, some thousand at a time."""
        return (_unpacked(piece) for piece in self._pieces)

    def __iter__(self) -> Iterator[str]:
        return (cell for piece in self._pieces for cell in zlib.decompress(piece).decode().split('\n'))

    def __getitem__(self, row: int) -> str:
        place, inside = divmod(range(self._count)[row], PIECE_ROWS)
        return _unpacked(self._pieces[place])[inside].decode()

    def texts(self) -> Iterator[str]:
        """What the cells say, without quotes."""
        return map(value_of, self)

    def numbers(self) -> Floats:
        """float64 [n]; numbers between quotes are numbers. ValueError for others."""
        found, start = np.empty(self._count), 0
        for piece in self.pieces():
            try:
                values = np.array(piece).astype(np.float64)
            except ValueError:
                values = np.array([value_of(cell.decode()) for cell in piece], np.float64)
            found[start : start + len(piece)] = values
            start += len(piece)
        return found

    def take(self, rows: RowsLike) -> Column:
        """The cells of some rows, in their order."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and (np.diff(rows) < 0).any():
            order = np.argsort(rows, kind='stable')
            cells, place = list(self._in_order(rows[order])), np.empty(len(rows), np.int64)
            place[order] = np.arange(len(rows))
            return Column.of(cells[k] for k in place)
        return Column.of(self._in_order(rows))

    def _in_order(self, rows: Rows) -> Iterator[bytes]:
        bounds = np.searchsorted(rows, PIECE_ROWS * np.arange(len(self._pieces) + 1))
        for place, piece in enumerate(self._pieces):
            mine = rows[bounds[place] : bounds[place + 1]] - place * PIECE_ROWS
            if len(mine):
                cells = _unpacked(piece)
                yield from (cells[row] for row in mine)


def _packed(cells: Sequence[bytes]) -> bytes:
    return zlib.compress(b'\n'.join(cells), FASTEST)


def _unpacked(piece: bytes) -> list[bytes]:
    return zlib.decompress(piece).split(b'\n')


class Loop:
    """A table: columns of equal length under their labels (with the underscore)."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def take(self, rows: RowsLike) -> Loop:
        """The table of some rows, in their order."""
        return Loop({tag: column.take(rows) for tag, column in self.columns.items()})

    def write(self, file: BinaryIO) -> None:
        """As RELION writes it."""
        file.write('\n'.join(['loop_', *self.columns, '']).encode())
        for cells in zip(*(column.pieces() for column in self.columns.values())):
            file.write(b'\n'.join(map(b' '.join, zip(*cells))) + b'\n')
        file.write(b'\n')


class LoopBuilder:
    """A table that is read row by row."""

    def __init__(self, tags: list[str]) -> None:
        self.tags, self.rows = tags, 0
        self._cells: list[bytes] = []
        self._pieces: list[list[bytes]] = [[] for _ in tags]

    def add(self, cells: Sequence[bytes]) -> None:
        """Cells of whole rows, row after row."""
        self._cells += cells
        self.rows += len(cells) // len(self.tags)
        size = PIECE_ROWS * len(self.tags)
        while len(self._cells) >= size:
            self._pack(self._cells[:size])
            del self._cells[:size]

    def _pack(self, cells: list[bytes]) -> None:
        for k, pieces in enumerate(self._pieces):
            pieces.append(_packed(cells[k :: len(self.tags)]))

    def loop(self) -> Loop:
        """The finished table."""
        if self._cells:
            self._pack(self._cells)
            self._cells = []
        return Loop({tag: Column(pieces, self.rows) for tag, pieces in zip(self.tags, self._pieces)})


@dataclass
class Block:
    """A ``data_`` block: its tables, and labels with one value outside of tables {label: cell}."""

    name: str
    loops: list[Loop] = field(default_factory=list)
    pairs: dict[str, str] = field(default_factory=dict)

    def loop_with(self, tag: str) -> Loop | None:
        """The table that has a label."""
        return next((loop for loop in self.loops if tag in loop.columns), None)

    def column(self, tag: str) -> Column | None:
        """The column of a label; None where there is none, or no row."""
        loop = self.loop_with(tag)
        return loop.columns[tag] if loop is not None and len(loop) else None

    def set_column(self, tag: str, column: Column) -> None:
        """Replace a column that is there."""
        loop = self.loop_with(tag)
        assert loop is not None
        loop.columns[tag] = column

    def copy(self) -> Block:
        """A block that can be changed by itself; columns are shared."""
        return Block(self.name, [Loop(dict(loop.columns)) for loop in self.loops], dict(self.pairs))

    def write(self, file: BinaryIO) -> None:
        """As RELION writes it."""
        lines = [f'data_{self.name}', '', *(f'{tag} {cell}' for tag, cell in self.pairs.items())]
        file.write(('\n'.join(lines) + '\n').encode())
        for loop in self.loops:
            loop.write(file)


class Document:
    """The blocks of a STAR file."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self.blocks = list(blocks)

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Iterable[str]]]) -> Document:
        """From {block: {label without underscore: cells as spelled}}."""
        return cls(
            Block(name, [Loop({'_' + label: Column.of(cells) for label, cells in columns.items()})])
            for name, columns in tables.items()
        )

    def block(self, name: str) -> Block | None:
        """The block of a name."""
        return next((b for b in self.blocks if b.name == name), None)

    def copy(self) -> Document:
        """A document that can be changed by itself; columns are shared."""
        return Document(block.copy() for block in self.blocks)

    def set_pair(self, name: str, tag: str, text: str) -> None:
        """Set a value outside of tables; the block is made where there is none."""
        block = self.block(name)
        if block is None:
            block = Block(name)
            self.blocks.append(block)
        block.pairs[tag] = quoted(text) if text else '.'

    def text(self) -> str:
        """The text of a small file."""
        file = io.BytesIO()
        self.write(file)
        return file.getvalue().decode()

    def write(self, file: BinaryIO) -> None:
        """The text of a file that RELION reads, some thousand rows at a time."""
        file.write(b'\n# version 30001\n\n')
        for number, block in enumerate(self.blocks):
            file.write(b'\n' if number else b'')
            block.write(file)
        file.write(b'\n')
