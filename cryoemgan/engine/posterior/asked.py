"""What a map prior says of many particles, written as it comes: a killed run goes on behind what was flushed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ..data import stack_writer
from ..data.journal import Journal
from ..finished import JOURNAL
from ..shapes import Floats, Images, Rows

if TYPE_CHECKING:
    from typing_extensions import Self


def reserve(path: Path) -> None:
    """Give a sparse file its space on disk now: where it is missing later, writing to a memory map kills the process
    without a word. OSError when there is too little."""
    with open(path, 'r+b') as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as e:
            raise OSError(e.errno, f'{size / 1e9:.1f} GB are needed: {e.strerror}', str(path)) from e


class Asked:
    """A file of two images (mean, s.d.) a particle, float16 [count, 2, box, box], and a journal beside it.

    Parameters
    ----------
    path : Path
        The file (.npy).
    count, box, columns : int
        Particles, px, and how many numbers are found of each.
    identity : str
        What the answers depend on: those to other questions are no beginning of these.
    resume : bool
        Whether to take up what an interrupted run left.

    Attributes
    ----------
    done : int
        Number of particles that were asked.
    values : Floats
        float64 [count, columns]; known for the first ``done``.
    """

    def __init__(self, path: Path, count: int, box: int, columns: int, identity: str, resume: bool) -> None:
        self._path, self.done = path, 0
        self.values: Floats = np.zeros((count, columns))
        self._journal = Journal(path, {'box': box, 'columns': columns, 'asked': identity})
        found = self._journal.read(path, count, 0) if resume else None
        if found is None:
            answers = np.lib.format.open_memmap(path, 'w+', np.float16, (count, 2, box, box))
            answers.flush()
            reserve(path)
            with open(path, 'rb') as file:
                self._journal.start(0, file.read(answers.offset))
        else:
            self.done, _, known, header = found
            self.values[: self.done] = known
            with open(path, 'r+b') as file:
                file.write(header)
                file.truncate(len(header) + 4 * box**2 * count)
            reserve(path)
        self._answers = np.lib.format.open_memmap(path, 'r+')
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def add(self, rows: Rows, answers: Images, values: Floats) -> None:
        """What was said of the next particles: images [n, 2, box, box] and numbers [n, columns]."""
        answers = np.ascontiguousarray(answers, np.float16)
        self._answers[rows], self.values[rows] = answers, values
        self._journal.note(answers)
        self.done += len(rows)
        if time.monotonic() - self._flushed > stack_writer.FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._answers.flush()
        self._journal.add(self.done, (), self.values)
        self._flushed = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()


def forget(path: Path) -> None:
    """Remove the journal of a file whose answers are complete and kept otherwise."""
    path.with_name(path.name + JOURNAL).unlink(missing_ok=True)
