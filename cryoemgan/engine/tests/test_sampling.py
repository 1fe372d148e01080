"""Order of the data, validation split, augmentation, and reading of sets larger than memory."""

import numpy as np
import pytest
import torch

from ..errors import InputError
from ..training import sampling
from ..training.augmentation import draw_moves, exchange_noise, move
from ..training.loading import PairLoader
from ..training.shares import Share
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


@pytest.mark.parametrize('box', [32, 33])
@pytest.mark.parametrize('code', range(8))
def test_turns_are_about_the_origin_of_projections(box, code):
    """A turned image is the image of the turned blobs, drawn analytically: exact for N//2, not for (N-1)/2."""
    centres = np.array([[[3.3, -5.1], [-6.2, 1.7], [0.4, 4.9]]])
    turned = centres * [-1 if code & 2 else 1, -1 if code & 1 else 1]
    turned = turned[..., ::-1] if code & 4 else turned
    found = move(torch.from_numpy(toypairs.draw(centres, box))[:, None], torch.tensor([[code, 0, 0]]))
    # The row at -N/2 has no mirror image in an even box.
    inner = (slice(None), slice(1, None), slice(1, None))
    assert np.abs(found[:, 0].numpy() - toypairs.draw(turned, box))[inner].max() < 1e-6


def test_each_image_and_channel_of_a_batch_has_its_own_move():
    images = torch.from_numpy(toypairs.blobs(40, 32, 3)[0])
    both = torch.stack([images, 2 * images], 1)
    moves = torch.from_numpy(draw_moves(np.random.default_rng(0), 40, True, 3))
    found = move(both, moves)
    assert len(np.unique(moves[:, 0])) == 8
    for image, moved, (code, dy, dx) in zip(images, found, moves.tolist()):
        alone = move(image[None, None], torch.tensor([[code, 0, 0]]))[0, 0].roll((dy, dx), (0, 1))
        assert torch.equal(moved, torch.stack([alone, 2 * alone]))
    assert torch.equal(move(both, torch.tensor([[0, 2, -1]] * 40)), both.roll((2, -1), (-2, -1)))


def test_exchanged_noise_belongs_to_another_particle():
    clean = torch.from_numpy(toypairs.blobs(6, 32, 3)[0])[:, None]
    pure, noise = 0.5 * clean - 0.25, torch.arange(6.0)[:, None, None, None].expand_as(clean)
    partner, chosen = torch.tensor([1, 0, 3, 2, 4, 5]), torch.tensor([True] * 4 + [False] * 2)
    noisy = exchange_noise(pure + noise, pure, noise, partner, chosen, torch.zeros(6, 3, dtype=torch.int64))
    assert torch.allclose((noisy - pure)[:, 0, 0, 0], partner.float(), atol=1e-5)


class Numbered:
    """ReferencePairs whose images hold their own number; counts what is read."""

    box = 4

    def __init__(self):
        self.reads = []

    def gather(self, positions):
        self.reads.append(len(positions))
        return (np.asarray(positions, np.float32)[:, None, None] + np.zeros((4, 4), np.float32),)

    def assemble(self, gathered, positions):
        assert np.array_equal(gathered[0][:, 0, 0], positions)
        return gathered[0][:, None], gathered[0][:, None] + 0.5


SMALL, LARGE = 128 * 8 * 16, 2**20


def loader(pairs=None, count=7, share=None, window_bytes=SMALL):
    return PairLoader(pairs or Numbered(), np.arange(0, 1200, 2), 3, count, share=share, window_bytes=window_bytes)


@pytest.mark.parametrize('window_bytes', [SMALL, LARGE])
def test_loader_gives_each_pair_once_an_epoch_and_resumes_anywhere(window_bytes):
    feed = loader(window_bytes=window_bytes)
    seen, states = [], []
    for _ in range(150):
        states.append((feed.epoch, feed.offset))
        taken = feed.next()
        assert np.array_equal(taken.rows, np.arange(7))
        assert np.array_equal(taken.pairs.noisy[:, 0, 0, 0], taken.positions)
        assert torch.equal(taken.pairs.clean, taken.pairs.noisy + 0.5)
        seen.append(taken.positions)
    epoch = np.concatenate(seen[:85])
    assert len(np.unique(epoch)) == len(epoch) == 595
    assert feed.epoch == 1
    again = loader(window_bytes=window_bytes)
    again.restore(*states[100])
    for later in seen[100:]:
        assert np.array_equal(again.next().positions, later)


@pytest.mark.parametrize('window_bytes', [SMALL, LARGE])
@pytest.mark.parametrize(('processes', 'group'), [(2, 1), (3, 2)])
def test_processes_share_a_batch_and_read_no_more_than_their_own(processes, group, window_bytes):
    whole, pairs = loader(count=12, window_bytes=window_bytes), [Numbered() for _ in range(processes)]
    parts = [loader(p, 12, Share(k, processes, group), window_bytes) for k, p in enumerate(pairs)]
    for part in parts:
        part.restore(0, 60)
    whole.restore(0, 60)
    # An epoch has a rest that fills no batch: nobody reads it.
    for _ in range(80):
        wanted, found = whole.next(), [p.next() for p in parts]
        rows = np.concatenate([f.rows for f in found])
        assert np.array_equal(np.sort(rows), np.arange(12))
        assert len({len(f.rows) for f in found}) == 1
        positions = np.concatenate([f.positions for f in found])
        assert np.array_equal(positions[np.argsort(rows)], wanted.positions)
        for f in found:
            assert np.array_equal(f.pairs.noisy[:, 0, 0, 0], f.positions)
            assert all((f.rows // group == r // group).sum() == group for r in f.rows)
    if window_bytes == SMALL:
        read = [sum(p.reads) for p in pairs]
        # 80 batches, and windows read ahead.
        assert max(read) <= (80 * 12 + 2 * 128) / processes + 12


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(InputError, match='multiple of 6, such as 18'):
        Share(0, 3, 2).require(20)
    Share(0, 3, 2).require(24)
    Share(0, 1, 2).require(5)
    with pytest.raises(InputError, match='cannot be shared among 4'):
        PairLoader(Numbered(), np.arange(3), 1, 8, share=Share(0, 4))


def test_loader_of_a_small_set_reads_it_once():
    pairs = Numbered()
    feed = PairLoader(pairs, np.arange(50), 1, 8)
    for _ in range(30):
        feed.next()
    assert pairs.reads == [50]
