"""The data path: which pairs an optimiser step sees, and how they are changed for it.

Real pairs come from the loader, fresh ones from their source; noise is weakened and exchanged, pairs are moved, pixels
are hidden. Everything random is a function of (seed, number of the batch).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from ..random_streams import generator
from ..settings.pairs import Augmentation
from ..shapes import Json, Rows, Tensor
from . import augmentation, blind_spots
from .interfaces import FreshSource
from .loading import PairLoader


@dataclass(frozen=True)
class Batch:
    """Pairs as the networks see them, on their device.

    noisy: [B, C, N, N]. clean: [B, 1, N, N]. counted: bool [B, 1, N, N], the pixels that the reconstruction counts, or
    None for all.
    """

    noisy: Tensor
    clean: Tensor
    counted: Tensor | None


def noise_level(progress: float, curriculum: float) -> float:
    """S.d. of the noise, in units of the data's, at progress 0..1: from 0.25 to 1 over the part ``curriculum``."""
    return 1.0 if not curriculum else min(1.0, 0.25 + 0.75 * progress / curriculum)


class Batches:
    """Batches without end, each process with its share of every one.

    Parameters
    ----------
    loader : PairLoader
        Real pairs in order.
    fresh : FreshSource or None
        Needed for fresh pairs and for changes of the noise.
    how : Augmentation
        How pairs are moved and their noise is changed.
    fresh_fraction : float
        Part of every batch that is fresh.
    hidden_pixels : float
        Part of the pixels that are hidden, for pairs of kind ``self``.
    seed : int
        Of everything random but the order of the real pairs.
    size : int
        Pairs a batch, all processes together.
    fabric : Fabric
        Device and share of this process.
    """

    def __init__(
        self,
        loader: PairLoader,
        fresh: FreshSource | None,
        how: Augmentation,
        fresh_fraction: float,
        hidden_pixels: float,
        seed: int,
        size: int,
        fabric: Fabric,
    ) -> None:
        self.loader, self.fresh, self.how, self.hidden_pixels = loader, fresh, how, hidden_pixels
        self.seed, self.size, self.fabric = seed, size, fabric
        self.fresh_count = round(fresh_fraction * size)
        self.number = 0

    def next(self, progress: float) -> Batch:
        """The next batch at ``progress`` (0..1) of the run."""
        rng = generator(self.seed, 'augmentation', self.number)
        level = noise_level(progress, self.how.noise_curriculum)
        parts = []
        if self.fresh_count < self.size:
            parts.append(self._real(rng, level))
        if self.fresh_count:
            assert self.fresh is not None
            parts.append(self._moved(*self.fresh.draw(self.number, self.fresh_count, level), rng))
        noisy, clean = (torch.cat(x) for x in zip(*parts))
        counted = None
        if self.loader.pairs.kind == 'self':
            spots = generator(self.seed, 'blind spots', self.number)
            noisy, counted = blind_spots.hide(noisy, self.hidden_pixels, spots)
        elif self.loader.pairs.kind == 'copies':
            noisy, clean = self._exchange_copies(noisy, clean, rng)
        self.number += 1
        return Batch(self._share(noisy), self._share(clean), None if counted is None else self._share(counted))

    def _real(self, rng: np.random.Generator, level: float) -> tuple[Tensor, Tensor]:
        """Pairs of the data, moved, their noise weakened to ``level`` and exchanged."""
        positions, noisy, clean = self.loader.next(self.size - self.fresh_count)
        if level < 1 or self.how.exchange_noise:
            noisy = self._other_noise(positions, noisy, clean, rng, level)
        return self._moved(noisy, clean, rng)

    def _other_noise(
        self, positions: Rows, noisy: Tensor, clean: Tensor, rng: np.random.Generator, level: float
    ) -> Tensor:
        assert self.fresh is not None
        pure = self.fresh.without_noise(positions, clean)
        noisy = pure + level * (noisy - pure)
        if not self.how.exchange_noise:
            return noisy
        return augmentation.exchange_noise(noisy, pure, self.how.exchange_noise, rng, self.how.turns)

    def _moved(self, noisy: Tensor, clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        moves = augmentation.draw_moves(rng, len(noisy), self.how.turns, self.how.shift)
        return augmentation.move(noisy, moves), augmentation.move(clean, moves)

    def _exchange_copies(self, noisy: Tensor, clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Each copy is the target as often as the other."""
        a, b = self.loader.pairs.scale.signal()
        chosen = torch.as_tensor(rng.random((len(noisy), 1, 1, 1)) < 0.5)
        return torch.where(chosen, a * clean + b, noisy), torch.where(chosen, (noisy - b) / a, clean)

    def _share(self, images: Tensor) -> Tensor:
        """This process's share of a batch, on its device."""
        mine = images[self.fabric.global_rank :: self.fabric.world_size]
        return mine.to(self.fabric.device, memory_format=torch.channels_last)

    # State

    def state(self) -> Json:
        """What the next batch depends on."""
        return {'draws': self.number, 'epoch': self.loader.epoch, 'offset': self.loader.offset}

    def restore(self, state: Json) -> None:
        """Go on from `state`."""
        self.number, self.loader.epoch, self.loader.offset = state['draws'], state['epoch'], state['offset']
