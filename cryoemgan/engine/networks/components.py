"""Steerable principal components as layers of a network: analysis, synthesis and the Wiener filter between them.

Component (m, q) is u_mq(r) cos(m phi) or u_mq(r) sin(m phi) about the origin N//2: ``engine.steerable`` finds them in
the Fourier plane, here they are images, so that a network needs no transform.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import nn

from ..data.sampling import evenly_spread
from ..imaging.resample import resample
from ..imaging.steerable import FourierPlane, principal_basis
from ..shapes import Images, Tensor

# Angular frequencies 0..31 and up to 24 radial functions of each: what a particle of 64 px has above the noise.
FREQUENCIES, RADIAL = 32, 24
# Finer detail than this box holds is far below the noise of a single particle.
LARGEST_INNER = 128
# Images that the sizes of the components are measured on, and those that the components are found on: turns and
# mirrors make far more of the latter (500 or 1,200 left the same share of five-state RNAP unexplained).
SAMPLES, COVARIANCE_SAMPLES = 2000, 500
# Part of a function that those before it must not show.
LEAST_NEW = 0.5


class Components(nn.Module):
    """Analysis and synthesis in up to ``rank`` steerable components of images of ``box`` px.

    Buffers, zero until `fit`: basis [rank, n, n] orthonormal, n = min(box, 128); frequency [rank] and slot [rank]
    (place in [FREQUENCIES, 2 (cosine, sine), RADIAL]; one past the end for an unused row); mean [n, n] of the
    references; centre [rank] of the particles; wiener [rank], the least-squares estimate of a reference's
    coefficient from its particle's; size_noisy and size_clean [rank], the s.d. of both coefficients.
    """

    basis: Tensor
    slot: Tensor
    mean: Tensor
    centre: Tensor
    wiener: Tensor
    size_noisy: Tensor
    size_clean: Tensor
    down: Tensor
    up: Tensor

    def __init__(self, box: int, rank: int) -> None:
        super().__init__()
        n = min(box, LARGEST_INNER)
        self.box, self.inner, self.rank = box, n, rank
        self.register_buffer('basis', torch.zeros(rank, n, n))
        self.register_buffer('slot', torch.full((rank,), FREQUENCIES * 2 * RADIAL))
        self.register_buffer('mean', torch.zeros(n, n))
        for name in ('centre', 'wiener', 'size_noisy', 'size_clean'):
            self.register_buffer(name, torch.zeros(rank))
        if n != box:
            # Fourier resampling is linear and separable: one matrix for each direction.
            for name, source, target in (('down', box, n), ('up', n, box)):
                matrix = resample(np.eye(source), target, axes=(0,))
                self.register_buffer(name, torch.tensor(matrix, dtype=torch.float32))

    def analyse(self, images: Tensor) -> Tensor:
        """Coefficients [B, rank] of images [B, 1, box, box]."""
        return self.reduced(images).flatten(1) @ self.basis.flatten(1).T

    def reduced(self, images: Tensor) -> Tensor:
        """Images [B, 1, box, box] at the inner box."""
        return images if self.inner == self.box else self.down @ images @ self.down.T

    def placed(self, coefficients: Tensor) -> Tensor:
        """[B, rank] -> [B, FREQUENCIES, 2 (cosine, sine), RADIAL]; places without a component are zero."""
        x = coefficients.new_zeros(len(coefficients), 2 * FREQUENCIES * RADIAL + 1)
        return x.index_copy(1, self.slot, coefficients)[:, :-1].view(-1, FREQUENCIES, 2, RADIAL)

    def taken(self, places: Tensor) -> Tensor:
        """The inverse of `placed`."""
        return nn.functional.pad(places.flatten(1), (0, 1)).index_select(1, self.slot)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images [B, 1, box, box]: the mean reference plus the components."""
        flat = torch.addmm(self.mean.flatten(), coefficients, self.basis.flatten(1))
        images = flat.view(-1, 1, self.inner, self.inner)
        return self.up @ images @ self.up.T if self.inner != self.box else images

    def mirror(self) -> Tensor:
        """Signs [rank] of the coefficients under a mirror at the x axis, which reverses the sines."""
        return 1.0 - 2.0 * (self.slot // RADIAL % 2)

    def mean_image(self) -> Tensor:
        """The mean reference [1, 1, box, box]."""
        return self.synthesise(self.mean.new_zeros(1, self.rank))

    @torch.no_grad()
    def fit(self, noisy: Tensor, clean: Tensor) -> None:
        """Measure everything on normalised pairs [n, 1, box, box]."""
        chosen = evenly_spread(len(clean), SAMPLES)
        particles, references = (resample(x[chosen, 0].cpu().numpy(), self.inner) for x in (noisy, clean))
        self.set_basis(torch.from_numpy(np.ascontiguousarray(references)))
        flat = self.basis.flatten(1).T
        y = torch.from_numpy(np.ascontiguousarray(particles)).flatten(1) @ flat
        x = (torch.from_numpy(np.ascontiguousarray(references)) - self.mean).flatten(1) @ flat
        self.centre.copy_(y.mean(0) * (self._angular() == 0))
        y -= self.centre
        yy, xy = (self.over_pairs((v * y).mean(0)) for v in (y, x))
        self.size_noisy.copy_(yy.sqrt())
        self.wiener.copy_(xy / yy.clamp_min(1e-12))

    def set_basis(self, references: Tensor) -> None:
        """Basis, mean and ``size_clean`` of references float32 [n, n, n] at the inner box."""
        basis, slots, mean = principal_components(references.numpy(), self.rank)
        count = len(slots)
        self.basis.zero_()
        self.basis[:count] = basis
        self.slot.fill_(FREQUENCIES * 2 * RADIAL)
        self.slot[:count] = slots
        self.mean.copy_(mean)
        x = (references - self.mean).flatten(1) @ self.basis.flatten(1).T
        self.size_clean.copy_(self.over_pairs(x.square().mean(0)).sqrt())

    def _angular(self) -> Tensor:
        return self.slot.div(2 * RADIAL, rounding_mode='floor')

    def over_pairs(self, values: Tensor) -> Tensor:
        """Mean over cosine and sine of the same component: all turns are equally likely."""
        m, place = self._angular(), self.slot % (2 * RADIAL)
        key = m * RADIAL + place % RADIAL
        total = torch.zeros(int(key.max()) + 1).index_add_(0, key, values)
        count = torch.zeros_like(total).index_add_(0, key, torch.ones_like(values))
        return (total / count)[key]


def principal_components(references: Images, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """(basis float32[k, N, N], slots int64[k], mean float32[N, N]) of images float32[n, N, N]; k <= rank.

    Of the images less their radial mean, together with all their turns and mirror
    images. Cosine and sine stand side by side; largest first.
    """
    images = torch.as_tensor(np.ascontiguousarray(references))
    plane, mean = FourierPlane(images.shape[-1]), _radial_mean(images.mean(0))
    sample = images[evenly_spread(len(images), COVARIANCE_SAMPLES)]
    found = principal_basis(plane, plane.vectors(sample - mean), energy=1 - 1e-6, most=rank)
    # One image for a function that no turn changes, two (cosine and sine) for all others.
    basis = torch.zeros(rank, mean.numel(), dtype=torch.float64)
    slots: list[int] = []
    seen = [0] * FREQUENCIES
    for function, m in zip(found.matrix.unflatten(0, (-1, 2)), found.order.tolist()):
        if m >= FREQUENCIES or seen[m] == RADIAL:
            continue
        both = plane.images(torch.view_as_complex(function.unflatten(-1, (-1, 2)).contiguous()))
        # The Fourier transform of a cosine of odd frequency is the imaginary part's function.
        pair = both[:1] if m == 0 else torch.stack([both[0], -both[1]] if m % 2 == 0 else [both[1], both[0]])
        if len(slots) + len(pair) > rank:
            break
        fresh = _what_is_new(pair.flatten(1).double(), basis[: len(slots)])
        if fresh is None:
            continue
        basis[len(slots) : len(slots) + len(pair)] = fresh
        slots += [(2 * m + part) * RADIAL + seen[m] for part in range(len(pair))]
        seen[m] += 1
    return basis[: len(slots)].float().view(-1, *mean.shape), torch.tensor(slots), mean


def _what_is_new(rows: Tensor, basis: Tensor) -> Tensor | None:
    """Orthonormal rows for what ``rows`` [1 or 2, p] show and ``basis`` [k, p] does not; None when that is little.

    Functions are not quite orthogonal on a grid. In the order of their power, those that come first stay as they are:
    what all are changed alike by (Loewdin) mixes strong functions with others that hardly occur.
    """
    before = rows.square().sum(1)
    for _ in range(2):
        rows = rows - (rows @ basis.T) @ basis
    if (rows.square().sum(1) < LEAST_NEW * before).any():
        return None
    variance, modes = torch.linalg.eigh(rows @ rows.T)
    return (modes / variance.sqrt()) @ modes.T @ rows


def _radial_mean(image: Tensor) -> Tensor:
    """The mean of an image [N, N] over all its turns about N//2."""
    axis = torch.arange(len(image)) - len(image) // 2
    radius = torch.hypot(*torch.meshgrid(axis.float(), axis.float(), indexing='ij')).flatten()
    ring = radius.round().long()
    profile = torch.bincount(ring, image.flatten()) / torch.bincount(ring)
    return torch.from_numpy(CubicSpline(np.arange(len(profile)), profile)(radius)).view_as(image).float()
