"""The paper's convolutional pair without residual blocks (appendix 5.3): 5.51 and 2.76 million parameters."""

from __future__ import annotations

from torch import nn

from . import register
from .layers import EncoderDecoder, PatchDiscriminator, down


@register('plain')
def build(width: int = 64) -> tuple[nn.Module, nn.Module]:
    """width: channels of the first of four levels (64, 128, 256, 512)."""
    channels = tuple(width * f for f in (1, 2, 4, 8))
    generator = EncoderDecoder(channels, (0,) * 4, (0,) * 3, block=nn.Identity, skips=False)
    layers: list[nn.Module] = []
    for previous, level in zip((1, *channels), channels):
        layers += [down(previous, level), nn.LeakyReLU(0.2, inplace=True)]
    # 5 x 5 scores at 128 px; 64 px is the least that leaves one.
    return generator, PatchDiscriminator(*layers, nn.Conv2d(channels[-1], 1, 4), multiple=16, smallest=64)
