"""Projections of a density map as slices of its Fourier transform.

The projection-slice theorem: the 2D transform of a projection is the central slice, normal to the viewing
direction, of the 3D transform. Conventions as in geometry.py; origin at N//2 for even and odd boxes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import grid_sample

from ..shapes import Floats, Matrices, Shifts, Tensor, Volume


class FourierProjector:
    """Projects one cubic volume at any orientation.

    volume: float[N, N, N] (axes z, y, x), array or tensor. pad: the volume is zero-padded to pad*N, the transform
    sampled that much finer. interpolation: 'linear' (8 coefficients a point) or 'cubic' (64, B-spline).

    Interpolation in Fourier space multiplies the map by sinc(x / padded box)^n (n = 2 linear, 4 cubic B-spline),
    so the map is divided by it beforehand (gridding correction); for the B-spline this is also its prefilter.
    Only the half with kx >= 0 is kept: 8 bytes * (pad*N)^3 / 2, 68 MB for N = 128 and pad 2.
    """

    def __init__(
        self,
        volume: Volume | Tensor,
        pad: float = 2.0,
        interpolation: str = 'linear',
        device: str | torch.device = 'cpu',
    ) -> None:
        if interpolation not in ('linear', 'cubic'):
            raise ValueError(f"interpolation: 'linear' or 'cubic', not {interpolation!r}")
        if pad < 1:
            raise ValueError(f'pad: {pad} is less than 1')
        volume = torch.as_tensor(volume, dtype=torch.float32)
        if volume.ndim != 3 or len(set(volume.shape)) != 1:
            raise ValueError(f'volume: expected a cube, got shape {tuple(volume.shape)}')
        self.box = volume.shape[0]
        self.interpolation, self.device = interpolation, torch.device(device)
        padded = 2 * round(self.box * pad / 2)
        self._step = padded / self.box
        # Neighbours of the outermost coefficients: one more for linear, two for cubic, three to be safe.
        margin = 3
        self._low = (margin, padded // 2 + margin, padded // 2 + margin)
        self._coefficients = _half_transform(volume.to(self.device), padded, interpolation, margin)
        self._disc, self._disc_index = _disc(self.box, self.device)

    @torch.no_grad()
    def project(
        self,
        matrices: Matrices | Tensor,
        shifts: Shifts | Tensor | None = None,
        scale: Floats | float | Tensor | None = None,
    ) -> Tensor:
        """Real images float32[B, N, N] (axes y, x): the volume seen at ``matrices``, moved by -``shifts``.

        matrices: float[B, 3, 3], A of p_img = A p_vol. shifts: float[B, 2], (x, y) in pixels of the images, the
        shift that centres each image (RELION's origin / pixel size); default none. scale: float or float[B],
        pixel size of the images / pixel size of the volume; default 1. Values are sums along the line of sight
        in voxels of the volume, whatever the scale.
        """
        return torch.fft.irfft2(self.project_rfft(matrices, shifts, scale), s=(self.box, self.box))

    @torch.no_grad()
    def project_rfft(
        self,
        matrices: Matrices | Tensor,
        shifts: Shifts | Tensor | None = None,
        scale: Floats | float | Tensor | None = None,
    ) -> Tensor:
        """The rfft2 of what ``project`` gives, complex64[B, N, N//2+1]; zero at and beyond the Nyquist circle."""
        matrices = self._tensor(matrices)
        count, n = len(matrices), self.box
        # 1 for rotations; other matrices stretch the image (data.optics), and its area with it.
        stretch = (torch.linalg.cross(matrices[:, 0], matrices[:, 1]) * matrices[:, 2]).sum(1).abs()
        if scale is not None:
            scale = self._tensor(scale).expand(count)
            matrices = matrices / scale[:, None, None]
        values = self._slice(matrices) * stretch[:, None]
        if scale is not None:
            # A transform of samples is a sum over pixels: fewer pixels to the area, smaller sum.
            values = values / scale[:, None] ** 2
        spectrum = torch.zeros(count, n * (n // 2 + 1), dtype=torch.complex64, device=self.device)
        spectrum[:, self._disc_index] = values
        return self._move(spectrum.view(count, n, n // 2 + 1), shifts)

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _move(self, spectrum: Tensor, shifts: Shifts | Tensor | None) -> Tensor:
        """Put the origin at N//2 and move by -shifts: one separable phase ramp, in place."""
        n = self.box
        centre = torch.full((len(spectrum), 2), float(n // 2), device=self.device)
        move = self._tensor(shifts) - centre if shifts is not None else -centre
        for axis, k in ((0, torch.fft.rfftfreq(n)), (1, torch.fft.fftfreq(n))):
            turns = (move[:, axis, None] * k.to(self.device)) % 1.0
            phase = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
            spectrum *= phase[:, None, :] if axis == 0 else phase[:, :, None]
        return spectrum

    def _slice(self, matrices: Tensor) -> Tensor:
        """Interpolated coefficients complex64[B, M] at the points of the disc."""
        kx, ky = self._disc
        # k_vol = A^T (kx, ky, 0), in steps of the padded transform; axes x, y, z first: [3, B, M].
        rows = (matrices * self._step).permute(1, 2, 0)[..., None]
        k = rows[0] * kx + rows[1] * ky
        # Friedel: F(-k) = conj F(k); only kx >= 0 is stored.
        sign = torch.where(k[0] < 0, -1.0, 1.0)
        k *= sign
        fetched = self._linear(k) if self.interpolation == 'linear' else self._cubic(k)
        return torch.complex(fetched[:, 0], fetched[:, 1] * sign)

    def _linear(self, k: Tensor) -> Tensor:
        """Trilinear interpolation, float32[B, 2, M], at k float32[3, B, M]."""
        return self._fetch(self._to_grid(k)[..., None])[..., 0]

    def _cubic(self, k: Tensor) -> Tensor:
        """Cubic B-spline out of eight trilinear fetches a point (Sigg and Hadwiger, GPU Gems 2, chapter 20)."""
        below = torch.floor(k)
        f = k - below
        first = (1 - f) ** 3 / 6 + (4 - 6 * f**2 + 3 * f**3) / 6
        second = 1 - first
        # One linear fetch between the two samples of each pair gives their weighted sum.
        low = below - 1 + (4 - 6 * f**2 + 3 * f**3) / 6 / first
        high = below + 1 + f**3 / 6 / second
        # The eight lie side by side, so that seven of them find their coefficients in the cache.
        corners = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
        where = self._to_grid(torch.stack([low, high]), axis=1)
        grid = torch.stack([torch.stack([where[c[a], a] for c in corners], -1) for a in range(3)])
        weights = torch.stack([first, second])
        weight = torch.stack([weights[x, 0] * weights[y, 1] * weights[z, 2] for x, y, z in corners], -1)
        return (self._fetch(grid) * weight[:, None]).sum(-1)

    def _to_grid(self, k: Tensor, axis: int = 0) -> Tensor:
        """Positions in units of grid_sample: -1 to 1 from the first to the last stored coefficient."""
        sizes = self._coefficients.shape[:1:-1]
        shape = [3 if a == axis else 1 for a in range(k.ndim)]
        slope = torch.tensor([2 / (size - 1) for size in sizes], device=self.device).view(shape)
        start = torch.tensor(
            [2 * low / (size - 1) - 1 for low, size in zip(self._low, sizes)], device=self.device
        ).view(shape)
        return k * slope + start

    def _fetch(self, grid: Tensor) -> Tensor:
        """float32[B, 2, M, C] at grid float32[3, B, M, C]."""
        # grid_sample shares work between threads by batch only: the one volume is repeated (without a copy).
        volumes = self._coefficients.expand(grid.shape[1], -1, -1, -1, -1)
        positions = grid.permute(1, 2, 3, 0)[:, None]
        return grid_sample(volumes, positions, 'bilinear', 'zeros', align_corners=True)[:, :, 0]


def _disc(box: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Frequencies (kx, ky) float32[M] each with kx >= 0 inside the Nyquist circle, and where they are in an rfft2.

    The circle itself is left out: for even boxes its two points have no partner of opposite sign.
    """
    kx = torch.arange(box // 2 + 1)
    ky = (torch.fft.fftfreq(box) * box).round()
    ky, kx = torch.meshgrid(ky, kx.float(), indexing='ij')
    index = torch.nonzero((4 * (kx**2 + ky**2) < box**2).flatten())[:, 0]
    return (kx.flatten()[index].to(device), ky.flatten()[index].to(device)), index.to(device)


def _half_transform(volume: Tensor, padded: int, interpolation: str, margin: int) -> Tensor:
    """Coefficients float32[1, 2 (re, im), z, y, x] of the corrected, padded volume about its origin at N//2.

    kx from -margin to padded/2 + margin, ky and kz from -(padded/2 + margin) to padded/2 + margin, continued
    periodically. Axis by axis, each padded only when its turn comes: half the memory and time of a 3D FFT.
    """
    box = volume.shape[0]
    position = torch.arange(box, device=volume.device) - box // 2
    correction = torch.sinc(position / padded) ** (-2 if interpolation == 'linear' else -4)
    data = volume * correction * correction[:, None] * correction[:, None, None]
    half = padded // 2 + margin
    for axis in (2, 1, 0):
        k = torch.arange(-margin if axis == 2 else -half, half + 1, device=volume.device)
        turns = (k * (box // 2) % padded).double() / padded
        phase = torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(torch.complex64)
        data = _transform_axis(data, axis, padded, k % padded, phase)
    # Real and imaginary part side by side in memory: one cache line instead of two.
    return torch.view_as_real(data).permute(3, 0, 1, 2)[None]


def _transform_axis(data: Tensor, axis: int, padded: int, rows: Tensor, phase: Tensor) -> Tensor:
    """FFT of one axis zero-padded to ``padded``, its coefficients ``rows`` times ``phase``; slab by slab.

    The whole at once would need twice the memory of the result.
    """
    shape = list(data.shape)
    shape[axis] = len(rows)
    out = torch.empty(shape, dtype=torch.complex64, device=data.device)
    across = 1 if axis == 0 else 0
    phase = phase.view([-1 if a == axis else 1 for a in range(3)])
    for source, target in zip(data.split(16, across), out.split(16, across)):
        target.copy_(torch.fft.fft(source, n=padded, dim=axis).index_select(axis, rows) * phase)
    return out
