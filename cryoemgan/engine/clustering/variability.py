"""Modes of change of a 3D map, found from particles at known angles: features that mean the same at every view.

Probabilistic PCA of volumes seen through their projections (Tagare et al., J. Struct. Biol. 191 (2015) 245; Punjani and
Fleet, J. Struct. Biol. 213 (2021) 107702): image_i = g_i CTF_i P_i (U_0 + sum_j z_ij U_j) + noise, z ~ N(0, 1).
Expectation maximisation in Fourier space: given the volumes, each z_i is a small linear system; given the z, each voxel
is one. The contrast g_i of a particle and what is left of its shift are fitted to the mean map first (levelling.py).
The mean of an image is not looked at.

From the tenth round on the volumes are cut to the particle and its surroundings (half of Otsu's threshold of the
mean map, grown): outside it a mode is noise, which every particle would be measured by.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from skimage.filters import threshold_otsu

from ..imaging.resample import resample, resize
from ..shapes import Images, Matrices, Shifts, Tensor, Volume
from .scale_and_shift import ScaleAndShift

OVERSAMPLING = 2
LEVELLED = 3
# Earlier a mode may still be lost to the mask before it is found. Margin and soft edge in parts of the box.
MASKED_FROM = 10
MARGIN, EDGE = 0.05, 0.06


class Slices:
    """Images as low-frequency slices: coefficients complex64 [n, m], positions float32 [n, 3, m] in the 3D grid.

    detail: radius of the disc, in Fourier rings. Origin of the particles in the middle, shifts undone.
    """

    def __init__(self, box: int, detail: int) -> None:
        self.box, self.detail = box, min(detail, box // 2 - 1)
        ky, kx = torch.meshgrid(
            torch.arange(-self.detail, self.detail + 1), torch.arange(self.detail + 1), indexing='ij'
        )
        # Half a plane, each pair of opposite coefficients once.
        keep = (kx**2 + ky**2 <= self.detail**2) & ((kx > 0) | (ky > 0))
        self.kx, self.ky = kx[keep], ky[keep]
        self.size = 2 * (OVERSAMPLING * self.detail + 2)

    def of(self, images: Images, shifts: Shifts) -> Tensor:
        """Coefficients of images float32 [n, box, box] whose particles are centred by ``shifts`` [n, 2] (x, y) px."""
        spectrum = torch.fft.rfft2(torch.as_tensor(images))[:, self.ky % self.box, self.kx] / self.box
        centre = torch.as_tensor(shifts, dtype=torch.float32) - self.box // 2
        turns = (centre[:, :1] * self.kx + centre[:, 1:] * self.ky) / self.box
        return spectrum * torch.polar(torch.ones_like(turns), -2 * math.pi * (turns % 1))

    def positions(self, matrices: Matrices | Tensor) -> Tensor:
        """Where the coefficients lie in the grid, float32 [n, 3, m]; matrices [n, 3, 3] of p_img = A p_vol."""
        matrices = torch.as_tensor(matrices, dtype=torch.float32) * OVERSAMPLING
        k = matrices[:, 0, :, None] * self.kx + matrices[:, 1, :, None] * self.ky
        return k + self.size // 2

    def corners(self, matrices: Matrices | Tensor) -> tuple[Tensor, Tensor]:
        """Indices int64 [n, 8, m] and weights float32 [n, 8, m] of trilinear interpolation."""
        p = self.positions(matrices)
        low = p.floor()
        f, low, size = p - low, low.long(), self.size
        index, weight = [], []
        for corner in range(8):
            bits = [(corner >> a) & 1 for a in range(3)]
            x, y, z = (low[:, a] + b for a, b in enumerate(bits))
            index.append((z * size + y) * size + x)
            w = [f[:, a] if b else 1 - f[:, a] for a, b in enumerate(bits)]
            weight.append(w[0] * w[1] * w[2])
        return torch.stack(index, 1), torch.stack(weight, 1)

    def through(self, volumes: Tensor, matrices: Matrices | Tensor) -> Tensor:
        """Slices complex64 [n, k, m] of volumes in Fourier space, complex64 [k, size^3]."""
        index, weight = self.corners(matrices)
        return (volumes[:, index] * weight).sum(2).transpose(0, 1)

    def grid(self, volume: Volume) -> Tensor:
        """A density float32 [N, N, N] that fills the particles' field of view, in Fourier space: complex64 [size^3]."""
        inner = self.size // OVERSAMPLING
        coarse = resample(volume, inner, axes=(-3, -2, -1)) * ((self.box / inner) ** 3 / self.box)
        padded = torch.as_tensor(resize(coarse, self.size, axes=(-3, -2, -1)), dtype=torch.float32)
        dims = (-3, -2, -1)
        return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(padded, dims), dim=dims), dims).flatten()


class Modes:
    """Mean and ``count`` modes on a Fourier grid [1 + count, size^3]; learned by ``learn``, used by ``locate``."""

    def __init__(self, slices: Slices, count: int, seed: int = 0) -> None:
        self.slices, self.count = slices, count
        self.noise: float | None = None
        self._levelling = ScaleAndShift(slices)
        self._generator = torch.Generator().manual_seed(seed)
        self.volumes: torch.Tensor = torch.zeros(0)
        self._mask: torch.Tensor | None = None

    def learn(self, batches: list[tuple[Tensor, Tensor, Tensor | None]], rounds: int = 25) -> Modes:
        """batches: list of (coefficients [n, m], matrices [n, 3, 3], ctf [n, m] or None), in memory: the landmarks."""
        total = sum(len(b[0]) for b in batches)
        z = torch.randn(total, self.count, generator=self._generator)
        spread = torch.eye(self.count).expand(total, -1, -1) * 0.1
        power = sum(float((b[0].abs() ** 2).sum()) for b in batches) / sum(b[0].numel() for b in batches)
        given = batches
        for _ in range(LEVELLED):
            self.volumes = self._volumes(batches, torch.zeros_like(z), torch.zeros_like(spread), power)
            self._levelling.fit([(b[0], self._mean(*b[1:])) for b in given])
            batches = [(self._levelled(*b), *b[1:]) for b in given]
        for number in range(rounds):
            if number == MASKED_FROM:
                self._mask = self._surroundings()
            self.volumes = self._volumes(batches, z, spread, power)
            found = [self._latent(*b) for b in batches]
            z, spread = (torch.cat([f[i] for f in found]) for i in (0, 1))
            self.noise = sum(float(f[2]) for f in found) / total
            # The model says z has unit covariance; telling it so speeds convergence.
            scale = torch.linalg.cholesky(torch.cov(z.T).reshape(self.count, self.count) + 1e-6 * torch.eye(self.count))
            inverse = torch.linalg.inv(scale)
            z = (z - z.mean(0)) @ inverse.T
            spread = inverse @ spread @ inverse.T
        self.volumes = self._volumes(batches, z, spread, power)
        return self

    def locate(self, coefficients: Tensor, matrices: Tensor, ctf: Tensor | None) -> Tensor:
        """z float32 [n, count]: the most likely coordinates of particles."""
        return self._latent(self._levelled(coefficients, matrices, ctf), matrices, ctf)[0]

    def evidence(self, coefficients: Tensor, matrices: Tensor, ctf: Tensor | None) -> tuple[Tensor, Tensor]:
        """(h [n, count], L [n, count, count]): log p(particle | z) = h z - z L z / 2, up to what does not hang on z."""
        return self._seen(self._levelled(coefficients, matrices, ctf), matrices, ctf)[:2]

    def _mean(self, matrices: Tensor, ctf: Tensor | None) -> Tensor:
        """The mean map as each particle sees it, complex64 [n, m]."""
        mean = self._project(matrices, slice(0, 1))[:, 0]
        return mean if ctf is None else mean * ctf

    def _levelled(self, coefficients: Tensor, matrices: Tensor, ctf: Tensor | None) -> Tensor:
        """Coefficients with the particles' contrasts and shifts taken out."""
        return self._levelling(coefficients, self._mean(matrices, ctf))

    def _latent(self, coefficients: Tensor, matrices: Tensor, ctf: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior mean and covariance of z, and the mean squared residual, summed over particles."""
        towards, precision, rest, modes = self._seen(coefficients, matrices, ctf)
        covariance = torch.linalg.inv(precision + torch.eye(self.count))
        z = (covariance @ towards[:, :, None])[:, :, 0]
        left = rest - (z[:, :, None].to(modes.dtype) * modes).sum(1)
        return z, covariance, (left.abs() ** 2).mean(1).sum()

    def _seen(
        self, coefficients: Tensor, matrices: Tensor, ctf: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What particles say of z, as ``evidence``; what the mean map leaves of them; the modes as each sees them."""
        seen = self._project(matrices)
        if ctf is not None:
            seen = seen * ctf[:, None]
        rest, modes = coefficients - seen[:, 0], seen[:, 1:]
        noise = self.noise or float((rest.abs() ** 2).mean())
        gram = (modes.conj() @ modes.transpose(1, 2)).real
        towards = (modes.conj() @ rest[:, :, None]).real[:, :, 0]
        # Half a plane of complex numbers: twice as many real ones, each with half the noise.
        return 2 * towards / noise, 2 * gram / noise, rest, modes

    def _project(self, matrices: Tensor, which: slice = slice(None)) -> Tensor:
        return self.slices.through(self.volumes[which], matrices)

    def _volumes(
        self, batches: list[tuple[Tensor, Tensor, Tensor | None]], z: Tensor, spread: Tensor, power: float
    ) -> Tensor:
        """The volumes that fit best given z, voxel by voxel, cut to the sphere that the box can hold."""
        k, points, start = self.count + 1, self.slices.size**3, 0
        right = torch.zeros(k, points, 2)
        left = torch.zeros(k, k, points)
        for coefficients, matrices, ctf in batches:
            n = len(coefficients)
            ones = torch.ones(n, 1)
            full = torch.cat([ones, z[start : start + n]], 1)
            second = full[:, :, None] * full[:, None]
            second[:, 1:, 1:] += spread[start : start + n]
            index, weight = self.slices.corners(matrices)
            flat = index.flatten()
            seen = torch.ones_like(coefficients.real) if ctf is None else ctf
            data = torch.view_as_real(coefficients * seen)
            for i in range(k):
                part = weight[..., None] * (full[:, i, None, None] * data)[:, None]
                right[i].index_add_(0, flat, part.reshape(-1, 2))
                for j in range(i + 1):
                    part = weight * (second[:, i, j, None] * seen**2)[:, None]
                    left[i, j].index_add_(0, flat, part.flatten())
                    left[j, i] = left[i, j]
            start += n
        return self._solve(right, left, start)

    def _solve(self, right: Tensor, left: Tensor, count: int) -> Tensor:
        right = torch.complex(right[..., 0], right[..., 1])
        size, k = self.slices.size, self.count + 1
        # A density is real: what one half of Fourier space knows, the other does.
        right = (right + self._mirror(right).conj()).T
        left = (left + self._mirror(left)).permute(2, 0, 1)
        met = left[:, 0, 0] > 1e-3
        ridge = 0.02 * left[met, 0, 0].mean() * torch.eye(k)
        volumes = torch.zeros(k, size**3, dtype=torch.complex64)
        solved = torch.linalg.solve((left[met] + ridge).to(torch.complex64), right[met][:, :, None])[:, :, 0]
        volumes[:, met] = solved.T
        return self._inside(volumes.view(k, size, size, size)).reshape(k, -1)

    def _mirror(self, values: Tensor) -> Tensor:
        """Value at -k; the grid's origin is at size // 2 and its first planes are empty."""
        size = self.slices.size
        cube = values.reshape(*values.shape[:-1], size, size, size)
        return torch.roll(cube.flip(-1, -2, -3), (1, 1, 1), (-1, -2, -3)).reshape(values.shape)

    def _inside(self, volumes: Tensor) -> Tensor:
        """Zero outside the mask and the sphere inscribed in the box: half the radius of the oversampled grid."""
        mask = ((self.slices.size / (2 * OVERSAMPLING) - self._radius()) / 2 + 1).clamp(0, 1)
        if self._mask is not None:
            mask = mask * self._mask
        dims = (-3, -2, -1)
        return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(_real(volumes) * mask, dims), dim=dims), dims)

    def _radius(self) -> Tensor:
        axis = torch.arange(self.slices.size) - self.slices.size // 2
        return (axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2).sqrt()

    def _surroundings(self) -> Tensor:
        """Mask float32 [size, size, size]: the mean map above Otsu's threshold, a margin about it, a soft edge."""
        size = self.slices.size
        density = _real(self.volumes[0].view(size, size, size)).real.numpy()
        inside = (self._radius() < size / (2 * OVERSAMPLING)).numpy()
        box = size / OVERSAMPLING
        level = np.median(density[inside])
        # What moves is smeared in the mean map, hence weak: half as far above the solvent as Otsu's threshold.
        core = inside & (density - level > (threshold_otsu(density[inside]) - level) / 2)
        away = distance_transform_edt(~core) / box
        return torch.from_numpy(((MARGIN + EDGE - away) / EDGE).clip(0, 1).astype('float32'))


def _real(volumes: Tensor) -> Tensor:
    """Densities complex [..., size, size, size] of volumes in Fourier space, both with the origin at size // 2."""
    dims = (-3, -2, -1)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(volumes, dims), dim=dims), dims)
