"""What of an unfinished stack is whole: a line each few seconds, which says how far, and how to know it again.

A line is ``crc32 JSON``. It says up to which image the stack is written, the crc32 of the images since the line before,
sums for the header, and what was found of these images. Reading stops at the first line, or the first images, that are
not what was written: an interrupted run goes on from there.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path

import numpy as np

from ..finished import JOURNAL
from ..shapes import Floats, Images, Json

PIECE = 2**24


class Journal:
    """Journal of a stack: ``stack.mrcs.journal``. about: what a stack must share to be the same."""

    def __init__(self, stack: Path, about: Json) -> None:
        self.path, self._about = stack.with_name(stack.name + JOURNAL), about
        self._crc, self._noted = 0, 0

    def start(self, left_out: int, header: bytes) -> None:
        """Begin anew; header: of the stack, which is not written again before the end."""
        self.path.unlink(missing_ok=True)
        self._write({**self._about, 'left_out': left_out, 'header': base64.b64encode(header).decode()})

    def note(self, images: Images) -> None:
        """Images that were written, for the next line."""
        self._crc = zlib.crc32(images.data.cast('B'), self._crc)

    def add(self, written: int, statistics: tuple[float, ...], values: Floats) -> None:
        """Say that ``written`` images are on the disk; values: of all images, [count, columns]."""
        if written == self._noted:
            return
        found = base64.b64encode(np.ascontiguousarray(values[self._noted : written], '<f8').tobytes()).decode()
        self._write({'written': written, 'crc': self._crc, 'statistics': statistics, 'values': found})
        self._crc, self._noted = 0, written

    def _write(self, record: Json) -> None:
        text = json.dumps(record)
        with self.path.open('a', encoding='ascii') as file:
            file.write(f'{zlib.crc32(text.encode()):08x} {text}\n')
            file.flush()
            os.fsync(file.fileno())

    def read(self, stack: Path, count: int, left_out: int) -> tuple[int, tuple[float, ...], Floats, bytes] | None:
        """What can be taken up: images that are whole, sums for the header, what was found of them, the header as it
        was at first. None when there is nothing.

        Parameters
        ----------
        stack : Path
            The unfinished stack.
        count, left_out : int
            Images of the stack that is wanted, and particles left out of it. One that left nothing out is the
            beginning of one that does: it had met none of these particles.
        """
        lines = self._lines()
        head = lines.pop(0)[0] if lines else {}
        if not stack.exists() or any(head.get(k) != v for k, v in self._about.items()):
            return None
        if head.get('left_out') not in (0, left_out):
            return None
        done, statistics, parts, end = 0, (), [], 0
        size, columns = 4 * head['box'] ** 2, head['columns']
        header = base64.b64decode(head['header'])
        with stack.open('rb') as file:
            file.seek(len(header))
            for record, after in lines:
                more = record['written'] - done
                if record['written'] > count or _crc(file, more * size) != record['crc']:
                    break
                done, statistics, end = record['written'], tuple(record['statistics']), after
                parts.append(np.frombuffer(base64.b64decode(record['values']), '<f8').reshape(more, columns))
        if not done:
            return None
        os.truncate(self.path, end)
        self._noted = done
        return done, statistics, np.concatenate(parts), header

    def _lines(self) -> list[tuple[Json, int]]:
        """(record, byte where its line ends) of every line up to the first that is damaged."""
        found, position = [], 0
        try:
            data = self.path.read_bytes()
        except OSError:
            return []
        for line in data.split(b'\n')[:-1]:
            position += len(line) + 1
            if line[:8] != b'%08x' % zlib.crc32(line[9:]):
                break
            found.append((json.loads(line[9:]), position))
        return found


def _crc(file: object, size: int) -> int:
    """crc32 of the next ``size`` bytes; -1 where the file ends before."""
    crc = 0
    while size:
        piece = file.read(min(size, PIECE))  # type: ignore[attr-defined]
        if not piece:
            return -1
        crc, size = zlib.crc32(piece, crc), size - len(piece)
    return crc
