"""Random numbers of rows: the same in any company, and random."""

import numpy as np
import pytest
import torch

from ..random_fields import RandomRows, _hashed, _hashed_in_place

CPU = torch.device('cpu')


def rows(*numbers, seed=3, number=0, purpose='fresh'):
    return RandomRows(seed, purpose, number, np.array(numbers), CPU)


def test_a_row_is_the_same_whoever_draws_it():
    everything = rows(*range(12)).normal(8, 8)
    assert torch.equal(rows(7, 2).normal(8, 8), everything[[7, 2]])
    for other in (rows(7, seed=4), rows(7, number=1), rows(7, purpose='blind spots')):
        assert not torch.equal(other.normal(8, 8)[0], everything[7])


def test_what_is_asked_for_later_is_independent():
    found = rows(*range(50))
    first, second = found.normal(64, 64), found.normal(64, 64)
    assert abs((first * second).mean()) < 4 / first.numel() ** 0.5


def test_tensors_hash_as_unsigned_numbers_do():
    """numpy's arithmetic on uint32 is the definition."""
    x = np.random.default_rng(0).integers(2**32, size=1000, dtype=np.uint32)
    found = _hashed_in_place(torch.from_numpy(x.view(np.int32).copy())).numpy().view(np.uint32)
    assert np.array_equal(found, _hashed(x))


@pytest.mark.parametrize('shape', [(64, 64), (7, 9)])
def test_moments_and_correlations(shape):
    """A million numbers: means, variance, kurtosis, neighbours in the image, in the row and in the draw."""
    count = 10**6 // (shape[0] * shape[1])
    x = rows(*range(count)).normal(*shape).double()
    error = 4 / x.numel() ** 0.5
    assert x.shape == (count, *shape)
    assert abs(x.mean()) < error
    assert abs(x.var() - 1) < 1.5 * error
    assert abs((x**4).mean() - 3) < 10 * error
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x[:, :, 1:], x[:, :, :-1])):
        assert abs((a * b).mean()) < 1.1 * error
    other = rows(*range(count), number=1).normal(*shape).double()
    assert abs((x * other).mean()) < error


def test_power_is_flat():
    """White in the Fourier plane: a hash of the pixel must not leave waves."""
    power = torch.fft.rfft2(rows(*range(500)).normal(32, 32)).abs().square().mean(0) / 32**2
    inner = power[1:16, 1:16]
    assert abs(inner.mean() - 1) < 0.02
    assert inner.max() < 1.3
    assert inner.min() > 0.75


def test_uniform_numbers_fill_every_bin():
    x = rows(*range(100)).uniform(100, 100)
    assert x.min() >= 0
    assert x.max() < 1
    counts = np.histogram(x.numpy(), 100, (0, 1))[0]
    assert abs(counts - 1e4).max() < 500
    # Each bit of the 24.
    for bit in range(24):
        assert (x * 2 ** (bit + 1)).floor().remainder(2).mean() == pytest.approx(0.5, abs=0.003)
