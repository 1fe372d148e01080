"""Multilayer perceptron on steerable principal components: sees the whole particle at once.

At a signal-to-noise ratio of 0.1 only evidence from the whole image tells what a particle is; a convolution collects
it slowly. The network starts as the Wiener filter of its components and learns what is left.
"""

from torch import nn
from torch.nn import functional

from . import register
from .components import Components
from .residual import discriminator


@register('basis')
def build(box, rank=512, width=1536, blocks=3):
    """rank: components. width: of the hidden layers; blocks: residual blocks of two layers."""
    return Generator(box, rank, width, blocks), discriminator((32, 64, 128))


class Block(nn.Module):
    """x + second(GELU(first(norm(x)))); the identity at first."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(functional.gelu(self.first(self.norm(x))))


class Generator(nn.Module):
    """[B, 1, N, N] standardised particles -> [B, 1, N, N] network units, N = box."""

    multiple = 2

    def __init__(self, box, rank, width, blocks):
        super().__init__()
        self.components = Components(box, rank)
        self.first = nn.Linear(rank, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)), nn.LayerNorm(width))
        self.last = nn.Linear(width, rank)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images):
        c = self.components
        noisy = c.analyse(images).float() - c.centre
        correction = self.last(self.blocks(self.first(noisy / c.size_noisy.clamp_min(1e-6)))).float()
        return c.synthesise(c.wiener * noisy + c.size_clean * correction)

    def initialise(self, noisy, clean):
        """Components and Wiener filter of the training pairs."""
        self.components.fit(noisy, clean)
