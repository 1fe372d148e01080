"""Progressive growing (appendix 5.4, after Karras et al. 2018): an encoder, a generator and a critic that
grow.

Five stages, from a sixteenth of the box to the full box. A growing generator still gives, and a growing
critic still takes, images of the full box: below the last stage the output is enlarged by pixel
repetition, and the critic averages over the same pixels. Training therefore only has to call
`Networks.set_stage`.

Of the original's devices, pixel normalisation and fading are here; minibatch statistics are not, because
they couple the images of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..shapes import Tensor
from . import register
from .layers import down, initialise

STAGES = 5


@register('pggan')
def build(width: int = 32) -> tuple[nn.Module, nn.Module]:
    """width: channels at full resolution; twice as many at each halving, 8 times at most."""
    # From the smallest stage to the full box.
    channels = tuple(width * f for f in (8, 8, 4, 2, 1))
    return Generator(channels), Critic(channels)


class Growing(nn.Module):
    """Keeps the stage in the state dict, as an integer, so that averaging of weights leaves it alone; and beside it
    as a plain number, since to read a tensor is to wait for its device."""

    multiple, stages = 2 ** (STAGES - 1), STAGES
    grown: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Thousandths of a stage: 1000 * (stage - 1 + alpha).
        self._grown = 1000 * (STAGES - 1)
        self.register_buffer('grown', torch.tensor(self._grown))

    def set_stage(self, stage: int, alpha: float) -> None:
        """See Networks.set_stage. Stage 0 has nothing to fade from."""
        self._grown = round(1000 * (stage - 1 + alpha)) if stage else 0
        self.grown.fill_(self._grown)

    def stage(self) -> tuple[int, float]:
        """(stage, alpha)."""
        stage = -(-self._grown // 1000)
        return stage, (self._grown - 1000 * (stage - 1)) / 1000 if stage else 1.0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._grown = int(self.grown)


class Generator(Growing):
    """[B, 1, N, N] standardised particles -> [B, 1, N, N] network units, N a multiple of 16."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        inner = channels[-2::-1]
        self.encoder = nn.Sequential(
            *(nn.Sequential(down(i, o), nn.LeakyReLU(0.2)) for i, o in zip((1, *inner), inner))
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1),
                nn.LeakyReLU(0.2),
                PixelNorm(),
                nn.Conv2d(o, o, 3, padding=1),
                nn.LeakyReLU(0.2),
                PixelNorm(),
            )
            for i, o in zip((channels[0], *channels), channels)
        )
        self.images = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)
        initialise(self)

    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Every resolution starts at the references' mean image value, not at noise that it must unlearn first."""
        # Measured, toy set of 2,000 pairs of 32 px, last stage only, error in units of the references' variance after
        # 100, 200 and 400 steps of 16: 1.08, 0.81, 0.29 without, 0.47, 0.33, 0.23 with.
        with torch.no_grad():
            for layer in self.images:
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                layer.weight.zero_()
                layer.bias.fill_(clean.mean())

    def forward(self, x: Tensor) -> Tensor:
        stage, alpha = self.stage()
        box, x = x.shape[-1], self.encoder(x)
        previous = x
        for k in range(stage + 1):
            previous, x = x, self.blocks[k](x if k == 0 else repeat(x, 2))
        image = self.images[stage](x)
        if alpha < 1:
            image = torch.lerp(repeat(self.images[stage - 1](previous), 2), image, alpha)
        return repeat(image, box // image.shape[-1])


class Critic(Growing):
    """[B, 1, N, N] network units -> one score an image [B, 1, 1, 1]."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.images = nn.ModuleList(nn.Sequential(nn.Conv2d(1, c, 1), nn.LeakyReLU(0.2)) for c in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, i, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(i, o, 3, padding=1),
                nn.LeakyReLU(0.2),
            )
            for i, o in zip(channels, (channels[0], *channels))
        )
        self.score = nn.Conv2d(channels[0], 1, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        stage, alpha = self.stage()
        x = functional.avg_pool2d(x, 2 ** (STAGES - 1 - stage))
        features = self.blocks[stage](self.images[stage](x))
        if stage:
            features = functional.avg_pool2d(features, 2)
        if alpha < 1:
            features = torch.lerp(self.images[stage - 1](functional.avg_pool2d(x, 2)), features, alpha)
        for k in range(stage - 1, -1, -1):
            features = self.blocks[k](features)
            if k:
                features = functional.avg_pool2d(features, 2)
        found: Tensor = self.score(features.mean((-2, -1), keepdim=True))
        return found


class PixelNorm(nn.Module):
    """Divide each pixel's channels by their root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def repeat(x: Tensor, factor: int) -> Tensor:
    """Enlarge by pixel repetition."""
    return functional.interpolate(x, scale_factor=factor, mode='nearest') if factor > 1 else x
