"""Positions spread evenly over a set."""

import numpy as np
import pytest

from ..data.sampling import chunks, evenly_spread


@pytest.mark.parametrize(('count', 'most'), [(1, 5), (7, 7), (7, 9), (1000, 2), (1000, 37), (10**6, 4000)])
def test_positions_are_different_reach_both_ends_and_keep_their_distance(count, most):
    found = evenly_spread(count, most)
    assert len(found) == min(count, most)
    assert (found[0], found[-1]) == (0, count - 1)
    steps = np.diff(found)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize(('count', 'most'), [(0, 5), (5, 0)])
def test_none_of_nothing(count, most):
    assert len(evenly_spread(count, most)) == 0


@pytest.mark.parametrize(('count', 'size'), [(0, 4), (3, 4), (8, 4), (9, 4)])
def test_chunks_cover_a_set_once_and_in_order(count, size):
    found = [np.arange(count)[c] for c in chunks(count, size)]
    assert np.array_equal(np.concatenate([*found, []]), np.arange(count))
    assert all(0 < len(f) <= size for f in found)
