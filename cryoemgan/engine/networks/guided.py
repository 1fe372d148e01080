"""A small residual network that corrects the posterior of a map prior (see engine/posterior/map_prior.py).

It sees the noisy image, the posterior mean, its s.d. and the probability that there is a particle, and starts as the
identity on the posterior mean: it learns what to keep from the particle and when not to trust the templates. Its
correction counts as much as the particle is likely to be there: before that a network trained for 60 iterations put a
mean image of a quarter of a particle's energy where the map prior said that there was nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import silu

from ..shapes import Tensor
from . import register, residual
from .layers import down, initialise, up

CHANNELS = 4  # particle, mean, s.d., presence


@register('guided')
def build(width: int = 32, blocks: int = 4) -> tuple[nn.Module, nn.Module]:
    """width: channels at half resolution, twice that at a quarter. blocks: residual blocks at each."""
    return Generator(width, blocks), residual.build(width)[1]


class Block(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))): the skip path is the identity throughout. ReLU died in the first steps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.second(silu(self.first(silu(x))))
        return found


class Generator(nn.Module):
    """[B, 4, N, N]: standardised particle; mean and s.d. in network units; presence 0..1 -> [B, 1, N, N].

    With one channel (the particle alone) it works without a map prior.
    """

    multiple = 16
    guided = True
    grey: Tensor

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = down(CHANNELS, width)
        self.fine = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.halve = down(width, 2 * width)
        self.coarse = nn.Sequential(*(Block(2 * width) for _ in range(blocks)))
        self.enlarge = up(2 * width, width)
        self.merge = nn.Sequential(*(Block(width) for _ in range(blocks // 2)))
        self.last = up(width, 1)
        # Grey scale of the references: mean, s.d.
        self.register_buffer('grey', torch.tensor([0.0, 1.0]))
        initialise(self)
        for block in self.modules():
            if isinstance(block, Block):
                nn.init.zeros_(block.second.weight)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        centre, spread = self.grey
        present = x[:, 3:4] if x.shape[1] == CHANNELS else 1.0
        if x.shape[1] == 1:
            # Nobody to ask: no particle is the safe answer.
            x = torch.cat([x, centre.expand_as(x), torch.zeros_like(x), torch.zeros_like(x)], 1)
        mean = x[:, 1:2]
        shown = (mean - centre) / spread
        # The s.d. is a few per cent of the contrast.
        seen = torch.cat([x[:, :1], shown, 10 * x[:, 2:3] / spread, x[:, 3:4]], 1)
        fine = self.fine(self.stem(seen))
        fine = self.merge(fine + self.enlarge(self.coarse(self.halve(fine))))
        found: Tensor = mean + 0.3 * spread * present * self.last(silu(fine))
        return found

    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Take the grey scale from the references."""
        self.grey.copy_(torch.stack([clean.mean(), clean.std()]))
