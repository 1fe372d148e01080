"""Training pairs from disk or memory, in the order that `sampling` fixes.

A set that fits in memory is read once. A larger one is read a window ahead by another thread, in runs of
neighbouring images, so that the network does not wait for the disk.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch

from ..shapes import Rows, Tensor
from . import sampling
from .interfaces import TrainingPairs

WINDOW_BYTES = 2**29

Window: TypeAlias = tuple[Tensor, Tensor]


def read(pairs: TrainingPairs, positions: Rows) -> Window:
    """(noisy, clean) at these positions, as `TrainingPairs.assemble` gives them."""
    return pairs.assemble(tuple(torch.from_numpy(x) for x in pairs.gather(positions)), positions)


class PairLoader:
    """An endless stream of batches; its whole state is (epoch, offset), the number of pairs seen in this epoch."""

    def __init__(
        self,
        pairs: TrainingPairs,
        positions: Rows,
        seed: int,
        shuffle: bool = True,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.pairs, self.positions, self.seed, self.shuffle = pairs, np.asarray(positions), seed, shuffle
        self.epoch, self.offset = 0, 0
        self.window = max(2 * sampling.BLOCK, window_bytes // (8 * pairs.box**2))
        self._whole = read(pairs, self.positions) if len(self.positions) <= self.window else None
        self._reader = ThreadPoolExecutor(1)
        self._pending: dict[tuple[int, int], Future[Window]] = {}
        self._key: tuple[int, int] | None = None
        self._held: Window | None = None
        self._orders: dict[int, list[Rows]] = {}

    @property
    def epochs(self) -> float:
        """Passes over the set so far."""
        return self.epoch + self.offset / len(self.positions)

    def next(self, count: int) -> tuple[Rows, Tensor, Tensor]:
        """The next pairs: (positions [n], noisy, clean).

        n is ``count`` unless the set is smaller; the rest of an epoch that does not fill a batch is dropped.
        """
        total = len(self.positions)
        count = min(count, total)
        if self.offset + count > total:
            self.epoch, self.offset = self.epoch + 1, 0
        parts, start, stop = [], self.offset, self.offset + count
        self.offset = stop
        while start < stop:
            index = start // self.window
            end = min(stop, (index + 1) * self.window)
            parts.append(self._take(index, start - index * self.window, end - index * self.window))
            start = end
        positions, noisy, clean = zip(*parts)
        return np.concatenate(positions), torch.cat(noisy), torch.cat(clean)

    def _take(self, index: int, start: int, stop: int) -> tuple[Rows, Tensor, Tensor]:
        positions = self._windows(self.epoch)[index][start:stop]
        if self._whole is not None:
            rows = torch.from_numpy(np.searchsorted(self.positions, positions))
            return positions, self._whole[0][rows], self._whole[1][rows]
        noisy, clean = self._read(index)
        return positions, noisy[start:stop], clean[start:stop]

    def _windows(self, epoch: int) -> list[Rows]:
        if epoch not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = sampling.epoch_windows(self.positions, self.seed, epoch, self.window, self.shuffle)
        return self._orders[epoch]

    def _read(self, index: int) -> Window:
        """Window ``index`` of this epoch; starts reading the one after it."""
        key = self.epoch, index
        if self._key != key or self._held is None:
            self._held = None  # let go of the old window before the next one arrives
            self._key, self._held = key, (self._pending.pop(key, None) or self._start(key)).result()
            last = index + 1 == len(self._windows(self.epoch))
            following = (self.epoch + 1, 0) if last else (self.epoch, index + 1)
            self._pending = {following: self._start(following)}
        return self._held

    def _start(self, key: tuple[int, int]) -> Future[Window]:
        return self._reader.submit(read, self.pairs, self._windows(key[0])[key[1]])
