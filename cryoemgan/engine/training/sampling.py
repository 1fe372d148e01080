"""Which pairs train, in which order, and which are contaminated: pure functions of the seed.

Nothing here keeps a state, so a resumed run needs only to know where in which epoch it was.
"""

from __future__ import annotations

import numpy as np

from ..random_streams import generator
from ..shapes import Rows

BLOCK = 64  # neighbouring images read together: 0.65 GB/s from disk against 0.46 one by one


def split(count: int, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """(training, validation) positions in 0..count-1, both ascending; at least one of each (count >= 2)."""
    held = min(max(1, round(count * fraction)), count - 1)
    validation = np.sort(generator(seed, 'split').choice(count, held, replace=False))
    return np.setdiff1d(np.arange(count), validation), validation


def folds(count: int, number: int, seed: int) -> Rows:
    """int64 [count]: fold 0..number-1 of every position, at random, equal in size."""
    return generator(seed, 'folds').permutation(count) % number


def epoch_windows(
    positions: Rows, seed: int, epoch: int, window: int, shuffle: bool = True, block: int = BLOCK
) -> list[Rows]:
    """Order of an epoch: a list of int64 arrays (windows) that together hold every position once.

    A window is what is read into memory at once, as neighbouring runs of ``block`` images; within a window the
    order is random. A set that fits one window is shuffled completely.
    """
    positions = np.asarray(positions)
    if not shuffle:
        return [positions[i : i + window] for i in range(0, len(positions), window)]
    rng = generator(seed, 'order', epoch)
    blocks = np.array_split(positions, range(block, len(positions), block))
    mixed = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return [rng.permutation(mixed[i : i + window]) for i in range(0, len(mixed), window)]


def contaminated(positions: Rows, fraction: float, seed: int) -> Rows:
    """The positions replaced by noise: a fixed random part of exactly round(fraction x count), ascending."""
    count = round(len(positions) * fraction)
    return np.sort(generator(seed, 'contamination').choice(positions, count, replace=False))
