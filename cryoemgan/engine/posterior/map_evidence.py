"""Which of several maps each particle shows: the evidence of each map, between its templates too."""

from __future__ import annotations

import torch

from ..shapes import Tensor


def probabilities(log_evidence: Tensor) -> Tensor:
    """float32[B, K] of log evidence [B, K]: maps are as likely as each other before the particle is seen."""
    return torch.softmax(log_evidence, 1).float()


def evidence_of_maps(
    seen: Tensor, y: Tensor, log_weight: Tensor, source: Tensor, count: int, temperature: float
) -> Tensor:
    """Log evidence float64[B, count] of each map.

    As of the image: the candidates of a map, weighed with the likelihood to the power 1 / temperature, make a Gaussian,
    over which the rest of the likelihood is integrated. A sum over the candidates alone would depend on how near the
    particle a map's templates happen to lie.

    seen: float32[B, L, P], candidates as the particle ``y`` [B, P] would show them; log_weight: [B, L]; source:
    int64[B, L], the map of each.
    """
    product, gram = torch.einsum('blp,bp->bl', seen, y).double(), (seen @ seen.transpose(1, 2)).double()
    power, found = 1 - 1 / temperature, []
    one = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    for k in range(count):
        own = log_weight.double().masked_fill(source != k, -torch.inf)
        total = torch.logsumexp(own, 1)
        weight = torch.exp(own - total.clamp(min=-1e30)[:, None])
        # The products of the mean, and of each candidate's way from it, with each other and with the particle.
        toward = torch.einsum('blm,bm->bl', gram, weight)
        c, n = (weight * product).sum(1), (weight * toward).sum(1)
        around = gram - toward[:, :, None] - toward[:, None] + n[:, None, None]
        slope = product - c[:, None] - toward + n[:, None]
        root = weight.sqrt()
        lower = torch.linalg.cholesky(one + power * root[:, :, None] * around * root[:, None])
        step = torch.linalg.solve_triangular(lower, power * (root * slope)[..., None], upper=False)
        volume = lower.diagonal(dim1=1, dim2=2).log().sum(1)
        found.append(total + power * (c - 0.5 * n) + 0.5 * step.square().sum((1, 2)) - volume)
    return torch.stack(found, 1)
