"""Which pairs train, in which order, and which are contaminated: pure functions of the seed.

Nothing here keeps a state, so a resumed run needs only to know where in which epoch it was.
"""

from __future__ import annotations

import numpy as np

from ..random_streams import generator
from ..shapes import Rows

BLOCK = 64  # neighbouring images read together: 0.65 GB/s from disk against 0.46 one by one


def split(count: int, fraction: float, seed: int, group: Rows | None = None) -> tuple[Rows, Rows]:
    """(training, validation) positions in 0..count-1, both ascending; at least one of each (count >= 2).

    group: int [count]; positions of one group stay together. A single group cannot be split: a warning is the
    caller's.
    """
    held = min(max(1, round(count * fraction)), count - 1)
    rng = generator(seed, 'split')
    sizes = _sizes(group)
    if sizes is None or len(sizes) < 2:
        validation = np.sort(rng.choice(count, held, replace=False))
    else:
        order = rng.permutation(len(sizes))
        # As many groups as come nearest to the size, at least one and never all.
        total = np.cumsum(sizes[order])[:-1]
        chosen = order[: int(np.abs(total - held).argmin()) + 1]
        validation = np.flatnonzero(np.isin(_numbered(group), chosen))
    return np.setdiff1d(np.arange(count), validation), validation


def folds(count: int, number: int, seed: int, group: Rows | None = None) -> Rows:
    """int64 [count]: fold 0..number-1 of every position, at random, of equal size or as nearly as groups allow."""
    rng = generator(seed, 'folds')
    sizes = _sizes(group)
    if sizes is None or len(sizes) < number:
        return rng.permutation(count) % number
    fold_of, filled = np.empty(len(sizes), np.int64), np.zeros(number, np.int64)
    order = rng.permutation(len(sizes))
    # The largest first, each into the emptiest fold.
    for one in order[np.argsort(-sizes[order], kind='stable')]:
        fold_of[one] = filled.argmin()
        filled[fold_of[one]] += sizes[one]
    return fold_of[_numbered(group)]


def _sizes(group: Rows | None) -> Rows | None:
    """Sizes of the groups; None when everything is alone."""
    if group is None:
        return None
    sizes: Rows = np.unique(group, return_counts=True)[1]
    return None if len(sizes) == len(group) else sizes


def _numbered(group: Rows | None) -> Rows:
    """Number from 0 of each position's group, in ascending order of the groups."""
    assert group is not None
    found: Rows = np.unique(group, return_inverse=True)[1].astype(np.int64)
    return found


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
