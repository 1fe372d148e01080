"""A few of many, and all in parts: positions spread evenly over a set, and the loop over it in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..shapes import Rows


def evenly_spread(count: int, most: int) -> Rows:
    """Positions spread evenly over a set, its first and its last among them.

    Parameters
    ----------
    count : int
        Size of the set.
    most : int
        How many positions are wanted at most.

    Returns
    -------
    Rows
        Ascending and all different, int64 [min(count, most)]; all of ``0..count-1`` when there are no more than
        ``most``.
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``0..count-1`` in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
