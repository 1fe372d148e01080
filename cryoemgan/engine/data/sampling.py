"""A few of many: positions spread evenly over a set."""

from __future__ import annotations

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
