"""Rotation-equivariant network on steerable principal components; no convolution over the image.

A turn of the particle multiplies its components of angular frequency m by exp(i m angle). So the first layer
correlates the particle with learned patterns at all in-plane angles at once: linear in each frequency, then a Fourier
series over the angle. Nonlinearities act on these functions of the angle, hidden layers mix channels within each
frequency, and the output turns as the particle did: every weight serves all angles, and no training image has to be
turned. The network starts as the Wiener filter of its components.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from . import register
from .residual import discriminator
from .steerable import FREQUENCIES, RADIAL, Components

ANGLES = 64


@register('equivariant')
def build(box, rank=512, width=192, blocks=1, frequencies=20):
    """rank: components. width: patterns, each seen at 64 angles. blocks: hidden layers, which keep angular
    frequencies 0 to ``frequencies``."""
    return Generator(box, rank, width, blocks, min(frequencies, FREQUENCIES - 1)), discriminator((32, 64, 128))


class Generator(nn.Module):
    """[B, 1, N, N] standardised particles -> [B, 1, N, N] network units, N = box."""

    multiple = 2

    def __init__(self, box, rank, width, blocks, frequencies):
        super().__init__()
        self.components = Components(box, rank)
        self.width, all_frequencies = width, FREQUENCIES - 1
        self.first = _weights(all_frequencies, RADIAL, width, rank**-0.5)
        self.first_bias = nn.Parameter(torch.zeros(width))
        self.hidden = nn.ParameterList(_weights(frequencies, width, width, (2 * width) ** -0.5) for _ in range(blocks))
        self.biases = nn.ParameterList(torch.zeros(width) for _ in range(blocks))
        self.last = _weights(all_frequencies, width, RADIAL, 0.0)
        for name, highest in (('wide', all_frequencies), ('narrow', frequencies)):
            self.register_buffer(name, _series(highest))

    def forward(self, images):
        c = self.components
        noisy = c.analyse(images).float() - c.centre
        return c.synthesise(c.wiener * noisy + c.size_clean * self._correction(noisy / c.size_noisy.clamp_min(1e-6)))

    def _correction(self, coefficients):
        """[B, rank] -> [B, rank], in units of the components' sizes."""
        count, slots = len(coefficients), self.components.slot
        x = coefficients.new_zeros(count, 2 * FREQUENCIES * RADIAL + 1)
        x = x.index_copy(1, slots, coefficients)[:, :-1].view(count, FREQUENCIES, 2 * RADIAL)
        x = _angles(_mix(x, self.first), self.wide) + self.first_bias
        for weights, bias in zip(self.hidden, self.biases):
            f = self._frequencies(functional.gelu(x), self.narrow)
            # One number an image, whatever its angle.
            f = f * torch.rsqrt(f.float().square().sum((1, 2), keepdim=True) / self.width + 1e-6).to(f.dtype)
            x = x + 2 * _angles(_mix(f, weights), self.narrow) + bias
        x = _mix(self._frequencies(functional.gelu(x), self.wide), self.last).reshape(count, -1).float()
        return functional.pad(x, (0, 1)).index_select(1, slots)

    def _frequencies(self, x, series):
        """[B, ANGLES, width] -> [B, frequencies, 2 width] (cosine, sine)."""
        return torch.matmul(series.T / ANGLES, x).view(len(x), -1, 2 * self.width)

    def initialise(self, noisy, clean):
        """Components and Wiener filter of the training pairs."""
        self.components.fit(noisy, clean)


def _weights(highest, inputs, outputs, scale):
    """Complex matrices of the frequencies 0..highest: [2 (highest + 1), inputs, outputs], real parts first.

    Three dimensions, because `create` reorders parameters of four for convolutions.
    """
    return nn.Parameter(scale * torch.randn(2 * (highest + 1), inputs, outputs))


def _mix(x, weights):
    """x [B, frequencies, 2 inputs] times the matrix of its frequency -> [B, frequencies, 2 outputs]."""
    re, im = weights.chunk(2)
    matrix = torch.cat([torch.cat([re, im], 2), torch.cat([-im, re], 2)], 1)
    return torch.bmm(x.transpose(0, 1), matrix).transpose(0, 1)


def _angles(x, series):
    """[B, frequencies, 2 width] -> its Fourier series at all angles [B, ANGLES, width]."""
    return torch.matmul(series, x.reshape(len(x), -1, x.shape[-1] // 2))


def _series(highest):
    """cos(m angle), sin(m angle) side by side, times sqrt 2 but for m = 0: [ANGLES, 2 (highest + 1)]."""
    m, angle = torch.arange(highest + 1), 2 * math.pi * torch.arange(ANGLES) / ANGLES
    norm = torch.where(m == 0, 1.0, 2**0.5)
    return torch.stack([norm * f(angle[:, None] * m) for f in (torch.cos, torch.sin)], -1).flatten(1)
