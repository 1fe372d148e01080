"""Order of the data, validation split, augmentation, and reading of sets larger than memory."""

import numpy as np
import pytest
import torch

from ..training import sampling
from ..training.augmentation import draw_moves, exchange_noise, move, turn
from ..training.loading import PairLoader
from . import toypairs


@pytest.mark.parametrize('window', [64, 256, 10_000])
def test_epoch_holds_every_position_once_and_depends_only_on_seed_and_epoch(window):
    positions = np.arange(0, 2000, 2)
    first = sampling.epoch_windows(positions, 7, 3, window)
    assert [len(w) for w in first[:-1]] == [window] * (len(first) - 1)
    assert np.array_equal(np.sort(np.concatenate(first)), positions)
    again = sampling.epoch_windows(positions, 7, 3, window)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    other = np.concatenate(sampling.epoch_windows(positions, 7, 4, window))
    assert not np.array_equal(other, np.concatenate(first))


def test_window_is_read_in_runs_of_neighbours():
    window = np.sort(sampling.epoch_windows(np.arange(6400), 1, 0, 640)[0])
    assert np.count_nonzero(np.diff(window) != 1) < 10


def test_validation_is_apart_from_training():
    training, validation = sampling.split(1000, 0.1, 5)
    assert len(validation) == 100
    assert np.array_equal(np.sort(np.concatenate([training, validation])), np.arange(1000))
    assert not np.array_equal(validation, sampling.split(1000, 0.1, 6)[1])
    assert [len(x) for x in sampling.split(2, 0.01, 0)] == [1, 1]


def test_contaminated_part_is_exact_and_fixed():
    positions = np.arange(100, 1100)
    chosen = sampling.contaminated(positions, 0.3, 9)
    assert len(np.unique(chosen)) == 300
    assert np.isin(chosen, positions).all()
    assert np.array_equal(chosen, sampling.contaminated(positions, 0.3, 9))
    image = [sampling.contaminating_noise('uniform', 4, 9, 1, (32, 32), 0, 1, -2, 3) for _ in range(2)]
    assert np.array_equal(*image)
    assert image[0].mean() == pytest.approx(0.5, abs=0.2)
    assert image[0].min() >= -2
    assert image[0].max() <= 3


@pytest.mark.parametrize('box', [32, 33])
@pytest.mark.parametrize('code', range(8))
def test_turns_are_about_the_origin_of_projections(box, code):
    """A turned image is the image of the turned blobs, drawn analytically: exact for N//2, not for (N-1)/2."""
    centres = np.array([[[3.3, -5.1], [-6.2, 1.7], [0.4, 4.9]]])
    turned = centres * [-1 if code & 2 else 1, -1 if code & 1 else 1]
    turned = turned[..., ::-1] if code & 4 else turned
    found = turn(torch.from_numpy(toypairs.draw(centres, box)), code)
    # The row at -N/2 has no mirror image in an even box.
    inner = (slice(None), slice(1, None), slice(1, None))
    assert np.abs(found.numpy() - toypairs.draw(turned, box))[inner].max() < 1e-6


def test_a_moved_pair_stays_registered():
    clean = torch.from_numpy(toypairs.blobs(40, 32, 3)[0])[:, None]
    moves = draw_moves(np.random.default_rng(0), 40, turns=True, shift=3)
    noisy, moved = move(3 * clean - 1, moves), move(clean, moves)
    assert torch.allclose(noisy, 3 * moved - 1, atol=1e-6)
    assert not torch.equal(moved, clean)
    assert torch.equal(move(clean, torch.tensor([[0, 2, -1]] * 40)), clean.roll((2, -1), (-2, -1)))


def test_exchanged_noise_belongs_to_another_particle():
    clean = torch.from_numpy(toypairs.blobs(64, 32, 3)[0])[:, None]
    noise = torch.arange(64.0)[:, None, None, None].expand_as(clean)
    a, b = 0.5, -0.25
    pure = a * clean + b
    noisy = exchange_noise(pure + noise, pure, 1.0, np.random.default_rng(1), turns=False)
    left = noisy - pure
    assert torch.allclose(left[:, 0, 0, 0], torch.arange(64.0).roll(1), atol=1e-4)


class Numbered:
    """ReferencePairs whose images hold their own number; counts what is read."""

    box = 4

    def __init__(self):
        self.reads = []

    def gather(self, positions):
        self.reads.append(len(positions))
        return (np.asarray(positions, np.float32)[:, None, None] + np.zeros((4, 4), np.float32),)

    def assemble(self, gathered, positions):
        return gathered[0][:, None], gathered[0][:, None] + 0.5


@pytest.mark.parametrize('window_bytes', [128 * 8 * 16, 2**20])
def test_feed_gives_each_pair_once_an_epoch_and_resumes_anywhere(window_bytes):
    positions = np.arange(0, 1200, 2)
    feed = PairLoader(Numbered(), positions, 3, window_bytes=window_bytes)
    seen, states = [], []
    for _ in range(150):
        states.append((feed.epoch, feed.offset))
        chosen, noisy, clean = feed.next(7)
        assert np.array_equal(noisy[:, 0, 0, 0], chosen)
        assert torch.equal(clean, noisy + 0.5)
        seen.append(chosen)
    epoch = np.concatenate(seen[:85])
    assert len(np.unique(epoch)) == len(epoch) == 595
    assert feed.epoch == 1
    again = PairLoader(Numbered(), positions, 3, window_bytes=window_bytes)
    again.epoch, again.offset = states[100]
    assert np.array_equal(again.next(7)[0], seen[100])


def test_feed_of_a_small_set_reads_it_once():
    pairs = Numbered()
    feed = PairLoader(pairs, np.arange(50), 1)
    for _ in range(30):
        feed.next(8)
    assert pairs.reads == [50]
