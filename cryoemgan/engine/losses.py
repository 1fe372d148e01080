"""What the two networks are trained with: scoring rules, the gradient penalty, the reconstruction loss.

The discriminator gives logits z; t = sigmoid(z) is its belief that the image is a reference. It ascends
``mean(real(z_reference)) + mean(fake(z_denoised))``; the generator descends
``mean(fake(z_denoised)) + lambda * reconstruction``, the saturating form of the paper.

Everything here is float32 or better, also under autocast.
"""

import math

import numpy as np
import torch
from torch.nn import functional

# Where the slope of the scoring rule stops growing. For beta < 0 a confidently wrong score has a slope like e^|z|;
# one such patch would drown the batch. e^20 keeps the exact slope wherever |z| <= 20 for every (alpha, beta).
LOG_SLOPE_LIMIT = 20.0


class ScoringRule:
    """The proper scoring rules S(t, 1), S(t, 0) of two parameters in [-1, 1], as functions of the logit.

    S(t,1) = -int_t^1 c^(alpha-1) (1-c)^beta dc, S(t,0) = -int_0^t c^alpha (1-c)^(beta-1) dc (Gu et al. 2020, eq. 3),
    shifted to be zero at t = 1/2, where the discriminator knows nothing: as printed they are -inf everywhere for
    beta = -1 or alpha = -1. (0,0) is the Jensen-Shannon GAN, (1,1) Brier's rule, (-1/2,-1/2) boosting.
    """

    probability = True

    def __init__(self, alpha, beta):
        if not (-1 <= alpha <= 1 and -1 <= beta <= 1):
            raise ValueError(f'alpha {alpha} and beta {beta} must be in [-1, 1]')
        self.alpha, self.beta = float(alpha), float(beta)

    def real(self, logits):
        """Score of believing sigmoid(logits) when the image is a reference; elementwise, increasing."""
        return score(logits, self.alpha, self.beta + 1)

    def fake(self, logits):
        """Score of believing sigmoid(logits) when the image was denoised; elementwise, decreasing."""
        return score(-logits, self.beta, self.alpha + 1)


class Wasserstein:
    """The scores of WGAN: the discriminator is a critic of slope one, held by `gradient_penalty`."""

    probability = False

    def real(self, logits):
        """Elementwise score of a reference."""
        return logits.float()

    def fake(self, logits):
        """Elementwise score of a denoised image."""
        return -logits.float()


def score(z, p, q):
    """F(z; p, q) = int_0^z sigmoid(u)^p sigmoid(-u)^q du, elementwise; differentiable twice. Never autocast.

    S(t,1) - S(1/2,1) = F(z; alpha, beta+1), and S(t,0) - S(1/2,0) = F(-z; beta, alpha+1), because
    dS(t,1)/dz = t^alpha (1-t)^(beta+1). Beyond the point where log(dF/dz) reaches LOG_SLOPE_LIMIT, F goes on as a
    straight line.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        if (p, q) == (0, 1):
            return math.log(2) - functional.softplus(-z)
        if (p, q) == (1, 2):
            return 0.125 - torch.sigmoid(-z).square() / 2
        return _Score.apply(z, p, q)


class _Score(torch.autograd.Function):
    """F by composite Gauss-Legendre quadrature, its derivative by the exact expression."""

    @staticmethod
    def forward(ctx, z, p, q):
        ctx.save_for_backward(z)
        ctx.p, ctx.q = p, q
        return _integral(z.double(), p, q).to(z.dtype)

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        # Made of differentiable operations, so that the penalty can differentiate it again.
        return grad * torch.exp(_log_slope(z, ctx.p, ctx.q)), None, None
