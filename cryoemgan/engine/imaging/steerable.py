"""Images as Fourier coefficients, and a small basis for a set of images in which an in-plane rotation is a phase.

The origin of an image is its pixel N//2. Its vector holds the coefficients of half the Fourier plane, |k| <= radius,
k = 0 first, scaled so that the real dot product of two vectors is that of the two images (Parseval). Images of
templates must be zero around the object: without their k = 0, or on a grey background, the square edge of the box
would be part of the image and could not be rotated.

Steerable principal components (Zhao, Shkolnisky and Singer, IEEE Trans. Comput. Imaging 2, 2016, 1): the principal
components of a set of images together with all their rotations have the form g(|k|) exp(i m theta).
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch.nn.functional import grid_sample

from ..shapes import Tensor
from .quadrant import QuadrantFunctions, QuadrantProjector

# Distance of the rings on which radial profiles are known. Images as wide as their box oscillate with period 2
# along |k|.
STEP = 0.25
# Variance of what a basis cannot show, over the mean power of a coefficient. With a tenth of it turned images were
# wrong by five to seven times as much, with ten times as much they lost fine detail (RNA polymerase, 64 px).
NOISE = 1e-5
# Orders beyond pi |k|, the highest that an image of the box's width has at |k|, that are still kept.
ORDERS_BEYOND = 1.0


class FourierPlane:
    """The half plane of coefficients of images of ``box`` (even) pixels up to ``radius`` (default N/2 - 1)."""

    def __init__(self, box: int, radius: int | None = None, device: str | torch.device = 'cpu') -> None:
        self.box, self.radius = box, radius or box // 2 - 1
        kx = torch.arange(box // 2 + 1, device=device).float()
        ky = (torch.fft.fftfreq(box, device=device) * box).round()
        ky, kx = torch.meshgrid(ky, kx, indexing='ij')
        squared = kx**2 + ky**2
        inside = squared <= self.radius**2
        axes = torch.nonzero((inside & (((kx == 0) & (ky >= 0)) | ((ky == 0) & (kx > 0)))).flatten())[:, 0]
        above = torch.nonzero((inside & (kx > 0) & (ky > 0)).flatten())[:, 0]
        # Points with -ky in the order of those with ky: QuadrantFunctions build on that.
        column, row = above % (box // 2 + 1), above // (box // 2 + 1)
        self.axes, self.quadrant = len(axes), len(axes) + len(above)
        self.index = torch.cat([axes, above, (box - row) * (box // 2 + 1) + column])
        self.kx, self.ky = kx.flatten()[self.index], ky.flatten()[self.index]
        self._column, self._row = ((k + self.radius).long() for k in (self.kx, self.ky))
        self.r = torch.hypot(self.kx, self.ky)
        self.theta = torch.atan2(self.ky, self.kx)
        # Moves the origin from pixel (0, 0) to N//2.
        self._sign = math.sqrt(2) * (1 - 2 * ((self.kx + self.ky) % 2))
        self._sign[0] = 1
        self._share = torch.full_like(self.kx, 0.5)
        self._share[0] = 1

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def raster(self) -> Tensor:
        """int64[P], the coefficients in the order of their rows and columns: that of files."""
        return torch.argsort(self.index)

    def vectors(self, images: Tensor) -> Tensor:
        """complex64[..., P] of real images [..., N, N]."""
        spectrum = torch.fft.rfft2(images, norm='ortho').flatten(-2)
        return spectrum[..., self.index] * self._sign

    def images(self, vectors: Tensor) -> Tensor:
        """float32[..., N, N] of vectors."""
        n = self.box
        values = vectors.reshape(-1, len(self)) * (self._share * self._sign)
        columns = _picked(torch.nn.functional.pad(values, (0, 1)), self._columns).view(-1, n // 2 + 1, n)
        columns[:, 0, n // 2 + 1 :] = columns[:, 0, n // 2 + 1 :].conj()
        # Transforms along what lies together in memory take a fourth of the time of irfft2.
        rows = torch.fft.ifft(columns, norm='ortho').transpose(1, 2).contiguous()
        return torch.fft.irfft(rows, n, norm='ortho').view(*vectors.shape[:-1], n, n)

    @functools.cached_property
    def _columns(self) -> Tensor:
        """int64[(N / 2 + 1) N]: where in a vector and a zero behind it the coefficients are that an inverse transform
        takes, column by column. It takes both halves of the column kx = 0: one is the conjugate of the other."""
        n = self.box
        found = torch.full((n // 2 + 1, n), len(self), device=self.r.device)
        kx, ky = self.kx.long(), self.ky.long()
        found[0, (-ky[kx == 0]) % n] = torch.nonzero(kx == 0)[:, 0]
        found[kx, ky % n] = torch.arange(len(self), device=self.r.device)
        return found.flatten()

    def ramps(self, shifts: Tensor) -> Tensor:
        """complex64[..., P]: factors that move an image by ``shifts`` [..., 2], (x, y) in pixels."""
        # One factor for each row and column: far fewer sines than coefficients.
        k = torch.arange(-self.radius, self.radius + 1, device=shifts.device) * (-2 * math.pi / self.box)
        angle = shifts.reshape(-1, 2, 1) * k
        factors = torch.view_as_complex(torch.stack([torch.cos(angle), torch.sin(angle)], -1))
        columns, rows = (_picked(factors[:, i], points) for i, points in enumerate((self._column, self._row)))
        return columns.mul_(rows).view(*shifts.shape[:-1], len(self))

    def rings(self, power: Tensor) -> Tensor:
        """Sums [..., R] over rings of width 1 (ring j: |k| rounds to j) of values [..., P]."""
        ring = self.r.round().long()
        out = power.new_zeros(*power.shape[:-1], self.radius + 1)
        return out.index_add_(-1, ring, power)

    def ring_means(self, power: Tensor) -> Tensor:
        """Means [..., R] over rings; ring 0 is zero."""
        return self.rings(power) / self.rings(torch.ones_like(self.r)).clamp(min=1)


class SteerableBasis:
    """K functions g(|k|) exp(i m theta), m >= 0, on a FourierPlane.

    order: int64[K], m; profiles: float32[K, J], g at |k| = j * STEP. Coefficients are complex [..., K] (imaginary part
    without meaning where m = 0). A rotation of the image by d (from x to y) multiplies them by exp(-i m d). power:
    float[K], of the coefficients of the images it was made for, up to a factor; needed to find coefficients only.
    """

    def __init__(self, plane: FourierPlane, order: Tensor, profiles: Tensor, power: Tensor | None = None) -> None:
        self.plane, self.order, self.profiles, self.power = plane, order, profiles, power
        spline = CubicSpline(np.arange(profiles.shape[1]) * STEP, profiles.double().cpu(), axis=1)
        quadrant = slice(plane.quadrant)
        g = torch.as_tensor(spline(plane.r[quadrant].cpu()), dtype=torch.float32, device=profiles.device)
        # k = 0 has no second half: its coordinate is not doubled.
        g[:, 0] /= math.sqrt(2)
        angle = torch.arange(int(order.max()) + 1, device=g.device)[:, None] * plane.theta[quadrant].double()
        cosines, sines = (g * wave.float()[order] for wave in (torch.cos(angle), torch.sin(angle)))
        # A function of a real coefficient, on the half plane, has length 1: the cosine of even, the sine of odd orders.
        first = torch.where((order % 2 == 0)[:, None], cosines, sines)
        scale = (first[:, plane.axes :].square().sum(1) * 2 + first[:, : plane.axes].square().sum(1)).sqrt()[:, None]
        self._functions = QuadrantFunctions(order, cosines / scale, sines / scale, plane.axes)

    def __len__(self) -> int:
        return len(self.order)

    @functools.cached_property
    def matrix(self) -> Tensor:
        """float32[2 K, 2 P]: rows 2j and 2j + 1 belong to the real and imaginary part of coefficient j."""
        one = torch.eye(len(self), dtype=torch.complex64, device=self.order.device)
        return torch.view_as_real(self.synthesise(torch.stack([one, 1j * one], 1))).flatten(0, 1).flatten(1)

    def part(self, count: int, inside: Tensor) -> QuadrantFunctions:
        """The first ``count`` functions at the points ``inside``, bool[P], of a disc."""
        return self._functions.part(count, inside)

    def products(self, vectors: Tensor) -> Tensor:
        """complex64[..., K]: b with Re(sum conj(a) b) = <image of a, vector>."""
        return self._functions.products(vectors)

    def coefficients(self, vectors: Tensor) -> Tensor:
        """complex64[..., K], the most likely ones of vectors [..., P]: each is expected to have its power, and what the
        functions cannot show is noise.

        Least squares alone would show as much, but near k = 0, where a ring has few points, by functions of orders that
        these points cannot tell apart: turned, the image then came out wrong (by 0.4 % of its power, 2 % near k = 0).
        """
        return self._towards(vectors)

    @functools.cached_property
    def _towards(self) -> QuadrantProjector:
        """Vectors to coefficients."""
        assert self.power is not None
        expected = (self.power / self.power.sum()).double()
        # In units of the mean power of a coefficient; each counts for its real and its imaginary part.
        return self._functions.projector(NOISE / (2 * len(expected) * expected))

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """complex64[..., P]: vectors of coefficients [..., K]."""
        return self._functions.synthesise(coefficients)

    def turned(self, coefficients: Tensor, angles: Tensor) -> Tensor:
        """Coefficients [..., K] of the images rotated by ``angles`` [...] (radians, from x to y)."""
        return turned(coefficients, self.order, angles)


def turned(coefficients: Tensor, order: Tensor, angles: Tensor) -> Tensor:
    """Coefficients complex64[..., K] of functions of angular orders int64[K], of images rotated by ``angles`` [...]
    (radians, from x to y)."""
    # Far fewer orders than functions.
    turns = angles.reshape(-1, 1) * -torch.arange(int(order.max()) + 1, device=order.device)
    phases = torch.view_as_complex(torch.stack([torch.cos(turns), torch.sin(turns)], -1))
    return coefficients * _picked(phases, order).view(*angles.shape, len(order))


def principal_basis(plane: FourierPlane, vectors: Tensor, energy: float = 0.999, most: int = 400) -> SteerableBasis:
    """The SteerableBasis of images given as vectors [n, P]: the fewest functions (at most ``most``) that hold the
    share ``energy`` of their power. Functions are sorted by the power they hold."""
    polar = _polar(plane, vectors)
    radius = torch.arange(polar.shape[1], device=polar.device) * STEP
    spectrum = torch.fft.fft(polar, dim=2)[:, :, : polar.shape[2] // 2]
    entries = []
    weight = radius.sqrt()
    for m in range(spectrum.shape[2]):
        # An image within its box has next to nothing there; what interpolation between the few points near k = 0 shows
        # of it is another order's, and functions made of it are far from orthogonal.
        part = spectrum[:, :, m] * (weight * (math.pi * radius > m - ORDERS_BEYOND))
        covariance = (part.T @ part.conj()).real.double()
        values, functions = torch.linalg.eigh(covariance)
        multiplicity = 1 if m == 0 else 2
        for value, function in zip(values.flip(0).tolist(), functions.flip(1).T):
            entries.append((value * multiplicity, m, function.float()))
    entries.sort(key=lambda e: -e[0])
    total, held, kept = sum(e[0] for e in entries), 0.0, []
    for entry in entries[:most]:
        kept.append(entry)
        held += entry[0]
        if held >= energy * total:
            break
    # At k = 0 only m = 0 lives, and it arrives there with slope zero.
    profiles = torch.stack([e[2] / weight.clamp(min=1e-6) for e in kept])
    flat = torch.tensor([float(e[1] == 0) for e in kept], device=profiles.device)
    profiles[:, 0] = flat * (4 * profiles[:, 1] - profiles[:, 2]) / 3
    order = torch.tensor([e[1] for e in kept], device=profiles.device)
    power = torch.tensor([e[0] for e in kept], device=profiles.device)
    return SteerableBasis(plane, order, profiles, power)


def _picked(values: Tensor, columns: Tensor) -> Tensor:
    """Columns int64 [P] of complex values [n, C]."""
    columns = columns.expand(len(values), -1)
    if values.dtype != torch.complex64:
        return values.gather(1, columns)
    # Real numbers of as many bytes are picked three times faster.
    return values.contiguous().view(torch.float64).gather(1, columns).view(torch.complex64)


def _polar(plane: FourierPlane, vectors: Tensor, chunk: int = 64) -> Tensor:
    """Fourier transforms complex64[n, J, T] on rings |k| = j * STEP, all around, by cubic interpolation."""
    n, turns = plane.box, 4 * plane.radius
    radius = torch.arange(round(plane.radius / STEP) + 1, device=vectors.device) * STEP
    angle = torch.arange(turns, device=vectors.device) * (2 * math.pi / turns)
    # Padded four times: cubic interpolation is then good to a part in a thousand.
    size = 4 * n
    grid = torch.stack([radius[:, None] * torch.cos(angle), radius[:, None] * torch.sin(angle)], -1)
    # grid_sample counts -1 .. 1 from the first to the last of the padded transform.
    grid = (4 * grid + 2 * n) * (2 / (size - 1)) - 1
    # Origins in the middle, of image and transform: signs are cheaper than moving the quarters.
    signs = 1 - 2 * (
        (torch.arange(size, device=vectors.device)[:, None] + torch.arange(size, device=vectors.device)) % 2
    )
    out = []
    for part in vectors.split(chunk):
        images = torch.nn.functional.pad(plane.images(part), (3 * n // 2,) * 4)
        spectrum = torch.fft.fft2(images * signs) * signs
        planes = torch.view_as_real(spectrum).permute(0, 3, 1, 2)
        values = grid_sample(planes, grid.expand(len(part), -1, -1, -1), 'bicubic', 'zeros', align_corners=True)
        out.append(torch.complex(values[:, 0], values[:, 1]))
    return torch.cat(out)
