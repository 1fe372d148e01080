"""What the two networks are trained with: scoring rules, the gradient penalty, the reconstruction loss.

The discriminator gives logits z; t = sigmoid(z) is its belief that the image is a reference. It ascends
``mean(real(z_reference)) + mean(fake(z_denoised))``; the generator descends
``mean(fake(z_denoised)) + lambda * reconstruction``, the saturating form of the paper.

Everything here is float32 or better, also under autocast.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from ..shapes import Tensor

# Where the slope of a scoring rule stops growing. With a negative parameter a confidently wrong score has
# a slope like e^|z|, and one such patch would drown the batch. e^10 is exact wherever |z| <= 10, for
# every (alpha, beta).
LOG_SLOPE_LIMIT = 10.0

# Gauss-Legendre nodes on [0, 1]. The integrand has its poles at +-i pi: 16 nodes on panels of length 4 leave 1e-16, on
# such of length 9 1e-9.
NODES, WEIGHTS = (torch.from_numpy(v) / 2 for v in np.polynomial.legendre.leggauss(16))
NODES = NODES + 0.5
# Where the sigmoid has become an exponential to the last digit, and panels up to there: a fixed number, since to look
# at the numbers would be to wait for the device.
EXPONENTIAL = {torch.float64: (38.0, 10), torch.float32: (18.0, 2)}


class Rule(Protocol):
    """Scores of the discriminator's answers: elementwise functions of its logits, to be raised by it."""

    # Whether the sigmoid of a logit is the belief that an image is a reference.
    probability: bool

    def real(self, logits: Tensor) -> Tensor:
        """Scores of references."""

    def fake(self, logits: Tensor) -> Tensor:
        """Scores of denoised images."""


class ScoringRule:
    """The proper scoring rules S(t, 1), S(t, 0) of two parameters in [-1, 1], as functions of the logit.

    S(t,1) = -int_t^1 c^(alpha-1) (1-c)^beta dc, S(t,0) = -int_0^t c^alpha (1-c)^(beta-1) dc (Gu et al.
    2020, eq. 3), shifted to be zero at t = 1/2, where the discriminator knows nothing: as printed they
    are -inf everywhere for beta = -1 or alpha = -1. (0,0) is the Jensen-Shannon GAN, (1,1) Brier's rule,
    (-1/2,-1/2) boosting.
    """

    probability = True

    def __init__(self, alpha: float, beta: float) -> None:
        if not (-1 <= alpha <= 1 and -1 <= beta <= 1):
            raise ValueError(f'alpha {alpha} and beta {beta} must be in [-1, 1]')
        self.alpha, self.beta = float(alpha), float(beta)

    def real(self, logits: Tensor) -> Tensor:
        """Score of believing sigmoid(logits) when the image is a reference; elementwise, increasing."""
        return score(logits, self.alpha, self.beta + 1)

    def fake(self, logits: Tensor) -> Tensor:
        """Score of believing sigmoid(logits) when the image was denoised; elementwise, decreasing."""
        return score(-logits, self.beta, self.alpha + 1)


class Wasserstein:
    """The scores of WGAN: the discriminator is a critic of slope one, held by `gradient_penalty`."""

    probability = False

    def real(self, logits: Tensor) -> Tensor:
        """Elementwise score of a reference."""
        return logits.float()

    def fake(self, logits: Tensor) -> Tensor:
        """Elementwise score of a denoised image."""
        return -logits.float()


def score(z: Tensor, p: float, q: float) -> Tensor:
    """F(z; p, q) = int_0^z sigmoid(u)^p sigmoid(-u)^q du, elementwise; differentiable twice. Never autocast.

    S(t,1) - S(1/2,1) = F(z; alpha, beta+1), and S(t,0) - S(1/2,0) = F(-z; beta, alpha+1), because
    dS(t,1)/dz = t^alpha (1-t)^(beta+1). Where log(dF/dz) would pass LOG_SLOPE_LIMIT, F goes on as a
    straight line.
    """
    with _not_lowered(z.device):
        z = z if z.dtype == torch.float64 else z.float()
        if (p, q) == (0, 1):
            return math.log(2) - functional.softplus(-z)
        if (p, q) == (1, 2):
            return 0.125 - torch.sigmoid(-z).square() / 2
        found: Tensor = _Score.apply(z, p, q)
        return found


def _not_lowered(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, arithmetic has the precision of its arguments."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


class _Score(torch.autograd.Function):
    """F by composite Gauss-Legendre quadrature; its derivative by the exact expression."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, p: float, q: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.powers = p, q
        exact = z.double()
        # q is never negative, so only the side of z < 0 can grow.
        inside = _limit(exact, p)
        beyond = (exact - inside) * _slope(inside, p, q)
        return (_integral(inside, p, q, *EXPONENTIAL[z.dtype]) + beyond).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        # Differentiable operations, so that autograd gives the second derivative too.
        return grad * _slope(_limit(z, ctx.powers[0]), *ctx.powers), None, None


def _limit(z: Tensor, p: float) -> Tensor:
    """z, but not below the point where sigmoid(z)^p reaches the limit of the slope."""
    return z.clamp(min=LOG_SLOPE_LIMIT / p) if p < 0 else z


def _slope(z: Tensor, p: float, q: float) -> Tensor:
    """sigmoid(z)^p sigmoid(-z)^q."""
    return torch.exp(p * functional.logsigmoid(z) + q * functional.logsigmoid(-z))


def _integral(z: Tensor, p: float, q: float, end: float, panels: int) -> Tensor:
    """int_0^z _slope(u) du for float64 z: up to ``end`` panel by panel, 16 evaluations each; beyond it e^(p u) on the
    left and e^(-q u) on the right."""
    inside = z.clamp(-end, end)
    step = inside / panels
    nodes, weights = _nodes(z.device)
    total = torch.zeros_like(z)
    for k in range(panels):
        total += _slope(step[..., None] * (k + nodes), p, q) @ weights
    left, right = (z + end).clamp(max=0), (z - end).clamp(min=0)
    return total * step + _exponential(left, p, -p * end) + _exponential(right, -q, -q * end)


def _exponential(length: Tensor, rate: float, start: float) -> Tensor:
    """int_0^length e^(start + rate u) du."""
    return math.exp(start) * (torch.expm1(rate * length) / rate if rate else length)


@functools.lru_cache
def _nodes(device: torch.device) -> tuple[Tensor, Tensor]:
    return NODES.to(device), WEIGHTS.to(device)


def adversary(name: str, alpha: float = 0.5, beta: float = 0.5) -> Rule | None:
    """The scores of a GAN by name: none (gives None), beta (the scoring rule of alpha, beta) or wgan-gp."""
    if name == 'none':
        return None
    return ScoringRule(alpha, beta) if name == 'beta' else Wasserstein()


def mean_score(scores: Tensor, patch_reduction: str = 'mean') -> Tensor:
    """Mean over images of patch scores [B, 1, n, n]; those of an image are averaged, or summed (what the authors'
    scripts do)."""
    return _per_image(scores, patch_reduction).mean()


def _per_image(scores: Tensor, patch_reduction: str) -> Tensor:
    scores = scores.float().flatten(1)
    return scores.sum(1) if patch_reduction == 'sum' else scores.mean(1)


def discriminator_loss(real: Tensor, fake: Tensor, penalty: Tensor, gradient_penalty: float) -> Tensor:
    """What the discriminator descends: -(E[S1(D(x))] + E[S0(D(G(y)))]) + mu * penalty.

    Parameters
    ----------
    real, fake : Tensor
        Mean scores of references and of denoised images, as of a rule's ``real`` and ``fake``.
    penalty : Tensor
        `slope_penalty`; only WGAN has one.
    gradient_penalty : float
        Its weight mu.
    """
    return -(real + fake) + gradient_penalty * penalty


def generator_loss(fake: Tensor, distance: Tensor, reconstruction_weight: float) -> Tensor:
    """What the generator descends: E[S0(D(G(y)))] + lambda * distance.

    Parameters
    ----------
    fake : Tensor
        Mean score of denoised images; 0 without an adversary.
    distance : Tensor
        `reconstruction`.
    reconstruction_weight : float
        Its weight lambda.
    """
    return fake + reconstruction_weight * distance


def reconstruction(
    denoised: Tensor, references: Tensor, p: int = 1, counted: Tensor | None = None, total: Tensor | None = None
) -> Tensor:
    """Mean over images and pixels of |denoised - references|^p, p = 1 or 2.

    Parameters
    ----------
    denoised, references : Tensor
        Of one shape.
    p : int
        1 or 2.
    counted : Tensor or None
        bool, like the images: the pixels of which the mean is taken; None for all.
    total : Tensor or None
        Number of them, where it is not that of these images: the mean of it over processes.
    """
    difference = denoised.float() - references.float()
    distance = difference.abs() if p == 1 else difference.square()
    if counted is None:
        return distance.mean()
    return (distance * counted).sum() / (counted.sum() if total is None else total).clamp_min(1)


def slope_penalty(
    discriminator: Callable[[Tensor], Tensor],
    references: Tensor,
    denoised: Tensor,
    share: Tensor,
    patch_reduction: str = 'mean',
    critic_scale: str = 'literal',
) -> Tensor:
    """E[(|grad D(x~)| - 1)^2] at points between references and denoised images; *added* to D's loss, times mu.

    Eq. 8 of the paper prints the sign the other way. The generator gets no gradient.

    Parameters
    ----------
    discriminator : callable
        Called in float32; it must not mix images (no batch norm).
    references, denoised : Tensor
        [B, 1, N, N], network units.
    share : Tensor
        [B, 1, 1, 1] in 0..1, random: where between its two images each point lies, 1 at the reference.
    patch_reduction : str
        mean or sum, as for the scores.
    critic_scale : str
        literal: |grad| is the 2-norm over pixels. Its pull on the generator against lambda times the mean absolute
        difference is sqrt(pixels) / lambda: 13 at 128 px and lambda 10, and another in every box. box: slope one
        against the *root mean square* difference of images, |grad| * sqrt(pixels), so that the ratio is 1 / lambda in
        every box.
    """
    with _not_lowered(references.device):
        between = torch.lerp(denoised.detach().float(), references.detach().float(), share).requires_grad_()
        value = _per_image(discriminator(between), patch_reduction).sum()
        (gradient,) = torch.autograd.grad(value, between, create_graph=True)
        norm = gradient.flatten(1).norm(dim=1)
        if critic_scale == 'box':
            norm = norm * math.sqrt(gradient[0].numel())
        return (norm - 1).square().mean()
