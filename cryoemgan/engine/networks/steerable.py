"""Steerable principal components: a basis in which turning an image is a phase.

Component (m, q) is u_mq(r) cos(m phi) or u_mq(r) sin(m phi) about the origin N//2. They are the principal components
of a set of images together with all their turns and mirror images (Zhao and Singer, J. Opt. Soc. Am. A 2013),
found one angular frequency at a time from images sampled on rings.
"""

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates
from torch import nn

from ..resample import resample

# Angular frequencies 0..31 and up to 24 radial functions of each: what a particle of 64 px has above the noise.
FREQUENCIES, RADIAL = 32, 24
# Finer detail than this box holds is far below the noise of a single particle.
LARGEST_INNER = 128
# Images that the components are measured on: turns and mirrors make far more of them.
SAMPLES = 2000


class Components(nn.Module):
    """Analysis and synthesis in up to ``rank`` steerable components of images of ``box`` px.

    Buffers, zero until `fit`: basis [rank, n, n] orthonormal, n = min(box, 128); frequency [rank] and slot [rank]
    (place in [FREQUENCIES, 2 (cosine, sine), RADIAL]; one past the end for an unused row); mean [n, n] of the
    references; centre [rank] of the particles; wiener [rank], the least-squares estimate of a reference's
    coefficient from its particle's; size_noisy and size_clean [rank], the s.d. of both coefficients.
    """

    def __init__(self, box, rank):
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

    def analyse(self, images):
        """Coefficients [B, rank] of images [B, 1, box, box]."""
        if self.inner != self.box:
            images = self.down @ images @ self.down.T
        return images.flatten(1) @ self.basis.flatten(1).T

    def synthesise(self, coefficients):
        """Images [B, 1, box, box]: the mean reference plus the components."""
        flat = torch.addmm(self.mean.flatten(), coefficients, self.basis.flatten(1))
        images = flat.view(-1, 1, self.inner, self.inner)
        return self.up @ images @ self.up.T if self.inner != self.box else images

    def mean_image(self):
        """The mean reference [1, 1, box, box]."""
        return self.synthesise(self.mean.new_zeros(1, self.rank))

    @torch.no_grad()
    def fit(self, noisy, clean):
        """Measure everything on normalised pairs [n, 1, box, box]."""
        chosen = np.linspace(0, len(clean) - 1, min(len(clean), SAMPLES)).round().astype(int)
        noisy, clean = (resample(x[chosen, 0].cpu().numpy(), self.inner) for x in (noisy, clean))
        basis, slots, mean = principal_components(clean, self.rank)
        count = len(slots)
        self.basis.zero_()
        self.basis[:count] = torch.from_numpy(basis)
        self.slot.fill_(FREQUENCIES * 2 * RADIAL)
        self.slot[:count] = torch.from_numpy(slots)
        self.mean.copy_(torch.from_numpy(mean))
        flat = self.basis.flatten(1).T
        y = torch.from_numpy(np.ascontiguousarray(noisy)).flatten(1) @ flat
        x = (torch.from_numpy(np.ascontiguousarray(clean)) - self.mean).flatten(1) @ flat
        self.centre.copy_(y.mean(0) * (self._angular() == 0))
        y -= self.centre
        yy, xx, xy = (
            self._over_pairs(v.square().mean(0) if v is w else (v * w).mean(0)) for v, w in ((y, y), (x, x), (x, y))
        )
        self.size_noisy.copy_(yy.sqrt())
        self.size_clean.copy_(xx.sqrt())
        self.wiener.copy_(xy / yy.clamp_min(1e-12))

    def _angular(self):
        return self.slot.div(2 * RADIAL, rounding_mode='floor')

    def _over_pairs(self, values):
        """Mean over cosine and sine of the same component: all turns are equally likely."""
        m, place = self._angular(), self.slot % (2 * RADIAL)
        key = m * RADIAL + place % RADIAL
        total = torch.zeros(int(key.max()) + 1).index_add_(0, key, values)
        count = torch.zeros_like(total).index_add_(0, key, torch.ones_like(values))
        return (total / count)[key]


def principal_components(images, rank):
    """(basis float32[k, N, N], slots int64[k], mean float32[N, N]) of images float32[n, N, N]; k <= rank.

    Of the images together with all their turns and mirror images. Cosine and sine stand side by side; largest first.
    """
    side = images.shape[-1]
    radii = np.arange(0.5, side * 0.5**0.5, 1.0)
    x = _rings(images, radii)
    mean = x[:, 0].real.mean(0)
    x[:, 0] -= mean
    weight = np.sqrt(2 * np.pi * radii)
    found = []
    for m in range(x.shape[1]):
        variance, modes = np.linalg.eigh(_covariance(x[:, m] * weight))
        last = len(variance) - 1
        found += [(variance[last - q], m, q, modes[:, last - q] / weight) for q in range(min(RADIAL, last + 1))]
    found.sort(key=lambda item: -item[0])
    functions, slots = [], []
    for variance, m, q, values in found:
        if variance <= 1e-6 * found[0][0] or len(slots) + (1 if m == 0 else 2) > rank:
            break
        for part, image in enumerate(_functions(values, radii, m, side)):
            functions.append(image.ravel())
            slots.append((2 * m + part) * RADIAL + q)
    return _orthonormal(np.array(functions)).reshape(-1, side, side), np.array(slots), _radial(mean, radii, side, 0)


def _rings(images, radii):
    """Angular Fourier coefficients complex64[n, FREQUENCIES, len(radii)] about N//2; edge pixels continue outside."""
    side = images.shape[-1]
    turn = 2 * np.pi * np.arange(max(2 * side, 2 * FREQUENCIES)) / max(2 * side, 2 * FREQUENCIES)
    at = [side // 2 + radii[:, None] * f(turn) for f in (np.sin, np.cos)]
    out = np.empty((len(images), FREQUENCIES, len(radii)), np.complex64)
    for image, row in zip(images, out):
        sampled = map_coordinates(image, at, order=3, mode='nearest')
        row[:] = np.fft.rfft(sampled, axis=1, norm='forward').T[:FREQUENCIES]
    return out


def _covariance(rows):
    # Mirror images have the conjugate coefficients: the mean over both is real.
    return (rows.T @ rows.conj()).real.astype(np.float64) / len(rows)


def _functions(values, radii, m, side):
    """The image of a radial function for frequency 0, or its cosine and sine image."""
    image = _radial(values, radii, side, m)
    if m == 0:
        return [image]
    y, x = np.mgrid[:side, :side] - side // 2
    angle = m * np.arctan2(y, x)
    return [np.float32(2**0.5) * image * f(angle).astype(np.float32) for f in (np.cos, np.sin)]


def _radial(values, radii, side, m):
    """Radial function with the parity of its frequency, on the pixels: float32[side, side]."""
    y, x = np.mgrid[:side, :side] - side // 2
    both = np.concatenate([(-1) ** m * values[2::-1], values])
    return CubicSpline(np.concatenate([-radii[2::-1], radii]), both)(np.hypot(x, y)).astype(np.float32)


def _orthonormal(rows):
    """The orthonormal set nearest to ``rows`` [k, p] (Loewdin): treats cosine and sine alike."""
    variance, modes = np.linalg.eigh(rows.astype(np.float64) @ rows.T)
    inverse_root = (modes / np.sqrt(variance.clip(1e-6))) @ modes.T
    return inverse_root.astype(np.float32) @ rows
