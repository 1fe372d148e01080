"""The default: a strided-stem residual network with additive skips, about 1.7 million parameters.

A stem that halves the image at once and 3x3 convolutions on 32 or more channels at half resolution and
below reach most of the processor's convolution peak. Without normalisation layers: nothing couples the
images of a batch, and training and inference are the same function. Each residual branch ends in zeros,
so that a fresh network is near-linear and takes large steps.
"""

import torch
from torch import nn

from . import register
from .layers import down, initialise, up

BLOCKS = (1, 2, 2, 2)


@register('residual')
def build(width=32):
    """width: channels at half resolution; 2, 4 and 4 times that at a quarter, an eighth and a sixteenth."""
    return Generator(width), Discriminator(width)


class Block(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))): the skip path is the identity throughout."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class Generator(nn.Module):
    """[B, 1, N, N] standardised particles -> [B, 1, N, N] network units, N a multiple of 16."""

    multiple = 16

    def __init__(self, width):
        super().__init__()
        channels = (width, 2 * width, 4 * width, 4 * width)
        self.downs = nn.ModuleList(down(i, o) for i, o in zip((1, *channels), channels))
        self.encode = nn.ModuleList(_blocks(c, n) for c, n in zip(channels, BLOCKS))
        self.ups = nn.ModuleList(up(i, o) for i, o in zip(channels[:0:-1], channels[-2::-1]))
        self.decode = nn.ModuleList(_blocks(c, n) for c, n in zip(channels[-2::-1], BLOCKS[-2::-1]))
        self.last = up(width, 1)
        # References vary by a few hundredths of their range; weights of order one must mean steps of that size.
        self.register_buffer('mean', torch.zeros(1))
        self.register_buffer('spread', torch.ones(1))
        initialise(self)
        for block in self.modules():
            if isinstance(block, Block):
                nn.init.zeros_(block.second.weight)
        # The skips add up to ten times the wanted output: fresh networks that overshoot so far die in a few steps.
        self.last.weight.data.mul_(0.1)

    def forward(self, x):
        kept = []
        for halve, blocks in zip(self.downs, self.encode):
            x = blocks(halve(x))
            kept.append(x)
        kept.pop()
        for double, blocks in zip(self.ups, self.decode):
            x = blocks(double(x) + kept.pop())
        return self.mean + self.spread * self.last(torch.relu(x))

    def initialise(self, noisy, clean):
        """Take the grey scale of the output from the references, instead of learning it."""
        self.mean.fill_(clean.mean())
        self.spread.fill_(clean.std())


def _blocks(channels, count):
    return nn.Sequential(*(Block(channels) for _ in range(count)))


class Discriminator(nn.Module):
    """[B, 1, N, N] network units -> scores [B, 1, N/8, N/8]; no normalisation across images."""

    multiple = 8

    def __init__(self, width):
        super().__init__()
        layers, previous = [], 1
        for channels in (width, 2 * width, 4 * width):
            layers += [down(previous, channels), nn.GroupNorm(1, channels), nn.LeakyReLU(0.2, inplace=True)]
            previous = channels
        layers += [nn.Conv2d(previous, previous, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, 1, 3, padding=1))
        initialise(self)

    def forward(self, x):
        return self.layers(x)
