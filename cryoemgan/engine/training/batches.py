"""The data path: which pairs an optimiser step sees, and how they are changed for it.

Real pairs come from the loader, fresh ones from their source; noise is weakened and exchanged, pairs are moved, pixels
are hidden: on the device, while the host draws the few numbers that say how. Everything random is a function of (seed,
number of the batch, row), so that each process prepares its own rows only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..devices import to_device
from ..random_fields import RandomRows
from ..random_streams import generator
from ..settings.pairs import Augmentation, SelfSupervision
from ..shapes import Json, Rows, Tensor
from . import augmentation, blind_spots
from .interfaces import FreshSource, TrainingPairs
from .loading import PairLoader, Pairs, Taken
from .recorruption import recorrupted
from .shares import Share

# Rows exchange their noise in twos; each copy is the target as often as the other.
TWO, HALF = 2, 0.5


@dataclass(frozen=True)
class Batch:
    """Pairs as the networks see them, on their device; a process's rows of a batch.

    rows: which they are. noisy: [n, C, N, N]; recorrupted ones come twice. clean: [n, 1, N, N]. counted: bool
    [n, 1, N, N], the pixels that the reconstruction counts, or None for all.
    """

    rows: Rows
    noisy: Tensor
    clean: Tensor
    counted: Tensor | None


@dataclass(frozen=True)
class Dice:
    """What is random in each row of a batch, but for images of noise; drawn for all rows, kept for some, on the device.

    moves: int64 [n, 3] of the pair. noise_moves: int64 [n, 3] of the noise that it gets. exchanged: bool [n], whether
    it gets any. swapped: bool [n], whether the two copies change their roles.
    """

    moves: Tensor
    noise_moves: Tensor
    exchanged: Tensor
    swapped: Tensor

    @classmethod
    def throw(cls, seed: int, number: int, count: int, rows: Rows, how: Augmentation, device: torch.device) -> Dice:
        """Those of ``rows`` of batch ``number``, which has ``count`` rows."""
        rng = generator(seed, 'augmentation', number)
        moves = augmentation.draw_moves(rng, count, how.turns, how.shift)
        noise_moves = augmentation.draw_moves(rng, count, how.turns, 0)
        chances = rng.random((count, 2)) < (how.exchange_noise, HALF)
        # One journey to the device.
        dice = to_device(np.concatenate([moves, noise_moves, chances], axis=1)[rows], device)
        return cls(dice[:, :3], dice[:, 3:6], dice[:, 6] > 0, dice[:, 7] > 0)


def noise_level(progress: float, curriculum: float) -> float:
    """S.d. of the noise, in units of the data's, at progress 0..1: from 0.25 to 1 over the part ``curriculum``."""
    return 1.0 if not curriculum else min(1.0, 0.25 + 0.75 * progress / curriculum)


def group_of_rows(how: Augmentation) -> int:
    """How many neighbours of a batch need one another."""
    return TWO if how.exchange_noise else 1


class Batches:
    """Batches without end, each process with its share of every one.

    The first rows of a batch are real pairs, the last ones fresh.

    Parameters
    ----------
    pairs, positions
        The set, and which of it.
    fresh : FreshSource or None
        Needed for fresh pairs and for changes of the noise.
    how : Augmentation
        How pairs are moved and their noise is changed.
    fresh_fraction : float
        Part of every batch that is fresh.
    alone : SelfSupervision
        How pairs of kind ``self`` are made.
    seed : int
        Of everything random.
    size : int
        Pairs a batch, all processes together.
    share : Share
        Rows of this process.
    device : torch.device
        Where they are wanted.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        positions: Rows,
        fresh: FreshSource | None,
        how: Augmentation,
        fresh_fraction: float,
        alone: SelfSupervision,
        seed: int,
        size: int,
        share: Share,
        device: torch.device,
    ) -> None:
        self.pairs, self.fresh, self.how, self.alone = pairs, fresh, how, alone
        self.seed, self.size, self.share, self.device = seed, size, share, device
        share.require(size)
        if fresh is not None:
            fresh.to(device)
        recycled = fresh is not None and fresh.takes_references
        self._fresh_count = round(fresh_fraction * size)
        wanted = size if recycled else size - self._fresh_count
        self.loader = PairLoader(pairs, positions, seed, wanted, how.shuffle, share, device)
        self._real_count = self.loader.count
        if recycled:
            # A set smaller than a batch is shared out as a batch is.
            self._fresh_count = round(fresh_fraction * self.loader.count)
            self._real_count -= self._fresh_count
        self._real_rows = share.rows(0, self._real_count)
        self._fresh_rows = share.rows(self._real_count, self._real_count + self._fresh_count)
        self.rows = np.concatenate([self._real_rows, self._fresh_rows])
        # The other one of two; the last row of an odd number has none.
        partner = np.minimum(self._real_rows ^ 1, self._real_count - 1)
        self._partner = to_device(np.searchsorted(self._real_rows, partner), device)
        self._has_partner = to_device(partner != self._real_rows, device)
        self.number = 0
        # Of the noise in the latest batch, units of the data's.
        self.level = noise_level(0.0, how.noise_curriculum)

    def next(self, progress: float) -> Batch:
        """The next batch at ``progress`` (0..1) of the run."""
        self.level = noise_level(progress, self.how.noise_curriculum)
        dice = Dice.throw(self.seed, self.number, self.size, self.rows, self.how, self.device)
        pairs = self._shown(self.level, dice)
        pixels = augmentation.sources(dice.moves, self.pairs.box)
        noisy, clean = augmentation.take(pairs.noisy, pixels), augmentation.take(pairs.clean, pixels)
        if self.pairs.shows_ctf and self.how.shift:
            # A CTF turns with its particle, and stays where the particle is shifted.
            turns = dice.moves * dice.moves.new_tensor([1, 0, 0])
            noisy[:, 1:] = augmentation.move(pairs.noisy[:, 1:], turns)
        counted = None
        if self.pairs.kind == 'self':
            noisy, clean, counted = self._of_itself(noisy, clean)
        elif self.pairs.kind == 'copies':
            noisy, clean = self._exchange_copies(noisy, clean, dice.swapped)
        self.number += 1
        return Batch(self.rows, _for_networks(noisy), _for_networks(clean), counted)

    def _shown(self, level: float, dice: Dice) -> Pairs:
        """Real and fresh pairs, their noise at ``level``."""
        parts = []
        taken = self.loader.next() if self.loader.count else None
        if taken is not None and len(self._real_rows):
            parts.append(self._with_noise(taken.part(0, len(self._real_rows)), level, dice))
        if len(self._fresh_rows):
            assert self.fresh is not None
            references = None
            if self.fresh.takes_references:
                assert taken is not None
                rest = taken.part(len(self._real_rows), len(self.rows))
                references = rest.positions, rest.pairs.clean
            rows = self._fresh_rows - self._real_count
            parts.append(Pairs(*self.fresh.draw(self.number, self._fresh_count, rows, level, references)))
        return Pairs.joined(parts)

    def _with_noise(self, taken: Taken, level: float, dice: Dice) -> Pairs:
        """Real pairs, their noise weakened to ``level`` and exchanged."""
        noisy, known, clean = taken.pairs.noisy[:, :1], taken.pairs.noisy[:, 1:], taken.pairs.clean
        if level == 1 and not self.how.exchange_noise:
            return taken.pairs
        assert self.fresh is not None
        pure = self.fresh.without_noise(taken.positions, clean)
        left = noisy - pure
        noisy = torch.add(pure, left, alpha=level)
        if self.how.exchange_noise:
            count = len(noisy)
            chosen = dice.exchanged[:count] & self._has_partner
            # Rows beyond those of the draw of fresh pairs.
            rows = self._real_rows + self.size
            if self.fresh.noise_shows_ctf:
                new = self.fresh.renew(self.number, rows, taken.positions, level)
                noisy = torch.where(chosen[:, None, None, None], pure + new, noisy)
            else:
                noise = level * self.fresh.as_noise(self.number, rows, left)
                noisy = augmentation.exchange_noise(noisy, pure, noise, self._partner, chosen, dice.noise_moves[:count])
        return Pairs(torch.cat([noisy, known], 1), clean)

    def _of_itself(self, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(what is shown of particles, what is wanted, pixels that count)."""
        rng = RandomRows(self.seed, 'blind spots', self.number, self.rows, self.device)
        if self.alone.self_supervision == 'recorruption':
            unit = self.pairs.scale.unit_scale
            sd = self.pairs.target_noise**0.5 / unit
            return *recorrupted(noisy, clean, self.alone.recorruption, sd, unit, rng), None
        hidden, counted = blind_spots.hide(noisy, self.alone.hidden_pixels, rng)
        return hidden, clean, counted

    def _exchange_copies(self, noisy: Tensor, clean: Tensor, swapped: Tensor) -> tuple[Tensor, Tensor]:
        """Each copy is the target as often as the other."""
        a, b = self.pairs.scale.signal()
        swapped = swapped[:, None, None, None]
        return torch.where(swapped, a * clean + b, noisy), torch.where(swapped, (noisy - b) / a, clean)

    # State

    def state(self) -> Json:
        """What the next batch depends on, and the level of the latest."""
        return {
            'draws': self.number, 'level': self.level, 'epoch': self.loader.epoch, 'offset': self.loader.offset,
        }  # fmt: skip

    def restore(self, state: Json) -> None:
        """Go on from `state`."""
        self.number, self.level = state['draws'], state.get('level', self.level)
        self.loader.restore(state['epoch'], state['offset'])


def _for_networks(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
