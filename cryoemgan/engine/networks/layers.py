"""Pieces that the paper's networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from ..errors import InputError
from ..shapes import Tensor

AnyModule = TypeVar('AnyModule', bound=nn.Module)


def down(inputs: int, outputs: int) -> nn.Conv2d:
    """4x4 convolution that halves the side."""
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """4x4 transposed convolution that doubles the side."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def norm(kind: str, channels: int) -> nn.Module:
    """Normalisation layer: ``batch``, or ``group`` (at most 8 groups), with the same number of parameters.

    InputError for another kind.

    Batch statistics mix the scores of different images. That is what the paper's scripts do, but the gradient
    penalty is a statement about single images: use group for WGAN-GP.
    """
    if kind == 'batch':
        return nn.BatchNorm2d(channels)
    if kind != 'group':
        raise InputError(f'norm_discriminator: {kind!r} is not batch or group')
    groups = max(g for g in range(1, 9) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class Residual(nn.Module):
    """ReLU(x + body(x))."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.activation(self.body(x) + x)
        return found


def initialise(module: AnyModule) -> AnyModule:
    """He's initialisation of every convolution, for layers before a ReLU; biases zero. Returns the module."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # A transposed convolution stores (in, out): its fan_out is the number of inputs to an output
            # pixel, times the stride squared.
            transposed = isinstance(layer, nn.ConvTranspose2d)
            nn.init.kaiming_normal_(layer.weight, mode='fan_out' if transposed else 'fan_in', nonlinearity='relu')
            if transposed:
                layer.weight.data.mul_(layer.stride[0])
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return module


class EncoderDecoder(nn.Module):
    """The paper's generator: levels that halve the image, and levels that double it again, with additive
    skips.

    channels: width of each level. before, after: number of residual blocks of each level on the way down
    and up (``after`` from the deepest inner level to the first; one shorter). block(C): makes one. skips:
    add the level's output on the way down before the ReLU of the level on the way up. last: the layer that
    gives the image.
    """

    def __init__(
        self,
        channels: Sequence[int],
        before: Sequence[int],
        after: Sequence[int],
        block: Callable[[int], nn.Module],
        skips: bool,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.multiple, self.skips = 2 ** len(channels), skips
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for previous, width, count in zip((1, *channels), channels, before):
            self.downs.append(
                nn.Sequential(
                    down(previous, width),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    *(block(width) for _ in range(count)),
                )
            )
        inner = channels[::-1]
        for previous, width, count in zip(inner, inner[1:], after):
            blocks = nn.Sequential(nn.ReLU(inplace=True), *(block(width) for _ in range(count)))
            self.ups.append(nn.ModuleList([nn.Sequential(up(previous, width), nn.BatchNorm2d(width)), blocks]))
        self.last: Any = last or nn.Sequential(up(channels[0], 1), nn.BatchNorm2d(1), nn.Tanh())
        initialise(self)

    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Start at the references' mean and spread: two numbers, which took hundreds of steps to get there."""
        # The last layers are batch norm of one channel, of mean 0 and s.d. 1 before training, and tanh.
        with torch.no_grad():
            self.last[1].weight.fill_(clean.std())
            self.last[1].bias.fill_(torch.atanh(clean.mean().clamp(-0.9, 0.9)))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level in self.downs:
            x = level(x)
            kept.append(x)
        kept.pop()
        for level in self.ups:
            double, blocks = cast(nn.ModuleList, level)
            x, skip = double(x), kept.pop()
            x = blocks(x + skip if self.skips else x)
        found: Tensor = self.last(x)
        return found


class PatchDiscriminator(nn.Module):
    """A stack of layers whose output is one score a patch; takes multiples of 8 px from ``smallest`` up."""

    def __init__(self, *layers: nn.Module, multiple: int = 8, smallest: int = 32) -> None:
        super().__init__()
        self.multiple, self.smallest = multiple, smallest
        self.layers = nn.Sequential(*layers)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found
