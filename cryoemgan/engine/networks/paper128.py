"""The ResNet of the paper (Gu et al. 2020, figure 4) for 128 px: 4,195,843 and 2,803,393 parameters."""

from __future__ import annotations

from torch import nn

from . import register
from .layers import EncoderDecoder, PatchDiscriminator, Residual, down, norm


@register('paper128')
def build(width: int = 64, norm_discriminator: str = 'batch') -> tuple[nn.Module, nn.Module]:
    """width: channels of the first level. norm_discriminator: batch (the paper) or group (for WGAN-GP)."""
    channels = (width, 2 * width, 4 * width)
    generator = EncoderDecoder(channels, (3, 3, 3), (3, 3), _block, skips=True)
    return generator, _discriminator(channels, norm_discriminator)


def _block(channels: int, kind: str = 'batch') -> Residual:
    # One convolution only, in the authors' scripts.
    return Residual(nn.Conv2d(channels, channels, 3, padding=1), norm(kind, channels))


def _discriminator(channels: tuple[int, ...], kind: str) -> PatchDiscriminator:
    layers: list[nn.Module] = []
    previous = 1
    for width, count in zip(channels, (2, 2, 3)):
        layers += [down(previous, width), norm(kind, width), nn.ReLU(inplace=True)]
        layers += [_block(width, kind) for _ in range(count)]
        previous = width
    # 13 x 13 scores at 128 px.
    return PatchDiscriminator(*layers, nn.Conv2d(previous, 1, 4))
