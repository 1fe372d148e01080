"""Which rows of a batch belong to which process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..shapes import Flags, Rows


@dataclass(frozen=True)
class Share:
    """The rows of one process: groups of neighbours go to the processes in turn.

    A process reads and prepares its own rows only. Rows that need one another, such as those that exchange their noise,
    are in one group: what a row becomes does not depend on the number of processes.
    """

    process: int = 0
    processes: int = 1
    group: int = 1

    def has(self, rows: Rows) -> Flags:
        """Which of these rows are of this process."""
        mine: Flags = rows // self.group % self.processes == self.process
        return mine

    def rows(self, start: int, stop: int) -> Rows:
        """Those of start..stop-1 that are of this process."""
        rows = np.arange(start, stop)
        return rows[self.has(rows)]

    def fitting(self, count: int) -> int:
        """The largest number of rows, at most ``count``, of which every process has as many."""
        unit = self.group * self.processes if self.processes > 1 else 1
        return count // unit * unit

    def require(self, size: int) -> None:
        """InputError unless every process has as many rows of a batch of ``size``."""
        if self.fitting(size) == size:
            return
        unit = self.group * self.processes
        pairs = 'pairs of rows that exchange their noise' if self.group > 1 else 'rows'
        raise InputError(
            f'--batch-size: {size} cannot be shared equally among {self.processes} processes, by {pairs}; take a '
            f'multiple of {unit}, such as {max(1, size // unit) * unit}'
        )
