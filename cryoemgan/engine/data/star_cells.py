"""Cells of STAR tables as text: a row taken apart as RELION does, and written so that RELION reads it back."""

from __future__ import annotations

import re

import numpy as np

from ..errors import InputError

PROVENANCE = 'cryoemgan'
# Cells that say nothing.
NOTHING = ('.', '?')
# For one search instead of forty: white space is a blank, what may be no word by itself at its beginning is !.
KINDS = bytes(32 if c in b' \t\n' else 33 if c in b'_#$\'"[];\0' else 97 for c in range(256))
RESERVED = (b'data_', b'loop_', b'save_', b'stop_', b'global_')
BLANKS = (b'\n', b' ', b'\t')
# Blanks of other alphabets are part of a name.
WORD, NEXT_WORD = re.compile(r'\S+', re.ASCII), re.compile(r'\s*(\S)', re.ASCII)
# Bytes of a file's name that are no UTF-8, as Python hands them on.
SURROGATE = re.compile('[\ud800-\udfff]')
LONGEST_QUOTED = 60


def is_plain(rows: str, width: int, letters: bool = False) -> bool:
    """Whether these lines are nothing but plain words, ``width`` in each; letters: which may hold letters beyond
    ASCII."""
    if not letters and not rows.isascii():
        return False
    text = rows.encode('ascii', 'replace')
    kinds = text.translate(KINDS)
    if kinds.startswith(b'!') or b' !' in kinds:
        return False
    lower = b'\n' + text.lower()
    if any(word in lower and any(blank + word in lower for blank in BLANKS) for word in RESERVED):
        return False
    return _have_width(np.frombuffer(text, np.uint8), np.frombuffer(kinds, np.uint8), width)


def _have_width(text: np.ndarray, kinds: np.ndarray, width: int) -> bool:
    """Whether each line has ``width`` words. text: bytes of the lines; kinds: 32 where they are white space."""
    filled = kinds != 32
    begins = filled.copy()
    begins[1:] &= ~filled[:-1]
    ends = np.flatnonzero(text == 10)
    before = np.searchsorted(np.flatnonzero(begins), np.append(ends, len(text)))
    return bool((np.diff(before, prepend=0) == width).all())


def words_of(line: str) -> list[str]:
    """The cells of a row, as RELION 3.1 takes it apart: quotes hold blanks, # at a word's beginning is a comment.

    A quote that is not closed is part of a name.
    """
    if '"' not in line and "'" not in line and '#' not in line:
        return line.split() if line.isascii() else WORD.findall(line)
    cells, at = [], 0
    while found := NEXT_WORD.match(line, at):
        start, first = found.start(1), found[1]
        if first == '#':
            break
        end = _closing(first, line, start + 1) if first in '\'"' else None
        if end is not None:
            cells.append(line[start + 1 : end].replace('\a', ''))
            at = end + 1
        elif word := WORD.match(line, start):
            cells.append(word[0])
            at = word.end()
    return cells


def _closing(quote: str, line: str, at: int) -> int | None:
    """Where the quote is that ends a cell: RELION marks those inside by a bell before them."""
    for found in re.finditer(rf'{quote}(?=\s|$)', line):
        if found.start() >= at and line[found.start() - 1] != '\a':
            return found.start()
    return None


def quoted(text: str) -> str:
    """A cell as RELION 3.1 and 5 write it: quotes only where a row could not be taken apart without them.

    Raises
    ------
    InputError
        For a line break, or bytes that are no UTF-8, which no row of a table can hold.
    """
    if '\n' in text or '\r' in text:
        raise InputError(f'the name {short(text)!r} holds a line break, which a STAR table cannot: rename the file')
    if not text.isascii() and SURROGATE.search(text):
        raise InputError(f'the name {short(text)!r} is not UTF-8, which a STAR table has to be: rename file or folder')
    if text and text[0] not in '\'"#' and not re.search(r'\s', text, re.ASCII) and text not in NOTHING:
        return text
    quote = "'" if '"' in text and "'" not in text else '"'
    # RELION's mark of a quote that does not end the cell.
    return quote + re.sub(rf'{quote}(?=\s|$)', '\a' + quote, text) + quote


def value_of(cell: str) -> str:
    """What a cell says: without its quotes; nothing for the signs of nothing."""
    if cell in NOTHING:
        return ''
    if cell[:1] in ('"', "'") and len(cell) > 1 and cell[-1] == cell[0]:
        return cell[1:-1].replace('\a', '')
    return cell


def short(text: str) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= LONGEST_QUOTED else text[:LONGEST_QUOTED] + '...'
