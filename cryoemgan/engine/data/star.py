"""STAR as RELION reads and writes it: white-space text in lines, not CIF.

gemmi holds the cells; before it parses a file, rows that CIF would read otherwise are spelled so that both agree.
Most files have none, and a few searches of the text show it: the cost does not grow with the length of the rows'
Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gemmi

from ..errors import InputError
from ..shapes import AnyPath
from .foreign import what_is_it
from .star_cells import PROVENANCE, WORD, cif_cell, is_plain, short, words_of

# Rows are looked at in pieces of this many characters: their words must not all be in memory at once.
PIECE = 2**22
BLANK_LINE = re.compile(r'\n[ \t]*(?=\n|\Z)')
HEADER = re.compile(r'[ \t]*(?:data_\S*|loop_)[ \t]*(?:#.*)?', re.IGNORECASE)
OTHER_LETTERS = re.compile(r'(?<!\S)(\S*[^\x00-\x7f]\S*)', re.ASCII)
NEXT_LINE = re.compile(r'\s*?([^\s][^\n]*)')


class StarFile:
    """A parsed file. document: its cells; notes: sentences about what RELION reads otherwise or not at all."""

    def __init__(self, document: gemmi.cif.Document, notes: list[str]) -> None:
        self.document, self.notes = document, notes


def read_star(path: AnyPath) -> StarFile:
    """Read a file as RELION does.

    Raises
    ------
    InputError
        Missing, of another program or format, not text, or with a row whose cells are not as many as its labels.
    """
    return star_of_text(read_text(path), path)


def star_of_text(text: str, path: AnyPath) -> StarFile:
    """As `read_star`, of a file's text; path: for messages."""
    cif, notes = _Translation(text, path).run()
    del text
    try:
        return StarFile(gemmi.cif.read_string(cif), notes)
    except (ValueError, RuntimeError) as e:
        raise InputError(f'{path}: not a readable STAR file ({str(e)[:200]})') from e


def read_text(path: AnyPath) -> str:
    """A file's text, lines ended by a line feed; InputError when it is missing, or no text."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as e:
        raise InputError(f'{path}: no such file') from e
    except OSError as e:
        raise InputError(f'{path}: not a readable STAR file ({e.strerror})') from e
    other = what_is_it(data[:65536], Path(path).suffix)
    if other:
        raise InputError(f'{path}: {other}')
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as e:
        line = data.count(b'\n', 0, e.start) + 1
        raise InputError(
            f'{path}: line {line} holds bytes that are not UTF-8 text ({data[e.start : e.start + 4]!r}): save the '
            'table as UTF-8'
        ) from e
    text = text.replace('\r\n', '\n').replace('\r', '\n') if '\r' in text else text
    # RELION leaves these out wherever they stand.
    return re.sub('[\b\f\v]', '', text) if any(c in text for c in '\b\f\v') else text


class _Translation:
    """The text of one file on its way to CIF."""

    def __init__(self, text: str, path: AnyPath) -> None:
        self._text, self._path = text, path
        self._at, self._line = 0, 1
        self._block, self._names = '', set[str]()
        self._out: list[str] = []
        self._changed = False
        self._row, self._commented, self._after_blank = 0, 0, 0
        self._strays: list[str] = []
        self._twice: list[str] = []

    def run(self) -> tuple[str, list[str]]:
        """(CIF, notes)."""
        while self._at < len(self._text):
            line = self._peek()
            words = line.split(None, 1)
            if not words or words[0].startswith('#'):
                self._keep(line)
            elif line.lstrip()[:5].lower() == 'data_':
                self._header(words[0][5:], line)
            elif words[0].lower() == 'loop_':
                self._keep(line)
                self._loop()
            elif words[0].startswith('_'):
                self._pairs()
            else:
                # RELION does not look at it.
                self._strays.append(f'line {self._line} ({short(line)})')
                self._keep(line, '')
        return '\n'.join(self._out) if self._changed else self._text, self._notes()

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

    # Lines

    def _peek(self) -> str:
        end = self._text.find('\n', self._at)
        return self._text[self._at : end if end >= 0 else len(self._text)]

    def _keep(self, line: str, said: str | None = None) -> None:
        """Take the line that ``_peek`` gave; said: what CIF is told instead."""
        self._skip(line)
        if said is not None and said != line:
            self._changed = True
        self._out.append(line if said is None else said)

    def _skip(self, line: str) -> None:
        self._at += len(line) + 1
        self._line += 1

    # Parts of a file

    def _header(self, name: str, line: str) -> None:
        # A name that stands twice would be refused; RELION reads the first.
        self._block = name
        unique, count = name, 1
        while unique.lower() in self._names:
            count += 1
            unique = f'{name}__{count}'
        if count > 1 and name:
            self._twice.append(f'data_{name}')
        self._names.add(unique.lower())
        self._keep(line, f'data_{unique}')

    def _pairs(self) -> None:
        """A table of one row, written as labels with their values: to CIF it is a loop like any other."""
        labels, values = [], []
        while self._at < len(self._text) and (line := self._peek()).lstrip().startswith('_'):
            label, *rest = line.split(None, 1)
            self._skip(line)
            if rest:
                cells = words_of(rest[0])
            else:
                cells = [self._text_field()] if self._peek().startswith(';') else []
            if len(cells) != 1:
                raise InputError(
                    f'{self._path}: line {self._line - 1} ({short(line)}): a label outside of a loop_ needs one value'
                )
            labels.append(label)
            values.append(cif_cell(cells[0]))
        self._changed = True
        if self._block == PROVENANCE:
            self._out += [f'{a} {b}' for a, b in zip(labels, values)]
        else:
            self._out += ['loop_', *labels, ' '.join(values)]

    def _text_field(self) -> str:
        """A value between lines that begin with a semicolon, as CIF writes it (earlier versions of this program)."""
        line = self._peek()
        lines = [line[1:]]
        self._skip(line)
        while self._at < len(self._text) and not (line := self._peek()).startswith(';'):
            lines.append(line)
            self._skip(line)
        self._skip(line)
        return ' '.join(' '.join(lines).split())

    def _loop(self) -> None:
        labels, self._row = [], 0
        while self._at < len(self._text):
            line = self._peek()
            words = line.split(None, 2)
            if words and words[0].startswith('_') and (len(words) == 1 or words[1].startswith('#')):
                labels.append(words[0])
                self._keep(line)
            elif not words or (words[0].startswith('#') and not _looks_like_a_row(line, len(labels))):
                self._keep(line)
            else:
                break
        if labels:
            self._rows(len(labels))

    def _rows(self, width: int) -> None:
        end = BLANK_LINE.search(self._text, max(self._at - 1, 0))
        stop = end.start() if end else len(self._text)
        for start, piece in _pieces(self._text, self._at, stop):
            if is_plain(piece, width, letters=True):
                # Other letters alone need quotes only: a project in a folder José has them in every row.
                self._changed |= not piece.isascii()
                self._out.append(piece if piece.isascii() else OTHER_LETTERS.sub(r"'\1'", piece))
                count = piece.count('\n') + 1
                self._row, self._line = self._row + count, self._line + count
                self._at = start + len(piece) + 1
            elif not self._odd_rows(width, start + len(piece) + 1):
                return
        self._more_rows(width)

    def _odd_rows(self, width: int, stop: int, behind_blank: bool = False) -> bool:
        """Rows that need a look at each; False when the loop has ended before ``stop``."""
        while self._at < min(stop, len(self._text)):
            line = self._peek()
            if not line.strip():
                return False
            if is_plain(line, width):
                self._after_blank += behind_blank
                self._row += 1
                self._keep(line)
                continue
            cells = words_of(line)
            if len(cells) != width:
                plain = line.split() if line.isascii() else WORD.findall(line)
                if line.lstrip().startswith('#'):
                    self._commented += _looks_like_a_row(line, width)
                    self._keep(line)
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
            self._keep(line, ' '.join(map(cif_cell, cells)))
        return True

    def _more_rows(self, width: int) -> None:
        """Rows behind an empty line, which RELION does not read."""
        while self._row_ahead(width):
            while not self._peek().strip():
                self._keep(self._peek())
            self._odd_rows(width, len(self._text), behind_blank=self._row > 0)

    def _row_ahead(self, width: int) -> bool:
        found = NEXT_LINE.match(self._text, self._at)
        line = found[1] if found else ''
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
        there = f'row {self._row + 1} of data_{self._block} (line {self._line})'
        return InputError(
            f'{self._path}: {there} has {len(cells)} values for {width} labels: {cure}. To leave the row out: '
            f'sed -i {self._line}d {Path(self._path).name}. It reads: {short(line)}'
        )


def _looks_like_a_row(comment: str, width: int) -> bool:
    """Whether a comment is a row whose first name begins with #."""
    words = comment.split()
    return len(words) == width > 0 and len(words[0]) > 1


def _pieces(text: str, start: int, stop: int) -> Iterator[tuple[int, str]]:
    """(position, whole lines) that together are text[start:stop]."""
    while start < stop:
        end = stop if stop - start <= PIECE else text.find('\n', start + PIECE, stop)
        end = stop if end < 0 else end
        yield start, text[start:end]
        start = end + 1
