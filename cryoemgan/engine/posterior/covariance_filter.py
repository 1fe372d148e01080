"""The covariance Wiener filter on the Fourier plane: the best linear estimate, where templates know too little.

A particle is y = T x + noise with T its transfer function and x Gaussian: a mean image, and components of known
variance in a steerable basis (`classical.cwf`, Bhamre, Zhang and Singer 2016). Components of one angular order meet
only each other, as T^2 is nearly radial: the posterior mean is one small matrix an order.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..errors import InputError
from ..imaging.steerable import FourierPlane, SteerableBasis, principal_basis
from ..shapes import Tensor
from .search import Particles

# Part of the variance that the components hold, and how many there are at most.
ENERGY, MOST = 0.9999, 400
PREFIX = 'covariance.'


class CovarianceFilter:
    """Posterior means of particles for a Gaussian of images.

    basis: SteerableBasis of K functions. variance: float32 [K], of the real and of the imaginary part of a coefficient.
    mean: complex64 [P], vector of the mean image.
    """

    def __init__(self, basis: SteerableBasis, variance: Tensor, mean: Tensor) -> None:
        self.basis, self.variance, self.mean = basis, variance, mean
        plane, orders = basis.plane, basis.order.unique()
        functions = [torch.nonzero(basis.order == m).flatten() for m in orders]
        most = max(len(f) for f in functions)
        # Where each function stands among those of its order: the rest of a block is the identity.
        self._order, self._place = torch.zeros_like(basis.order), torch.zeros_like(basis.order)
        products = variance.new_zeros(plane.radius + 1, len(orders), most, most)
        precision = torch.eye(most, device=variance.device).repeat(len(orders), 1, 1)
        rows = basis.matrix.unflatten(0, (-1, 2)).unflatten(-1, (-1, 2))
        for k, members in enumerate(functions):
            count = len(members)
            self._order[members], self._place[members] = k, torch.arange(count, device=members.device)
            parts = 1 if orders[k] == 0 else 2
            block = rows[members, :parts]
            products[:, k, :count, :count] = plane.rings(torch.einsum('iapc,japc->ijp', block, block) / parts).permute(
                2, 0, 1
            )
            precision[k, :count, :count] = torch.diag(1 / variance[members])
        self._products, self._precision = products, precision

    @classmethod
    def of(cls, components: Tensor, mean: Tensor) -> CovarianceFilter:
        """Filter for the covariance that images of it have.

        Parameters
        ----------
        components : Tensor
            Principal images float32 [n, N, N] of one angular order each, in one position: they stand for themselves at
            every angle.
        mean : Tensor
            float32 [N, N].
        """
        plane = FourierPlane(components.shape[-1], device=components.device)
        vectors = plane.vectors(components)
        basis = principal_basis(plane, vectors, ENERGY, MOST)
        variance = basis.coefficients(vectors).abs().square().sum(0)
        return cls(basis, variance.clamp(min=1e-9 * float(variance.max())), plane.vectors(mean))

    def __call__(self, particles: Particles) -> Tensor:
        """complex64 [B, P]: posterior means of Particles."""
        seen = particles.transfer
        matched = self.basis.products((particles.y - seen * self.mean) * seen)
        strength = self.basis.plane.ring_means(seen.square())
        system = torch.einsum('br,rfij->bfij', strength, self._products) + self._precision
        right = matched.new_zeros(len(matched), *system.shape[1:3])
        right[:, self._order, self._place] = matched
        found = torch.linalg.solve(system, torch.view_as_real(right))
        coefficients = torch.view_as_complex(found.contiguous())[:, self._order, self._place]
        return self.mean + self.basis.synthesise(coefficients)

    # On disk

    def tensors(self) -> dict[str, Tensor]:
        """For safetensors."""
        found = {'order': self.basis.order, 'profiles': self.basis.profiles, 'variance': self.variance}
        mean = self.mean[self.basis.plane.raster]
        return {PREFIX + name: x for name, x in {**found, 'mean': torch.view_as_real(mean)}.items()}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], plane: FourierPlane) -> CovarianceFilter | None:
        """The filter among the `tensors` of a model, or None. InputError when they do not fit together."""
        found = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
        if not found:
            return None
        order, profiles, variance, mean = (
            found[name].to(plane.r.device) for name in ('order', 'profiles', 'variance', 'mean')
        )
        count = len(order)
        fits = (
            order.shape == (count,) == variance.shape and profiles.shape[0] == count and mean.shape == (len(plane), 2)
        )
        if not fits or not 0 <= int(order.min()) <= int(order.max()) < plane.box or float(variance.min()) <= 0:
            raise InputError('the covariance filter of the model is inconsistent; copy the model folder again')
        vector = torch.empty(len(plane), dtype=torch.complex64, device=mean.device)
        vector[plane.raster] = torch.view_as_complex(mean.contiguous())
        return cls(SteerableBasis(plane, order, profiles), variance, vector)
