"""The lines of a text of which only the next few megabytes are in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Of a file, what tells which program wrote it (bytes).
HEAD = 2**16
# Rows are looked at in pieces of this many characters: their words must not all be in memory at once.
PIECE = 2**19
BLANK_LINE = re.compile(r'\n[ \t]*(?=\n|\Z)')
NEXT_LINE = re.compile(r'\s*?([^\s][^\n]*)')


class Lines:
    """Lines of a text that comes in chunks. number: of the next line, from 1."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks, self._text, self._at, self._ended = iter(chunks), '', 0, False
        self.number = 1

    def more(self, wanted: int = 2 * PIECE) -> bool:
        """Whether there is a line; afterwards so many characters lie ahead, or all that are left."""
        if len(self._text) - self._at < wanted and not self._ended:
            # The line feed before the next line stays: what begins here may be an empty line.
            kept = max(self._at - 1, 0)
            parts, size = [self._text[kept:]], len(self._text) - self._at
            while size < 2 * wanted and not self._ended:
                chunk = next(self._chunks, None)
                self._ended = chunk is None
                parts.append(chunk or '')
                size += len(parts[-1])
            self._text, self._at = ''.join(parts), self._at - kept
        return self._at < len(self._text)

    def peek(self) -> str:
        """The next line, without its end; '' at the end of the text."""
        wanted = PIECE
        while self.more(wanted) and (end := self._text.find('\n', self._at)) < 0 and not self._ended:
            wanted = 2 * (len(self._text) - self._at) + 1
        return self._text[self._at : end if end >= 0 else len(self._text)] if self._at < len(self._text) else ''

    def skip(self, lines: str) -> None:
        """Go on behind these lines, which come next."""
        self._at += len(lines) + 1
        self.number += lines.count('\n') + 1

    def rows(self) -> str:
        """The next whole lines, some megabytes of them at most, before the next empty one; '' where none are left."""
        if not self.more():
            return ''
        end = self._text.find('\n', self._at + PIECE)
        end = len(self._text) if end < 0 else end
        blank = BLANK_LINE.search(self._text, max(self._at - 1, 0), end)
        return self._text[self._at : blank.start() if blank else end]

    def ahead(self) -> str:
        """The next line that is not empty, or ''."""
        self.more()
        found = NEXT_LINE.match(self._text, self._at)
        return found[1] if found else ''
