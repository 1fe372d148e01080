"""Pairs kept out of training, and how well a generator does on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn

from ..data.sampling import chunks, evenly_spread
from ..metrics import tensor_metrics
from ..processes import summed
from ..random_fields import RandomRows
from ..settings.pairs import SelfSupervision
from ..shapes import Rows, Tensor
from . import blind_spots
from .interfaces import FreshSource, TrainingPairs
from .loading import Pairs, read
from .losses import Rule
from .recorruption import recorrupted

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# What is measured at each evaluation: enough for a mean within 1 %, and little beside a training interval.
LARGEST_COUNT, LARGEST_BYTES = 2000, 2**28
# Draw of new noise for it, which no batch has.
VALIDATION_DRAW = 2**31


class Validation(Protocol):
    """A fixed set of pairs, shared among the processes."""

    # Pairs of all processes.
    count: int

    def scores(self, generator: nn.Module, discriminator: nn.Module | None, rule: Rule | None) -> dict[str, float]:
        """{'mse': error of the generator's images in network units, ...}; the same for all processes."""


class ReferenceValidation:
    """Validation against references.

    fresh: what is known of the noise, where what is shown are replicates of the particles (`replicates`): a reference
    at an imperfect angle is no truth for its particle, and the error from it falls when an output shows less than the
    particle does. It is the truth of its replicate.
    """

    NAMES = ('mse', 'psnr', 'ssim')

    def __init__(
        self,
        pairs: TrainingPairs,
        positions: Rows,
        fabric: Fabric,
        batch_size: int,
        fresh: FreshSource | None = None,
    ) -> None:
        self.count, rows, others = _share(pairs, positions, fabric)
        self._fabric, self._batch_size = fabric, batch_size
        # There may be fewer pairs than processes, and transforms of no images there are not.
        if fresh is None or not len(rows):
            self._pairs = read(pairs, positions[rows], fabric.device)
        else:
            self._pairs = replicates(pairs, positions[rows], positions[others], fresh, fabric.device)

    def scores(self, generator: nn.Module, discriminator: nn.Module | None, rule: Rule | None) -> dict[str, float]:
        """Mean mse, psnr and ssim (data range 1) of the generator's images in network units; with a discriminator
        also d_real and d_fake: its mean belief sigmoid(score) that references and denoised images are real, or where
        the rule knows no probability (WGAN) its mean score."""
        names = self.NAMES if discriminator is None else (*self.NAMES, 'd_real', 'd_fake')
        # A process without any pairs has sums of the same length.
        sums = torch.zeros(len(names), dtype=torch.float64, device=self._fabric.device)
        with evaluating(generator, discriminator):
            for rows in chunks(len(self._pairs.noisy), self._batch_size):
                part = self._pairs[rows]
                with self._fabric.autocast():
                    denoised = generator(part.noisy).float()
                    judged = () if discriminator is None else (part.clean, denoised)
                    answers = [discriminator(x).float() for x in judged] if discriminator is not None else []
                if rule is not None and rule.probability:
                    answers = [torch.sigmoid(z) for z in answers]
                found = tensor_metrics.compare(denoised[:, 0], part.clean[:, 0], 1.0)
                beliefs = [z.flatten(1).mean(1).double() for z in answers]
                sums += torch.stack([x.sum() for x in (*(found[k] for k in self.NAMES), *beliefs)])
        return {k: v / self.count for k, v in zip(names, summed(self._fabric, sums).tolist())}


def replicates(pairs: TrainingPairs, positions: Rows, others: Rows, fresh: FreshSource, device: torch.device) -> Pairs:
    """The pairs at these positions, each particle its reference under the noise of the particle at the same place of
    ``others``; under new noise where no other particle can have it. Pure functions of both positions."""
    own = read(pairs, positions, device)
    if fresh.noise_shows_ctf:
        noise = fresh.renew(VALIDATION_DRAW, positions, positions, 1.0)
    else:
        theirs = read(pairs, others, device)
        left = theirs.noisy[:, :1] - fresh.without_noise(others, theirs.clean)
        noise = fresh.as_noise(VALIDATION_DRAW, others, left)
    shown = fresh.without_noise(positions, own.clean) + noise
    return Pairs(torch.cat([shown, own.noisy[:, 1:]], 1), own.clean)


class NoisyValidation:
    """Validation against noisy images, for targets self and copies: their mean squared distance to the output less
    the variance of their noise estimates the error (mse); psnr and ssim would compare with noise.

    alone: how pairs of kind ``self`` are made, always the same ones; blind spots are measured where pixels are hidden.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        positions: Rows,
        fabric: Fabric,
        batch_size: int,
        alone: SelfSupervision,
        seed: int,
    ) -> None:
        self.count, rows, _ = _share(pairs, positions, fabric)
        self._fabric, self._batch_size, self._noise = fabric, batch_size, pairs.target_noise
        found = read(pairs, positions[rows], fabric.device)
        self.noisy, self._clean = found.noisy, found.clean
        self.counted = torch.ones_like(self._clean, dtype=torch.bool)
        # Sum of what is known of the squared distances, whatever the output.
        self._known = torch.zeros((), dtype=torch.float64, device=fabric.device)
        if pairs.kind == 'self':
            rng = RandomRows(seed, 'blind spots', 2**31, rows, fabric.device)
            if alone.self_supervision == 'blind-spots':
                self.noisy, self.counted = blind_spots.hide(self.noisy, alone.hidden_pixels, rng)
            else:
                self._recorrupt(pairs, alone.recorruption, rng)
        else:
            self._known += pairs.known(positions[rows])

    def _recorrupt(self, pairs: TrainingPairs, strength: float, rng: RandomRows) -> None:
        unit, before = pairs.scale.unit_scale, _power(self._clean)
        sd = pairs.target_noise**0.5 / unit
        self.noisy, self._clean = recorrupted(self.noisy, self._clean, strength, sd, unit, rng)
        self.counted = torch.cat([self.counted, self.counted])
        # The noise that was taken away from the targets is known, not only its variance.
        self._known = _power(self._clean) - 2 * before

    def scores(self, generator: nn.Module, discriminator: nn.Module | None, rule: Rule | None) -> dict[str, float]:
        """{'mse'}: estimated error of the generator's images in network units."""
        sums = torch.zeros(2, dtype=torch.float64, device=self._fabric.device)
        sums[0] -= self._known
        with evaluating(generator):
            for rows in chunks(len(self.noisy), self._batch_size):
                with self._fabric.autocast():
                    denoised = generator(self.noisy[rows]).float()
                counted = self.counted[rows]
                squares = (denoised - self._clean[rows]).square() * counted
                sums += torch.stack([squares.sum(dtype=torch.float64), counted.sum(dtype=torch.float64)])
        total, count = summed(self._fabric, sums).tolist()
        return {'mse': total / count - self._noise}


def _power(images: Tensor) -> Tensor:
    return images.square().sum(dtype=torch.float64)


def _share(pairs: TrainingPairs, positions: Rows, fabric: Fabric) -> tuple[int, Rows, Rows]:
    """(number of pairs that are measured by all processes together; places among the positions of this process's, and
    of another pair for each of these, whichever process measures it)."""
    most = min(LARGEST_COUNT, max(2, LARGEST_BYTES // (8 * pairs.box**2)))
    measured = evenly_spread(len(positions), most)
    mine = slice(fabric.global_rank, None, fabric.world_size)
    return len(measured), measured[mine], np.roll(measured, 1)[mine]


@contextmanager
def evaluating(*modules: nn.Module | None) -> Iterator[None]:
    """Modules in evaluation mode, without gradients; afterwards in the mode in which they were."""
    there = [m for m in modules if m is not None]
    modes = [m.training for m in there]
    try:
        with torch.no_grad():
            for m in there:
                m.eval()
            yield
    finally:
        for m, mode in zip(there, modes):
            m.train(mode)


def open_validation(
    pairs: TrainingPairs,
    positions: Rows,
    fabric: Fabric,
    batch_size: int,
    alone: SelfSupervision,
    seed: int,
    fresh: FreshSource | None = None,
) -> Validation:
    """The Validation of a data set, read to the device. fresh: see `ReferenceValidation`."""
    if pairs.kind == 'references':
        return ReferenceValidation(pairs, positions, fabric, batch_size, fresh)
    return NoisyValidation(pairs, positions, fabric, batch_size, alone, seed)
