"""Training pairs from disk to the device, in the order that `sampling` fixes.

A thread reads a window of pairs ahead of its use, brings it to the device and assembles it there; a batch is then a
part of what lies on the device already. A set that fits there is read once. Each process reads its own rows of the
batches.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..costs import WINDOW_BYTES
from ..data.sampling import chunks
from ..devices import to_device
from ..errors import InputError
from ..shapes import Rows, Tensor
from . import sampling
from .interfaces import TrainingPairs
from .shares import Share

# Pairs on their way to the device. (A window, WINDOW_BYTES, is read and shuffled together.)
PINNED_PAIRS = 512
# Part of a GPU's memory that a set may fill to be kept there.
RESIDENT_PART = 0.25

CPU = torch.device('cpu')


@dataclass(frozen=True)
class Pairs:
    """Some pairs as the networks see them: noisy [n, C, N, N], clean [n, 1, N, N]."""

    noisy: Tensor
    clean: Tensor

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.noisy[rows], self.clean[rows])

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(torch.cat([p.noisy for p in parts]), torch.cat([p.clean for p in parts]))

    def at(self, rows: Rows) -> Pairs:
        """Those in these rows."""
        index = to_device(rows, self.noisy.device)
        return Pairs(self.noisy.index_select(0, index), self.clean.index_select(0, index))


@dataclass(frozen=True)
class Taken:
    """This process's part of a batch.

    rows: where the pairs stand in the batch. positions: where in the set.
    """

    rows: Rows
    positions: Rows
    pairs: Pairs

    def part(self, start: int, stop: int) -> Taken:
        """Some of them."""
        return Taken(self.rows[start:stop], self.positions[start:stop], self.pairs[start:stop])


def read(pairs: TrainingPairs, positions: Rows, device: torch.device = CPU) -> Pairs:
    """The pairs at these positions, on a device."""
    # In the order in which they lie on disk, few at a time.
    order = np.argsort(positions, kind='stable')
    found: Pairs | None = None
    for part in chunks(len(order), PINNED_PAIRS):
        rows = order[part]
        gathered = pairs.gather(positions[rows])
        noisy, clean = pairs.assemble(tuple(to_device(x, device) for x in gathered), positions[rows])
        if found is None:
            found = Pairs(*(x.new_empty(len(order), *x.shape[1:]) for x in (noisy, clean)))
        index = to_device(rows, device)
        found.noisy.index_copy_(0, index, noisy)
        found.clean.index_copy_(0, index, clean)
    if found is None:
        # A process may have none.
        empty = torch.empty(0, 1, pairs.box, pairs.box, device=device)
        return Pairs(empty, empty)
    return found


class PairLoader:
    """An endless stream of batches; its whole state is (epoch, offset), the number of pairs seen in this epoch.

    Parameters
    ----------
    pairs, positions
        The set, and which of it.
    seed, shuffle
        Of the order.
    count : int
        Pairs a batch, all processes together; a small set has smaller ones.
    share : Share
        Rows of this process.
    device : torch.device
        Where the pairs are wanted.
    window_bytes : int
        Size of a window, at 8 bytes a pixel of a pair.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        positions: Rows,
        seed: int,
        count: int,
        shuffle: bool = True,
        share: Share | None = None,
        device: torch.device = CPU,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.pairs, self.positions, self.seed, self.shuffle = pairs, np.asarray(positions), seed, shuffle
        self.share, self.device = share or Share(), device
        self.count = self.share.fitting(min(count, len(self.positions)))
        if count and not self.count:
            raise InputError(
                f'{len(self.positions)} training pairs cannot be shared among {self.share.processes} processes; take '
                'fewer (--devices)'
            )
        self.epoch, self.offset = 0, 0
        self.window = max(2 * sampling.BLOCK, window_bytes // (8 * pairs.box**2))
        self._resident: Pairs | None = None
        self._orders: dict[int, Rows] = {}
        self._reader = ThreadPoolExecutor(1)
        self._pending: dict[tuple[int, int], Future[_Window]] = {}
        self._held: tuple[tuple[int, int], _Window] | None = None
        # Where the first batch of an epoch begins that a resumed run has seen a part of.
        self._begun = 0, 0

    def _keeps_all(self) -> bool:
        most = self.window
        if self.device.type == 'cuda':
            memory = torch.cuda.get_device_properties(self.device).total_memory
            most = max(most, int(RESIDENT_PART * memory) // (8 * self.pairs.box**2))
        return len(self.positions) <= most

    @property
    def epochs(self) -> float:
        """Passes over the set so far."""
        return self.epoch + self.offset / len(self.positions)

    def restore(self, epoch: int, offset: int) -> None:
        """Go on from there."""
        self.epoch, self.offset = self._begun = epoch, offset
        self._pending, self._held = {}, None

    def next(self) -> Taken:
        """This process's part of the next batch; the rest of an epoch that does not fill a batch is dropped."""
        if self.offset + self.count > len(self.positions):
            self.epoch, self.offset = self.epoch + 1, 0
        rows = self.share.rows(0, self.count)
        places = self.offset + rows
        self.offset += self.count
        positions = self._order(self.epoch)[places]
        if self._keeps_all():
            if self._resident is None:
                self._resident = read(self.pairs, self.positions, self.device)
            return Taken(rows, positions, self._resident.at(np.searchsorted(self.positions, positions)))
        windows = places // self.window
        parts = [self._window(w).part(places[windows == w]) for w in np.unique(windows)]
        return Taken(rows, positions, Pairs.joined(parts))

    def _order(self, epoch: int) -> Rows:
        """Positions in the order of an epoch; its windows follow one another."""
        if epoch not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            windows = sampling.epoch_windows(self.positions, self.seed, epoch, self.window, self.shuffle)
            self._orders[epoch] = np.concatenate(windows)
        return self._orders[epoch]

    def _window(self, index: int) -> _Window:
        """Window ``index`` of this epoch; starts reading the one after it."""
        key = self.epoch, int(index)
        if self._held is None or self._held[0] != key:
            self._held = None  # let go of the old window before the next one arrives
            self._held = key, (self._pending.pop(key, None) or self._start(key)).result()
            last = (index + 1) * self.window >= len(self.positions)
            following = (self.epoch + 1, 0) if last else (self.epoch, int(index) + 1)
            self._pending = {following: self._start(following)}
        return self._held[1]

    def _start(self, key: tuple[int, int]) -> Future[_Window]:
        places = self._places(*key)
        return self._reader.submit(_Window.read, self.pairs, self._order(key[0])[places], places, self.device)

    def _places(self, epoch: int, index: int) -> Rows:
        """Places in the order of an epoch, within a window, that this process is going to ask for."""
        start = self._begun[1] if epoch == self._begun[0] else 0
        whole = start + (len(self.positions) - start) // self.count * self.count
        places = np.arange(max(start, index * self.window), min(whole, (index + 1) * self.window))
        return places[self.share.has((places - start) % self.count)]


@dataclass(frozen=True)
class _Window:
    """Pairs on the device, at ``places`` of the order; on a GPU there when the event has come."""

    places: Rows
    pairs: Pairs
    event: torch.cuda.Event | None

    @classmethod
    def read(cls, pairs: TrainingPairs, positions: Rows, places: Rows, device: torch.device) -> _Window:
        """For the reading thread: on a GPU beside what the networks do."""
        if device.type != 'cuda':
            return cls(places, read(pairs, positions, device), None)
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            return cls(places, read(pairs, positions, device), stream.record_event())

    def part(self, places: Rows) -> Pairs:
        """Pairs at some places, which follow one another here."""
        if self.event is not None:
            stream = torch.cuda.current_stream(self.pairs.noisy.device)
            stream.wait_event(self.event)
            for images in (self.pairs.noisy, self.pairs.clean):
                images.record_stream(stream)
        start = int(np.searchsorted(self.places, places[0])) if len(places) else 0
        return self.pairs[start : start + len(places)]
