"""Learning from noisy images alone: noise is added to a particle, and taken away from its target.

Recorrupted-to-recorrupted (Pang, Zheng, Quan and Ji 2021): of a particle y = x + n with Gaussian noise n and more noise
z of the same spectrum, y + a z and y - z / a have noise that is independent, so that the expected squared distance of
what is made of the one to the other is the true error and a constant. Each particle is shown twice, with z and with
-z: what z brings to the gradient of first order cancels, which leaves a to be small. (For small a this is Stein's
unbiased risk estimate with its divergence drawn by a central difference, Ramani, Blu and Unser 2008.)
"""

from __future__ import annotations

import torch

from ..random_fields import RandomRows
from ..shapes import Tensor


def recorrupted(
    noisy: Tensor, clean: Tensor, strength: float, sd: float, unit: float, rng: RandomRows
) -> tuple[Tensor, Tensor]:
    """Particles with more noise, and targets with less.

    Parameters
    ----------
    noisy : Tensor
        [n, C, N, N], whitened; channels after the first stay.
    clean : Tensor
        [n, 1, N, N], the same particles in network units.
    strength : float
        a, above.
    sd : float
        Of the noise of a pixel of ``noisy``.
    unit : float
        What ``noisy`` is multiplied by to give ``clean``.
    rng : RandomRows
        Of these rows, on their device.

    Returns
    -------
    noisy, clean : Tensor
        [2 n, ...]: first all with z, then all with -z.
    """
    z = sd * rng.normal(*clean.shape[1:])
    seen = torch.cat([noisy, noisy])
    seen[:, :1] += torch.cat([strength * z, -strength * z])
    return seen, torch.cat([clean - unit / strength * z, clean + unit / strength * z])
