"""Rotation-equivariant network on steerable principal components; no convolution over the image.

A turn of the particle multiplies its components of angular frequency m by exp(i m angle). So the first layer
correlates the particle with learned patterns at all in-plane angles at once: linear in each frequency, then a Fourier
series over the angle. Nonlinearities act on these functions of the angle, hidden layers mix channels within each
frequency, and the output turns as the particle did: every weight serves all angles, and no training image has to be
turned. The network starts as the best linear estimate under each particle's own CTF (linear_estimate.py), and learns
what to add to it; its patterns start as matched filters of some references: random patterns cost 6 % of the error at
equal time. Out of training it answers with the mean over the particle and its mirror image.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..shapes import Tensor
from . import angular, register
from .components import FREQUENCIES, RADIAL, Components
from .linear_estimate import LinearEstimate
from .residual import discriminator


@register('equivariant')
def build(
    box: int,
    rank: int = 512,
    width: int = 128,
    blocks: int = 4,
    frequencies: int = 12,
    particles_hold: str = '',
    references_hold: str = '',
) -> tuple[nn.Module, nn.Module]:
    """rank: components. width: patterns, each seen at 64 angles. blocks: hidden layers, which keep angular
    frequencies 0 to ``frequencies``. particles_hold, references_hold: their CTF (none, phase-flip, full); empty for
    models that start from a Wiener filter that knows no CTF."""
    shape = (box, rank, width, blocks, min(frequencies, FREQUENCIES - 1))
    generator = CtfGenerator(*shape, particles_hold, references_hold) if particles_hold else Generator(*shape)
    return generator, discriminator((32, 64, 128))


class Generator(nn.Module):
    """[B, 1, N, N] standardised particles -> [B, 1, N, N] network units, N = box."""

    multiple, starts_linear = 2, True
    wide: Tensor
    narrow: Tensor

    # Coefficients of each component that the first layer sees.
    views = 1

    def __init__(self, box: int, rank: int, width: int, blocks: int, frequencies: int) -> None:
        super().__init__()
        self.components = Components(box, rank)
        self.width, all_frequencies = width, FREQUENCIES - 1
        self.first = _weights(all_frequencies, self.views * RADIAL, width, rank**-0.5)
        self.first_bias = nn.Parameter(torch.zeros(width))
        self.hidden = nn.ParameterList(_weights(frequencies, width, width, (2 * width) ** -0.5) for _ in range(blocks))
        self.biases = nn.ParameterList(torch.zeros(width) for _ in range(blocks))
        self.last = _weights(all_frequencies, width, RADIAL, 0.0)
        for name, highest in (('wide', all_frequencies), ('narrow', frequencies)):
            self.register_buffer(name, angular.series(highest))

    def forward(self, images: Tensor) -> Tensor:
        c = self.components
        seen, estimate = self._seen(images)
        found = self._correction(seen)
        if not self.training:
            # The mirror image is as good a particle: the mean of both answers had 7 % less error.
            mirror = c.mirror()
            found = 0.5 * (found + mirror * self._correction(mirror * seen))
        return c.synthesise(estimate + c.size_clean * found)

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(what the first layer sees, of size 1: [B, views, rank]; the linear estimate [B, rank])."""
        c = self.components
        noisy = c.analyse(images).float() - c.centre
        return (noisy / c.size_noisy.clamp_min(1e-6))[:, None], c.wiener * noisy

    def _correction(self, seen: Tensor) -> Tensor:
        """[B, views, rank] -> [B, rank], in units of the components' sizes."""
        (first,), (last,) = angular.real_matrices(self.first), angular.real_matrices(self.last)
        wide_analysis, narrow_analysis = (s.T / angular.ANGLES for s in (self.wide, self.narrow))
        x = angular.values(torch.bmm(first, self._by_frequency(seen)), self.wide)
        x = x + self.first_bias.to(x.dtype)[:, None]
        for weights, bias in zip(angular.real_matrices(*self.hidden), self.biases):
            f = angular.coefficients(functional.gelu(x), narrow_analysis)
            f = torch.bmm(weights, angular.levelled(f, self.width))
            x = angular.add_values(x + bias.to(x.dtype)[:, None], f, self.narrow, 2.0)
        x = torch.bmm(last, angular.coefficients(functional.gelu(x), wide_analysis))
        return self.components.taken(x.flatten(0, 1).T.float())

    def _by_frequency(self, seen: Tensor) -> Tensor:
        """[B, views, rank] -> [FREQUENCIES, 2 (cosine, sine) * views * RADIAL, B]."""
        x = self.components.placed(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        return x.permute(2, 3, 1, 4, 0).reshape(FREQUENCIES, -1, len(seen))

    @torch.no_grad()
    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Components and Wiener filter of the training pairs; patterns from references spread over them."""
        c = self.components
        c.fit(noisy, clean)
        # Signal and noise of a component: y = gain x + noise.
        gain = c.wiener * (c.size_noisy / c.size_clean.clamp_min(1e-6)).square()
        noise = c.size_noisy.square() - (gain * c.size_clean).square()
        # A noise that small was not measured; it would give the component all the weight.
        noise = noise.clamp_min(0.05 * c.size_noisy.square().clamp_min(1e-12))
        self._set_patterns(clean, gain * c.size_noisy / noise)

    def _set_patterns(self, clean: Tensor, weight: Tensor) -> None:
        """Patterns that are matched filters of references [n, 1, N, N], for what the first layer sees first.

        weight: [rank], of a component of a reference in its filter.
        """
        c = self.components
        chosen = torch.linspace(0, len(clean) - 1, self.width).round().long()
        template = c.analyse(clean[chosen]) - c.analyse(c.mean_image())
        x = self._by_frequency((template * weight)[:, None])
        re, im = x.view(FREQUENCIES, 2, RADIAL, self.width).unbind(1)
        pattern = torch.stack([re, -im], 1)
        size = pattern.square().sum((0, 1, 2), keepdim=True).sqrt().clamp_min(1e-9)
        pattern *= self.width**-0.5 * self.first.norm() / size
        self.first.zero_()
        self.first[:, :RADIAL] = pattern.transpose(1, 2).flatten(2)


class CtfGenerator(Generator):
    """[B, C, N, N] -> [B, 1, N, N]: the same, but each particle is seen through its own CTF.

    Where particles hold a CTF, C = 2: standardised particle and CTF plane (`linear_estimate.plane_of_ctf`).
    """

    views = 2

    def __init__(
        self,
        box: int,
        rank: int,
        width: int,
        blocks: int,
        frequencies: int,
        particles_hold: str,
        references_hold: str,
    ) -> None:
        super().__init__(box, rank, width, blocks, frequencies)
        self.linear = LinearEstimate(self.components, particles_hold, references_hold)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear.through_ctf(super().forward(images), images)

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        matched, estimate = self.linear(images)
        sizes = torch.stack([self.linear.size_matched, self.linear.size_estimate]).clamp_min(1e-6)
        return torch.stack([matched, estimate], 1) / sizes, estimate

    @torch.no_grad()
    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Components and linear estimate of the training pairs; patterns from references spread over them."""
        references = self.linear.fit(noisy, clean)
        self._set_patterns(references, self.linear.size_matched)


def _weights(highest: int, inputs: int, outputs: int, scale: float) -> nn.Parameter:
    """Complex matrices of the frequencies 0..highest: [highest + 1, inputs, 2 outputs], real parts first."""
    return nn.Parameter(scale * torch.randn(highest + 1, inputs, 2 * outputs))
