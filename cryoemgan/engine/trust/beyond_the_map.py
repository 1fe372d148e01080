"""What particles show beyond their map: their slices without anything that the map at a wrong pose or scale explains.

Of each particle as a low-frequency slice (clustering/variability.py) what the map and its small changes explain is
taken away: contrast, falling off towards high frequencies, a shift, a rotation about any axis, and the blur of a larger
one. Errors of a refinement, of its B-factor or of a particle's contrast are such changes; they agree among particles
too, and are no other state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import rotate

from ..clustering.variability import Slices
from ..imaging.resample import resample
from ..shapes import Images, Matrices, Rows, Shifts, Tensor, Volume

BLUR = 12.0  # degrees of the rotations whose mean is the blurred map
LOWEST = 1.5  # rings below hold the background
ROUNDS = 3
AXES = (-3, -2, -1)


@dataclass(frozen=True)
class Residuals:
    """Of particles. values: float32 [n, 2 m], what the map leaves, each number of variance 1; basis: float32 [n, 2 m,
    k], what was taken away, orthonormal; transfer: float32 [n, m], of a difference of the map into the values;
    matrices: float32 [n, 3, 3]."""

    values: Tensor
    basis: Tensor
    transfer: Tensor
    matrices: Tensor

    def without_map(self, vectors: Tensor) -> Tensor:
        """Vectors [n, p, 2 m] without what was taken away from the particles."""
        return vectors - (vectors @ self.basis) @ self.basis.transpose(1, 2)

    def __getitem__(self, rows: slice) -> Residuals:
        return Residuals(self.values[rows], self.basis[rows], self.transfer[rows], self.matrices[rows])


class BeyondTheMap:
    """Makes `Residuals`. maps: float32 [box, box, box] each, over the particles' field of view."""

    def __init__(self, slices: Slices, maps: list[Volume]) -> None:
        self.slices = slices
        self._maps = [torch.stack([slices.grid(v) for v in _changes(m, slices)]) for m in maps]
        radius = torch.hypot(slices.kx.float(), slices.ky.float())
        self._ring, self._inside = radius.round().long(), radius > LOWEST
        axis = torch.arange(slices.size) - slices.size // 2
        squared = (axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2).flatten()
        self._maps = [torch.cat([m, m[:1] * squared]) for m in self._maps]
        self.gain, self._weight = 1.0, torch.ones(len(self._ring))

    def calibrate(
        self, images: Images, shifts: Shifts, matrices: Matrices, transfer: Tensor | None, which: Rows
    ) -> None:
        """Learn from some particles how the map shows in them, and their noise. Arguments as of `residuals`."""
        y = self.slices.of(images, shifts)
        x = self._seen(matrices, transfer, which)[:, 0]
        weight, rings = torch.ones(len(self._ring)), int(self._ring.max()) + 1
        counts = torch.bincount(self._ring, minlength=rings)
        for _ in range(ROUNDS):
            self.gain = float((weight * (x.conj() * y).real).sum() / (weight * x.abs() ** 2).sum().clamp_min(1e-20))
            left = (y - self.gain * x).abs().square().mean(0)
            power = torch.zeros(rings).index_add_(0, self._ring, left) / counts.clamp_min(1)
            weight = 1 / power.clamp_min(1e-20)[self._ring]
        self._weight = torch.sqrt(2 * weight) * self._inside

    def residuals(
        self, images: Images, shifts: Shifts, matrices: Matrices, transfer: Tensor | None, which: Rows
    ) -> Residuals:
        """Of particles.

        images: float32 [n, box, box], matrices [n, 3, 3] of p_img = A p_vol, shifts [n, 2] px; transfer: what they hold
        of the CTF, [n, box, box // 2 + 1], None for nothing; which: int64 [n], their maps.
        """
        weight = self._weight if transfer is None else self._weight * self._taken(transfer)
        changes = real(self._seen(matrices, transfer, which) * self._weight)
        changes = changes / changes.norm(dim=2, keepdim=True).clamp_min(1e-12)
        basis = torch.linalg.qr(changes.transpose(1, 2))[0]
        y = real(self.slices.of(images, shifts) * self._weight)[:, None]
        left = (y - (y @ basis) @ basis.transpose(1, 2))[:, 0]
        free = 2 * int(self._inside.sum()) - basis.shape[2]
        level = (left.square().sum(1) / free).sqrt().clamp_min(1e-12)[:, None]
        return Residuals(
            left / level, basis, weight.expand(len(left), -1) / level, torch.as_tensor(matrices, dtype=torch.float32)
        )

    def _taken(self, transfer: Tensor) -> Tensor:
        return transfer[:, self.slices.ky % self.slices.box, self.slices.kx]

    def _seen(self, matrices: Matrices, transfer: Tensor | None, which: Rows) -> Tensor:
        """The map and its changes as particles see them, complex64 [n, k, m]."""
        found = torch.zeros(len(which), len(self._maps[0]) + 2, len(self._ring), dtype=torch.complex64)
        for number, volumes in enumerate(self._maps):
            rows = np.flatnonzero(which == number)
            if len(rows):
                found[rows, :-2] = self.slices.through(volumes, matrices[rows])
        found[:, -2], found[:, -1] = (-1j * k * found[:, 0] for k in (self.slices.kx, self.slices.ky))
        return found if transfer is None else found * self._taken(transfer)[:, None]


def real(coefficients: Tensor) -> Tensor:
    """Complex [..., m] as real [..., 2 m]."""
    return torch.view_as_real(coefficients.contiguous()).flatten(-2)


def _changes(volume: Volume, slices: Slices) -> list[Volume]:
    """The map, its slopes under rotations about x, y and z, and what a blur by rotations changes; coarse."""
    coarse = resample(volume, slices.size, axes=AXES)
    axis = np.arange(slices.size) - slices.size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing='ij')
    spectrum = np.fft.fftn(coarse)
    wave = 2j * np.pi * np.fft.fftfreq(slices.size)
    shapes = ((1, 1, -1), (1, -1, 1), (-1, 1, 1))
    dx, dy, dz = (np.fft.ifftn(spectrum * wave.reshape(shape)).real for shape in shapes)
    turned = [
        rotate(coarse, angle, plane, reshape=False, order=3)
        for plane in ((0, 1), (0, 2), (1, 2))
        for angle in (BLUR, -BLUR)
    ]
    found = [coarse, y * dz - z * dy, z * dx - x * dz, x * dy - y * dx, np.mean(turned, 0) - coarse]
    return [v.astype(np.float32) for v in found]
