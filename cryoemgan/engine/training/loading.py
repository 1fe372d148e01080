"""Batches of training pairs from disk or memory, in the order that `sampling` fixes.

A set that fits in memory is read once. A larger one is read a window ahead by another thread, in runs of
neighbouring images, so that the network does not wait for the disk.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import sampling

WINDOW_BYTES = 2**29


class PairLoader:
    """An endless stream of batches; its whole state is (epoch, offset), the number of pairs seen in this epoch."""

    def __init__(self, pairs, positions, seed, shuffle=True, window_bytes=WINDOW_BYTES):
        self.pairs, self.positions, self.seed, self.shuffle = pairs, np.asarray(positions), seed, shuffle
        self.epoch, self.offset = 0, 0
        self.window = max(2 * sampling.BLOCK, window_bytes // (8 * pairs.box**2))
        self._whole = pairs.read(self.positions) if len(self.positions) <= self.window else None
        self._reader, self._pending, self._held = ThreadPoolExecutor(1), {}, (None, None)
        self._orders = {}

    def next(self, count):
        """(positions [n], particles, references [n, box, box]): the next pairs, n = count except after a set smaller
        than count; the rest of an epoch that does not fill a batch is dropped."""
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
        return tuple(np.concatenate(x) if len(parts) > 1 else x[0] for x in zip(*parts))

    def _take(self, index, start, stop):
        positions = self._windows(self.epoch)[index][start:stop]
        if self._whole is not None:
            rows = np.searchsorted(self.positions, positions)
            return positions, self._whole[0][rows], self._whole[1][rows]
        noisy, clean = self._read(index)
        return positions, noisy[start:stop], clean[start:stop]

    def _windows(self, epoch):
        if epoch not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = sampling.epoch_windows(self.positions, self.seed, epoch, self.window, self.shuffle)
        return self._orders[epoch]

    def _read(self, index):
        """Window ``index`` of this epoch; starts reading the one after it."""
        key = self.epoch, index
        if self._held[0] != key:
            self._held = None, None  # let go of the old window before the next one arrives
            self._held = key, (self._pending.pop(key, None) or self._start(key)).result()
            last = index + 1 == len(self._windows(self.epoch))
            following = (self.epoch + 1, 0) if last else (self.epoch, index + 1)
            self._pending = {following: self._start(following)}
        return self._held[1]

    def _start(self, key):
        return self._reader.submit(self.pairs.read, self._windows(key[0])[key[1]])
