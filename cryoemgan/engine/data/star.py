"""STAR as RELION reads and writes it: white-space text in lines, not CIF.

A file is read a few megabytes at a time. Most rows are plain words, as a few searches of the text show, and go into
their columns in bulk; only rows that are spelled otherwise are looked at one by one.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError
from ..shapes import AnyPath
from .foreign import what_is_it
from .star_blocks import Block, Document, Loop, LoopBuilder
from .star_cells import NOTHING, PROVENANCE, WORD, is_plain, quoted, short, words_of
from .star_lines import HEAD, Lines

HEADER = re.compile(r'[ \t]*(?:data_\S*|loop_)[ \t]*(?:#.*)?', re.IGNORECASE)


class StarFile:
    """A parsed file. document: its cells; notes: sentences about what RELION reads otherwise or not at all."""

    def __init__(self, document: Document, notes: list[str]) -> None:
        self.document, self.notes = document, notes


def read_star(path: AnyPath) -> StarFile:
    """Read a file as RELION does.

    Raises
    ------
    InputError
        Missing, of another program or format, not text, or with a row whose cells are not as many as its labels.
    """
    try:
        with open(path, 'rb') as file:
            other = what_is_it(file.read(HEAD), Path(path).suffix)
            if other:
                raise InputError(f'{path}: {other}')
            file.seek(0)
            return _Reading(decoded(file, path), path).run()
    except FileNotFoundError as e:
        raise InputError(f'{path}: no such file') from e
    except IsADirectoryError as e:
        raise InputError(
            f'{path} is a folder: give the table of particles in it (run_data.star, in that of a refinement in RELION)'
        ) from e
    except OSError as e:
        raise InputError(f'{path}: not a readable STAR file ({e.strerror})') from e


def star_of_text(text: str, path: AnyPath) -> StarFile:
    """As `read_star`, of a file's text; path: for messages."""
    return _Reading([text], path).run()


def decoded(file: io.BufferedReader, path: AnyPath) -> Iterator[str]:
    """The text of a file, a few megabytes at a time, lines ended by a line feed; InputError when it is no text."""
    decoder, ends, lines = codecs.getincrementaldecoder('utf-8-sig')(), io.IncrementalNewlineDecoder(None, True), 1
    while True:
        data = file.read(2**20)
        try:
            text = ends.decode(decoder.decode(data, not data), not data)
        except UnicodeDecodeError as e:
            line = lines + e.object.count(b'\n', 0, e.start)
            raise InputError(
                f'{path}: line {line} holds bytes that are not UTF-8 text ({e.object[e.start : e.start + 4]!r}): save '
                'the table as UTF-8'
            ) from e
        lines += data.count(b'\n')
        # RELION leaves these out wherever they stand.
        yield re.sub('[\b\f\v]', '', text) if any(c in text for c in '\b\f\v') else text
        if not data:
            return


class _Reading:
    """One file on its way into tables."""

    def __init__(self, chunks: Iterable[str], path: AnyPath) -> None:
        self._lines, self._path = Lines(chunks), path
        self._names = set[str]()
        self._document = Document()
        self._row, self._commented, self._after_blank = 0, 0, 0
        self._strays: list[str] = []
        self._twice: list[str] = []

    def run(self) -> StarFile:
        """Read it to its end."""
        lines = self._lines
        while lines.more():
            line = lines.peek()
            words = line.split(None, 1)
            if not words or words[0].startswith('#'):
                lines.skip(line)
            elif line.lstrip()[:5].lower() == 'data_':
                self._header(words[0][5:], line)
            elif words[0].lower() == 'loop_':
                lines.skip(line)
                self._loop()
            elif words[0].startswith('_'):
                self._pairs()
            else:
                # RELION does not look at it.
                self._strays.append(f'line {lines.number} ({short(line)})')
                lines.skip(line)
        return StarFile(self._document, self._notes())

    @property
    def _block(self) -> Block:
        if not self._document.blocks:
            raise InputError(f'{self._path}: line {self._lines.number}: a table before the first data_ line')
        return self._document.blocks[-1]

    def _notes(self) -> list[str]:
        notes = []
        if self._commented:
            notes.append(
                f'{self._path}: {self._commented} rows begin with #: RELION takes them for comments, and they are left '
                'out. Put the name that begins with # between quotes or into another column if they are particles'
            )
        if self._after_blank:
            notes.append(
                f'{self._path}: {self._after_blank} rows stand behind an empty line, where RELION stops reading; they '
                'are read here'
            )
        if self._strays:
            notes.append(
                f'{self._path}: {len(self._strays)} lines belong to no table and are not read: {self._strays[0]}'
            )
        if self._twice:
            notes.append(f'{self._path}: {self._twice[0]} stands there twice: the first is read, as RELION does')
        return notes

    # Parts of a file

    def _header(self, name: str, line: str) -> None:
        # A name that stands twice: RELION reads the first.
        unique, count = name, 1
        while unique.lower() in self._names:
            count += 1
            unique = f'{name}__{count}'
        if count > 1 and name:
            self._twice.append(f'data_{name}')
        self._names.add(unique.lower())
        self._document.blocks.append(Block(unique))
        self._lines.skip(line)

    def _pairs(self) -> None:
        """A table of one row, written as labels with their values."""
        labels, values, lines = [], [], self._lines
        while lines.more() and (line := lines.peek()).lstrip().startswith('_'):
            label, *rest = line.split(None, 1)
            lines.skip(line)
            if rest:
                cells = words_of(rest[0])
            else:
                cells = [self._text_field()] if lines.peek().startswith(';') else []
            if len(cells) != 1:
                raise InputError(
                    f'{self._path}: line {lines.number - 1} ({short(line)}): a label outside of a loop_ needs one value'
                )
            labels.append(label)
            values.append(_spelled(cells[0]))
        if self._block.name == PROVENANCE:
            self._block.pairs.update(zip(labels, values))
        else:
            table = self._builder(labels)
            table.add([value.encode() for value in values])
            self._add(table.loop())

    def _text_field(self) -> str:
        """A value between lines that begin with a semicolon, as CIF writes it (earlier versions of this program)."""
        lines = self._lines
        line = lines.peek()
        found = [line[1:]]
        lines.skip(line)
        while lines.more() and not (line := lines.peek()).startswith(';'):
            found.append(line)
            lines.skip(line)
        lines.skip(line)
        return ' '.join(' '.join(found).split())

    def _loop(self) -> None:
        labels, lines, self._row = list[str](), self._lines, 0
        while lines.more():
            line = lines.peek()
            words = line.split(None, 2)
            if words and words[0].startswith('_') and (len(words) == 1 or words[1].startswith('#')):
                labels.append(words[0])
                lines.skip(line)
            elif not words or (words[0].startswith('#') and not _looks_like_a_row(line, len(labels))):
                lines.skip(line)
            else:
                break
        if labels:
            table = self._builder(labels)
            self._rows(table)
            self._add(table.loop())

    def _builder(self, labels: list[str]) -> LoopBuilder:
        known = {tag for loop in self._block.loops for tag in loop.columns}
        twice = next((label for k, label in enumerate(labels) if label in labels[:k] or label in known), None)
        if twice:
            raise InputError(f'{self._path}: {twice} stands twice among the labels of data_{self._block.name}')
        return LoopBuilder(labels)

    def _add(self, loop: Loop) -> None:
        self._block.loops.append(loop)

    def _rows(self, table: LoopBuilder) -> None:
        lines, width = self._lines, len(table.tags)
        while piece := lines.rows():
            if is_plain(piece, width, letters=True):
                table.add(piece.encode().split())
                self._row += piece.count('\n') + 1
                lines.skip(piece)
            elif not self._odd_rows(table, len(piece) + 1):
                return
        while self._row_ahead(width):
            # Rows behind an empty line, which RELION does not read.
            while not lines.peek().strip():
                lines.skip(lines.peek())
            self._odd_rows(table, sys.maxsize, behind_blank=self._row > 0)

    def _odd_rows(self, table: LoopBuilder, characters: int, behind_blank: bool = False) -> bool:
        """Rows that need a look at each, in so much text; False when the loop has ended before."""
        lines, width = self._lines, len(table.tags)
        while characters > 0 and lines.more():
            line = lines.peek()
            if not line.strip():
                return False
            cells = line.split() if is_plain(line, width) else words_of(line)
            if len(cells) != width:
                plain = line.split() if line.isascii() else WORD.findall(line)
                if line.lstrip().startswith('#'):
                    self._commented += _looks_like_a_row(line, width)
                    characters -= len(line) + 1
                    lines.skip(line)
                    continue
                if HEADER.fullmatch(line) or (width > 1 and plain[0].startswith('_') and len(plain) != width):
                    return False
                if len(plain) != width:
                    raise self._wrong_width(line, cells, width)
                cells = plain
            elif width == 1 and HEADER.fullmatch(line):
                return False
            self._after_blank += behind_blank
            self._row += 1
            table.add([_spelled(cell).encode() for cell in cells])
            characters -= len(line) + 1
            lines.skip(line)
        return True

    def _row_ahead(self, width: int) -> bool:
        line = self._lines.ahead()
        if not line or line.lstrip().startswith('#') or HEADER.fullmatch(line):
            return False
        # A label with its value looks like a row of two.
        return len(words_of(line)) == width and not (line.lstrip().startswith('_') and width <= 2)

    def _wrong_width(self, line: str, cells: list[str], width: int) -> InputError:
        cure = (
            'a name with a blank in it needs quotes; a stray cell must go'
            if len(cells) > width
            else 'a cell is missing, or the file was cut off'
        )
        number = self._lines.number
        there = f'row {self._row + 1} of data_{self._block.name} (line {number})'
        return InputError(
            f'{self._path}: {there} has {len(cells)} values for {width} labels: {cure}. To leave the row out: '
            f'sed -i {number}d {Path(self._path).name}. It reads: {short(line)}'
        )


def _spelled(cell: str) -> str:
    return cell if cell in NOTHING else quoted(cell)


def _looks_like_a_row(comment: str, width: int) -> bool:
    """Whether a comment is a row whose first name begins with #."""
    words = comment.split()
    return len(words) == width > 0 and len(words[0]) > 1
