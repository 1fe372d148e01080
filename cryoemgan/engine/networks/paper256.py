"""The authors' ResNet for 256 px: 78,840,579 and 20,693,441 parameters at width 64."""

from __future__ import annotations

from torch import nn

from . import register
from .layers import EncoderDecoder, PatchDiscriminator, Residual, down, norm


@register('paper256')
def build(width: int = 64, norm_discriminator: str = 'batch') -> tuple[nn.Module, nn.Module]:
    """width: channels of the first level. norm_discriminator: batch (the authors) or group (for WGAN-GP)."""
    channels = tuple(width * f for f in (1, 2, 4, 8, 8, 8))
    generator = EncoderDecoder(channels, (3, 3, 3, 3, 2, 0), (2, 3, 3, 3, 3), _block, skips=True)
    return generator, _discriminator(channels[:4], norm_discriminator)


def _same(inputs: int, outputs: int) -> nn.Sequential:
    # A 4x4 convolution that keeps the size, padded as TensorFlow's SAME: one row before, two after.
    return nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(inputs, outputs, 4))


def _block(channels: int, kind: str = 'batch') -> Residual:
    layers: list[nn.Module] = []
    for convolution in (
        nn.Conv2d(channels, channels, 1),
        _same(channels, channels),
        nn.Conv2d(channels, channels, 1),
    ):
        layers += [convolution, norm(kind, channels), nn.ReLU(inplace=True)]
    return Residual(*layers[:-1])


def _discriminator(channels: tuple[int, ...], kind: str) -> PatchDiscriminator:
    layers: list[nn.Module] = []
    previous = 1
    for width, count in zip(channels, (2, 2, 3, 2)):
        convolution = _same(previous, width) if width == channels[-1] else down(previous, width)
        layers += [convolution, norm(kind, width), nn.ReLU(inplace=True)]
        layers += [_block(width, kind) for _ in range(count)]
        previous = width
    layers += [nn.Conv2d(previous, previous, 4), norm(kind, previous), nn.ReLU(inplace=True)]
    # 26 x 26 scores at 256 px; below 56 px the two valid convolutions would leave nothing.
    return PatchDiscriminator(*layers, nn.Conv2d(previous, 1, 4), smallest=56)
