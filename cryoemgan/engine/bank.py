"""A bank of reference projections in a steerable basis: every in-plane rotation of a template is a phase.

10,000 templates of 64 px take 56 MB and stand, with 72 turns, for 720,000 images.
"""

import math

import numpy as np
import torch

from .agreement import soft_circle
from .errors import InputError
from .geometry import euler_to_matrix, random_matrices
from .projection import FourierProjector
from .steerable import FourierPlane, SteerableBasis, principal_basis

CHUNK = 256
SAMPLE = 500
PAD = 2.5  # linear interpolation is then as good as the references, which are made in the same way
LEFT_OUT = 1e-3  # part of the power that a reduced bank may leave outside its part of the Fourier plane


class Bank:
    """Templates without CTF, in reference grey less ``background``, centred.

    basis: SteerableBasis. coefficients: complex64[D, K]. power: float32
    [D, R], power in rings. matrices: float32[D, 3, 3], A of each template (NaN where unknown). background: the grey
    value of an empty image.
    """

    def __init__(self, basis, coefficients, matrices, background):
        self.basis, self.plane = basis, basis.plane
        self.coefficients, self.matrices, self.background = coefficients, matrices, background
        self.power = _ring_power(basis, coefficients, self.plane)
        self._reduced = {}

    def __len__(self):
        return len(self.coefficients)

    def reduced(self, count):
        """The ReducedBank of the first ``count`` functions; kept."""
        count = min(count, len(self.basis))
        if count not in self._reduced:
            self._reduced[count] = ReducedBank(self, count)
        return self._reduced[count]

    @classmethod
    def from_images(cls, images, matrices=None, **options):
        """Bank of images float32[D, N, N], centred; options as `made`."""
        return cls.made(lambda rows: images[rows], len(images), matrices, **options)

    @classmethod
    def made(cls, read, count, matrices=None, energy=0.999, most=700):
        """Bank of ``count`` images, centred. read: int64[n] -> float32[n, N, N]; a chunk is held at a time. The basis
        and the background are found on at most 500 of them."""
        sample = read(torch.linspace(0, count - 1, min(SAMPLE, count)).long())
        box, device = sample.shape[-1], sample.device
        plane = FourierPlane(box, device=device)
        background = float(torch.cat([sample[:, 0].flatten(), sample[:, :, 0].flatten()]).median())
        # What reaches into the corners leaves the box when it is turned, and comes back on the other side.
        circle = torch.from_numpy(soft_circle(box)).to(device)

        def vectors(images):
            return plane.vectors((images - background) * circle)

        basis = principal_basis(plane, vectors(sample), energy, most)
        parts = torch.arange(count).split(CHUNK)
        coefficients = torch.cat([basis.coefficients(vectors(read(rows))) for rows in parts])
        if matrices is None:
            matrices = torch.full((count, 3, 3), math.nan)
        return cls(basis, coefficients, matrices.float().to(device), background)

    @classmethod
    def from_maps(cls, volumes, size, device='cpu', scale=1.0, **options):
        """Bank of about ``size`` projections, as many of each volume float32[N, N, N], quasi-uniform on the sphere.

        scale: pixel size of the images / pixel size of the volumes.
        """
        count = max(2, size // len(volumes))
        projectors = [FourierProjector(volume, PAD, device=device) for volume in volumes]
        # Each volume has its own turn of the grid: neighbouring states then interpolate between directions too.
        turns = torch.as_tensor(random_matrices(len(volumes), 0), dtype=torch.float32)
        matrices = (directions(count) @ turns[:, None]).flatten(0, 1).to(device)

        def read(rows):
            images = torch.empty(len(rows), *volumes[0].shape[1:], device=device)
            for k, projector in enumerate(projectors):
                mine = torch.nonzero(rows // count == k)[:, 0]
                if len(mine):
                    images[mine] = projector.project(matrices[rows[mine]], scale=scale)
            return images

        return cls.made(read, len(matrices), matrices, **options)

    def tensors(self):
        """Everything `load` needs, for safetensors."""
        return {
            'profiles': self.basis.profiles,
            'order': self.basis.order,
            'coefficients': torch.view_as_real(self.coefficients).contiguous(),
            'matrices': self.matrices,
            'background': torch.tensor([self.background]),
        }

    @classmethod
    def load(cls, tensors, box, device='cpu'):
        """The bank that `tensors` described. InputError when the tensors do not fit together."""
        t = {k: v.to(device) for k, v in tensors.items()}
        d, k = t['coefficients'].shape[:2]
        fits = t['order'].shape == (k,) and t['profiles'].shape[0] == k
        if (
            not fits
            or t['matrices'].shape != (d, 3, 3)
            or not 0 <= int(t['order'].min()) <= int(t['order'].max()) < box
        ):
            raise InputError('the bank of projections does not fit together; copy the model folder again')
        basis = SteerableBasis(FourierPlane(box, device=device), t['order'], t['profiles'])
        coefficients = torch.view_as_complex(t['coefficients'])
        return cls(basis, coefficients, t['matrices'], float(t['background']))


class ReducedBank:
    """The bank in its first ``count`` functions, on the part of the Fourier plane where they are not practically zero.

    plane: FourierPlane; inside: int64[P'], its places in the bank's plane; order, coefficients, power as in the bank.
    """

    def __init__(self, bank, count):
        full, rows = bank.plane, bank.basis.matrix[: 2 * count].unflatten(1, (-1, 2))
        self.order, self.coefficients = bank.basis.order[:count], bank.coefficients[:, :count]
        held = self.coefficients.abs().square().mean(0).repeat_interleave(2)
        rings = full.rings(rows.square().sum(2)).T @ held
        radius = int(torch.searchsorted(rings.cumsum(0), (1 - LEFT_OUT) * rings.sum())) + 1
        self.plane = FourierPlane(full.box, min(radius, full.radius), full.kx.device)
        self.inside = torch.nonzero(full.r <= self.plane.radius)[:, 0]
        self._rows = rows[:, self.inside].flatten(1).contiguous()
        self.power = _ring_power(self, self.coefficients, self.plane)

    def products(self, vectors):
        """As SteerableBasis.products, of vectors complex64[..., P']."""
        flat = torch.view_as_real(vectors.contiguous()).flatten(-2) @ self._rows.T
        return torch.view_as_complex(flat.unflatten(-1, (-1, 2)).contiguous())

    def synthesise(self, coefficients):
        """As SteerableBasis.synthesise: complex64[..., P']."""
        flat = torch.view_as_real(coefficients.contiguous()).flatten(-2) @ self._rows
        return torch.view_as_complex(flat.unflatten(-1, (-1, 2)))

    def turned(self, coefficients, angles):
        """As SteerableBasis.turned."""
        turns = -angles[..., None] * self.order
        return coefficients * torch.polar(torch.ones_like(turns), turns)


def _ring_power(basis, coefficients, plane):
    return torch.cat([plane.rings(basis.synthesise(a).abs() ** 2) for a in coefficients.split(CHUNK)])


def directions(count):
    """float32[count, 3, 3]: matrices A whose viewing directions lie on a Fibonacci spiral on the sphere.

    The in-plane angles are spread too: neighbours then fill the gaps between each other's turns.
    """
    i = np.arange(count) + 0.5
    tilt = np.rad2deg(np.arccos(1 - 2 * i / count))
    golden, plastic = 180 * (3 - math.sqrt(5)), 360 / 1.3247179572447458
    return torch.as_tensor(euler_to_matrix(i * golden % 360, tilt, i * plastic % 360), dtype=torch.float32)
