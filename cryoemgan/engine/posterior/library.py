"""A bank of reference projections in a steerable basis: every in-plane rotation of a template is a phase.

10,000 templates of 64 px take 90 MB and stand, with 72 turns, for 720,000 images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..errors import InputError
from ..geometry import random_matrices
from ..imaging.maps import soft_circle
from ..imaging.projection import FourierProjector
from ..imaging.steerable import FourierPlane, SteerableBasis, principal_basis
from ..shapes import Tensor
from .rotations import InPlaneRotations
from .view_clusters import ViewClusters, directions

CHUNK = 256
SAMPLE = 500
PAD = 2.5  # linear interpolation is then as good as the references, which are made in the same way
LEFT_OUT = 1e-3  # part of the power that a reduced bank may leave outside its part of the Fourier plane


class TemplateLibrary:
    """Templates without CTF, in reference grey less ``background``, centred.

    basis: SteerableBasis. coefficients: complex64[D, K]. matrices: float32[D, 3, 3], A of each template (NaN where
    unknown). background: the grey value of an empty image. source: int64[D], the map of each. power: float32[R], of a
    coefficient in each ring, mean over templates. groups: ViewClusters of a large bank, or None. classes: the number of
    each map's class, 1, 2, ... until it is said otherwise.
    """

    def __init__(
        self,
        basis: SteerableBasis,
        coefficients: Tensor,
        matrices: Tensor,
        background: float,
        source: Tensor | None = None,
    ) -> None:
        self.basis, self.plane = basis, basis.plane
        self.coefficients, self.matrices, self.background = coefficients, matrices, background
        count = len(coefficients)
        self.source = torch.zeros(count, dtype=torch.int64, device=matrices.device) if source is None else source
        self.classes = list(range(1, int(self.source.max()) + 2))
        some = coefficients[torch.linspace(0, count - 1, min(count, SAMPLE)).long()]
        self.power = self.plane.ring_means(_power(basis, some).mean(0))
        self.groups = ViewClusters.of(matrices, self.source)
        self._reduced: dict[int, ReducedLibrary] = {}

    def __len__(self) -> int:
        return len(self.coefficients)

    def reduced(self, count: int) -> ReducedLibrary:
        """The ReducedLibrary of the first ``count`` functions; kept."""
        count = min(count, len(self.basis))
        if count not in self._reduced:
            self._reduced[count] = ReducedLibrary(self, count)
        return self._reduced[count]

    @classmethod
    def from_images(cls, images: Tensor, matrices: Tensor | None = None, **options: Any) -> TemplateLibrary:
        """TemplateLibrary of images float32[D, N, N], centred; options as `made`."""
        return cls.made(lambda rows: images[rows], len(images), matrices, **options)

    @classmethod
    def made(
        cls,
        read: Callable[[Tensor], Tensor],
        count: int,
        matrices: Tensor | None = None,
        source: Tensor | None = None,
        energy: float = 0.99999,
        most: int = 2000,
    ) -> TemplateLibrary:
        """Library of ``count`` images, centred. read: int64[n] -> float32[n, N, N]; a chunk is held at a time. Basis
        and background are found on at most 500 of them. matrices, source: as in the library."""
        sample = read(torch.linspace(0, count - 1, min(SAMPLE, count)).long())
        box, device = sample.shape[-1], sample.device
        plane = FourierPlane(box, device=device)
        background = float(torch.cat([sample[:, 0].flatten(), sample[:, :, 0].flatten()]).median())
        # What reaches into the corners leaves the box when it is turned, and comes back on the other side.
        circle = torch.from_numpy(soft_circle(box)).to(device)

        def vectors(images: Tensor) -> Tensor:
            return plane.vectors((images - background) * circle)

        basis = principal_basis(plane, vectors(sample), energy, most)
        coefficients = torch.empty(count, len(basis), dtype=torch.complex64, device=device)
        for rows in torch.arange(count).split(CHUNK):
            coefficients[rows] = basis.coefficients(vectors(read(rows)))
        if matrices is None:
            matrices = torch.full((count, 3, 3), math.nan)
        return cls(basis, coefficients, matrices.float().to(device), background, source)

    @classmethod
    def from_maps(
        cls,
        volumes: Sequence[Tensor],
        size: int,
        device: str | torch.device = 'cpu',
        scale: float = 1.0,
        grey: Callable[[Tensor], Tensor] | None = None,
        **options: Any,
    ) -> TemplateLibrary:
        """Library of about ``size`` projections, as many of each volume float32[N, N, N], quasi-uniform on the sphere.

        scale: pixel size of the images / pixel size of the volumes. grey: function that takes projections to the grey
        scale of the bank; None: as they are.
        """
        count = max(2, size // len(volumes))
        projectors = [FourierProjector(volume, PAD, device=device) for volume in volumes]
        # Each volume has its own turn of the grid: neighbouring states then interpolate between directions too.
        turns = torch.as_tensor(random_matrices(len(volumes), 0), dtype=torch.float32)
        matrices = (directions(count) @ turns[:, None]).flatten(0, 1).to(device)
        source = torch.arange(len(volumes), device=device).repeat_interleave(count)

        def read(rows: Tensor) -> Tensor:
            rows = rows.to(device)
            images = torch.empty(len(rows), *volumes[0].shape[1:], device=device)
            for k, projector in enumerate(projectors):
                mine = torch.nonzero(source[rows] == k)[:, 0]
                if len(mine):
                    images[mine] = projector.project(matrices[rows[mine]], scale=scale)
            return images if grey is None else grey(images)

        return cls.made(read, len(matrices), matrices, source, **options)

    def tensors(self) -> dict[str, Tensor]:
        """Everything `load` needs, for safetensors."""
        return {
            'profiles': self.basis.profiles,
            'order': self.basis.order,
            'coefficients': torch.view_as_real(self.coefficients).contiguous(),
            'matrices': self.matrices,
            'source': self.source,
            'background': torch.tensor([self.background]),
        }

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], box: int, device: str | torch.device = 'cpu') -> TemplateLibrary:
        """The bank that `tensors` described. InputError when the tensors do not fit together."""
        t = {k: v.to(device) for k, v in tensors.items()}
        d, k = t['coefficients'].shape[:2]
        fits = t['order'].shape == (k,) and t['profiles'].shape[0] == k
        if (
            not fits
            or t['matrices'].shape != (d, 3, 3)
            or t['source'].shape != (d,)
            or not 0 <= int(t['order'].min()) <= int(t['order'].max()) < box
        ):
            raise InputError('the template library is inconsistent; copy the model folder again')
        basis = SteerableBasis(FourierPlane(box, device=device), t['order'], t['profiles'])
        coefficients = torch.view_as_complex(t['coefficients'])
        return cls(basis, coefficients, t['matrices'], float(t['background']), t['source'])


class ReducedLibrary:
    """The bank in its first ``count`` functions, on the part of the Fourier plane where they are not practically zero.

    plane: FourierPlane; inside: int64[P'], its places in the bank's plane; order, coefficients as in the bank; power:
    float32[D, R'], of each template in each ring; first: int64[G], representatives of the groups of a large bank, None:
    all templates.
    """

    def __init__(self, bank: TemplateLibrary, count: int) -> None:
        full, everywhere = bank.plane, torch.ones(len(bank.plane), dtype=torch.bool, device=bank.plane.r.device)
        functions = bank.basis.part(count, everywhere)
        self.order, self.coefficients = bank.basis.order[:count], bank.coefficients[:, :count]
        held = self.coefficients.abs().square().mean(0)
        rings = held @ full.rings(functions.powers())
        radius = int(torch.searchsorted(rings.cumsum(0), (1 - LEFT_OUT) * rings.sum())) + 1
        self.plane = FourierPlane(full.box, min(radius, full.radius), full.kx.device)
        self.inside = torch.nonzero(full.r <= self.plane.radius)[:, 0]
        self._functions = bank.basis.part(count, full.r <= self.plane.radius)
        self.power = torch.cat([self.plane.rings(_power(self, a)) for a in self.coefficients.split(CHUNK)])
        # The templates that every particle is compared with.
        self.first = None if bank.groups is None else bank.groups.representatives
        self._turning: dict[int, InPlaneRotations] = {}

    def turning(self, turns: int) -> InPlaneRotations:
        """InPlaneRotations of the templates ``first``; kept."""
        if turns not in self._turning:
            self._turning[turns] = InPlaneRotations(self, turns)
        return self._turning[turns]

    def products(self, vectors: Tensor) -> Tensor:
        """As SteerableBasis.products, of vectors complex64[..., P']."""
        return self._functions.products(vectors)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """As SteerableBasis.synthesise: complex64[..., P']."""
        return self._functions.synthesise(coefficients)


def _power(basis: SteerableBasis | ReducedLibrary, coefficients: Tensor) -> Tensor:
    return basis.synthesise(coefficients).abs() ** 2
