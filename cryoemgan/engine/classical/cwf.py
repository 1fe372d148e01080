"""Covariance Wiener filter (Bhamre, Zhang, Singer 2016): the best linear filter for images at every in-plane angle.

As a particle is equally likely at every in-plane angle, the covariance of the images is block diagonal in a steerable
basis, one block an angular frequency: a few thousand numbers to learn instead of box^4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from ..imaging.fourierbessel import FourierBessel
from ..shapes import Floats, Images, Tensor
from .base import Batch, Method, corners, profile_frequencies

# Stopped at 1e-4 the solution is still on its way, and where it stands then hangs on rounding (3e-4 of the result
# between batch sizes). At 1e-6 it stands still, at the same error, for one common defocus too.
CG_STEPS = 2000
CG_TOLERANCE = 1e-6


class Denoiser(Method):
    """Mean and covariance of the images before the transfer function, learned from the noisy set.

    The model: z = A x + noise in the basis, block by block; A, the action of the radial CTF, is G^T W D(H) G with G the
    Hankel transform of the basis and W the weight of a frequency. Eigenvalues of the noisy covariance are shrunk for
    the Frobenius norm (Donoho, Gavish, Johnstone 2018) before the CTF is divided out by conjugate gradients.
    """

    learns = True
    learnt = ('background', 'mean', 'factors')
    uses_ctf = True

    def __init__(self, box: int) -> None:
        super().__init__(box)
        self.basis = FourierBessel(box)
        self.background = 0.0
        self.mean: np.ndarray = np.zeros(0)
        self.factors: list[np.ndarray] = []
        frequencies = profile_frequencies(box)
        weight = 2 * np.pi * frequencies * (frequencies[1] - frequencies[0])
        # Columns carry the root of the weight, so that G^T G is the identity.
        self._hankel = [np.sqrt(weight)[:, None] * self.basis.hankel(k, frequencies) for k in range(len(self.basis))]
        self._outside = corners(box)

    def fit(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Three passes: the grey level around the particles, the mean image, the covariance."""
        count, level = 0, 0.0
        for batch in batches():
            level += batch.images[:, self._outside].mean(axis=1, dtype=np.float64).sum()
            count += len(batch.images)
        if count < 2:
            raise ValueError('a covariance needs at least two images')
        self.background = level / count
        self._learn(*self._statistics(batches, count), count)

    def _learn(self, second: list[Floats], noises: list[Floats], pairs: Floats, count: int) -> None:
        """The covariance of each frequency, from what `_statistics` gives."""
        self.factors = [
            _factor(s, noise, pairs, hankel, count * (1 if k == 0 else 2))
            for k, (s, noise, hankel) in enumerate(zip(second, noises, self._hankel))
        ]

    def _statistics(
        self, batches: Callable[[], Iterable[Batch]], count: int
    ) -> tuple[list[Floats], list[Floats], Floats]:
        """Per frequency the mean of z z^T and the noise in it; the mean of H^2 H^2^T."""
        points = len(self._hankel[0])
        first, passed, noisy, pairs = np.zeros(()), np.zeros(points), np.zeros(points), np.zeros((points, points))
        for batch in batches():
            h2 = self.squared(batch)
            first = first + self._matched(batch)[0][:, 0].double().sum(0).numpy()
            passed, pairs = passed + h2.sum(0), pairs + h2.T @ h2
            noisy = noisy + (batch.noise_sd[:, None] ** 2 * h2).sum(0)
        g = self._hankel[0]
        normal = (g * passed[:, None]).T @ g
        # Noise decides how far the mean can be trusted where the CTF lets little through.
        self.mean = np.linalg.solve(normal + 1e-5 * count * np.eye(len(normal)) * passed.max() / count, first)
        second = [np.zeros((h.shape[1],) * 2) for h in self._hankel]
        for batch in batches():
            matched = self._matched(batch)
            matched[0] = matched[0] - self._seen_mean(self.squared(batch))[:, None]
            for k, z in enumerate(matched):
                # Sums in double precision: dividing the CTF out enlarges their rounding.
                flat = z.flatten(0, 1).double()
                second[k] += (flat.T @ flat).numpy() / z.shape[1]
        noises = [(h * noisy[:, None]).T @ h / count for h in self._hankel]
        return [s / count for s in second], noises, pairs / count

    def denoise(self, batch: Batch) -> Images:
        matched = self._matched(batch)
        matched[0] = matched[0] - self._seen_mean(self.squared(batch))[:, None]
        h2 = None if batch.transfer is None else torch.as_tensor(self.squared(batch), dtype=torch.float32)
        noise = torch.as_tensor(batch.noise_sd**2, dtype=torch.float32)
        result = [_posterior(z, v, g, h2, noise) for z, v, g in zip(matched, self.factors, self._hankel)]
        return self._images(result)

    def components(self) -> tuple[Images, Images]:
        """(principal images float32 [n, box, box], each of one angular frequency and in one position, that hold the
        covariance; mean image [1, box, box])."""
        found = []
        for k, factor in enumerate(self.factors):
            alone = self._nothing(factor.shape[1])
            alone[k][:, 0] = torch.from_numpy(factor.T)
            found.append(self.basis.evaluate(alone))
        middle = self._nothing(1)
        middle[0][0, 0] = torch.from_numpy(self.mean.astype(np.float32))
        return torch.cat(found).numpy(), self.basis.evaluate(middle).numpy()

    def _nothing(self, count: int) -> list[Tensor]:
        """Coefficients of ``count`` images that are zero."""
        return [torch.zeros(count, 1 if k == 0 else 2, h.shape[1]) for k, h in enumerate(self._hankel)]

    # Images that were seen many times

    def relearn(self, sums: list[Tensor], weights: Floats) -> None:
        """The covariance anew, from images that were each seen many times; the mean stays.

        Parameters
        ----------
        sums : list of Tensor
            Per frequency [n, 1 or 2, q]: `matched` over the noise's variance, summed over the views of each image, in
            its position.
        weights : Floats
            [n, f], the squared transfer over the noise's variance at `profile_frequencies`, summed likewise.
        """
        count, second, noises = len(weights), [], []
        # Those that were seen more say more, as their matched filters are larger.
        for z, h in zip(self._without_mean(sums, weights), self._hankel):
            flat = z.flatten(0, 1).double()
            second.append((flat.T @ flat).numpy() / (count * z.shape[1]))
            noises.append((h * weights.mean(0)[:, None]).T @ h)
        self._learn(second, noises, weights.T @ weights / count, count)

    def posterior_means(self, sums: list[Tensor], weights: Floats) -> Images:
        """float32 [n, box, box]: images that were seen many times. sums, weights: as of `relearn`."""
        h2, noise = torch.as_tensor(weights, dtype=torch.float32), torch.ones(len(weights))
        found = zip(self._without_mean(sums, weights), self.factors, self._hankel)
        return self._images([_posterior(z, v, g, h2, noise) for z, v, g in found])

    def _without_mean(self, sums: list[Tensor], weights: Floats) -> list[Tensor]:
        return [sums[0] - self._seen_mean(weights)[:, None], *sums[1:]]

    def draw(self, count: int, rng: np.random.Generator) -> Images:
        """float32 [count, N, N]: Gaussian images of the mean and covariance that were learned, without CTF."""
        result = []
        for k, factor in enumerate(self.factors):
            shape = (count, 1 if k == 0 else 2, factor.shape[1])
            result.append(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) @ factor.T))
        return self._images(result)

    def _images(self, coefficients: list[Tensor]) -> Images:
        """float32 [n, N, N] of coefficients less those of the mean."""
        coefficients[0] = coefficients[0] + torch.from_numpy(self.mean.astype(np.float32))
        found: Images = self.basis.evaluate(coefficients).numpy() + np.float32(self.background)
        return found

    def _matched(self, batch: Batch) -> list[Tensor]:
        """Coefficients of H times the images (the matched filter); astigmatism is taken account of here."""
        images = batch.images - np.float32(self.background)
        if batch.transfer is not None:
            images = np.fft.irfft2(np.fft.rfft2(images) * batch.transfer, s=(self.box, self.box))
        return self.basis.expand(images)

    def squared(self, batch: Batch) -> Floats:
        """Squared transfer functions [n, f] of a batch at `profile_frequencies`."""
        shape = (len(batch.images), len(self._hankel[0]))
        return np.ones(shape) if batch.profile is None else np.asarray(batch.profile, np.float64) ** 2

    def _seen_mean(self, squared: Floats) -> Tensor:
        """A^2 mean, float32 [n, q]: what the mean image contributes to each matched image, of its H^2 [n, f]."""
        seen = (squared * (self._hankel[0] @ self.mean)) @ self._hankel[0]
        return torch.from_numpy(seen.astype(np.float32))


def _factor(second: Floats, noise: Floats, pairs: Floats, hankel: Floats, samples: float) -> np.ndarray:
    """V [q, r] with V V^T the covariance before the CTF.

    second: E z z^T. noise: the part of it that is noise. pairs: E H^2 H^2^T. samples: how many vectors second is from.
    """
    values, vectors = np.linalg.eigh(noise)
    values = np.maximum(values, 1e-10 * values.max() + 1e-300)
    whiten, colour = vectors / np.sqrt(values), vectors * np.sqrt(values)
    spectrum, axes = np.linalg.eigh(whiten.T @ second @ whiten)
    signal = _shrunk(spectrum, len(noise) / samples)
    if not signal.any():
        return np.zeros((len(noise), 0), np.float32)
    axes = colour @ axes
    covariance = _divide((axes * signal) @ axes.T, pairs, hankel)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-6 * values.max()
    return (vectors[:, kept] * np.sqrt(values[kept])).astype(np.float32)


def _shrunk(eigenvalues: Floats, ratio: float) -> Floats:
    """Best signal eigenvalues (Frobenius norm) for noise of unit variance and ``ratio`` = dimension / samples."""
    inside = eigenvalues <= (1 + np.sqrt(ratio)) ** 2
    b = eigenvalues + 1 - ratio
    spike = (b + np.sqrt(np.maximum(b**2 - 4 * eigenvalues, 0))) / 2 - 1
    spike = np.where(inside, 1, spike)
    cosine2 = (1 - ratio / spike**2) / (1 + ratio / spike)
    return np.where(inside, 0, spike * np.maximum(cosine2, 0))


def _divide(target: Floats, pairs: Floats, hankel: Floats) -> Floats:
    """C with G^T (pairs * (G C G^T)) G = target, by conjugate gradients: the sum over all images' CTFs at once."""

    def apply(c: Floats) -> Floats:
        return hankel.T @ (pairs * (hankel @ c @ hankel.T)) @ hankel

    solution = np.zeros_like(target)
    residual = target.copy()
    direction, size = residual.copy(), (residual**2).sum()
    goal = CG_TOLERANCE**2 * size
    for _ in range(CG_STEPS):
        if size <= goal:
            break
        image = apply(direction)
        step = size / (direction * image).sum()
        solution += step * direction
        residual -= step * image
        size, previous = (residual**2).sum(), size
        direction = residual + size / previous * direction
    return (solution + solution.T) / 2


def _posterior(matched: Tensor, factor: np.ndarray, hankel: Floats, h2: Tensor | None, noise: Tensor) -> Tensor:
    """V (V^T A^2 V + sigma^2)^-1 V^T z, float32 [n, parts, q]: posterior mean for a covariance V V^T."""
    v = torch.from_numpy(factor)
    projected = matched @ v
    if h2 is None:
        gram = (factor.astype(np.float64).T @ factor).diagonal()
        # Without CTF the columns of V are orthogonal.
        return projected / (torch.from_numpy(gram.astype(np.float32)) + noise[:, None, None]) @ v.T
    seen = torch.from_numpy((hankel @ factor).astype(np.float32))
    system = torch.einsum('fr,nf,fs->nrs', seen, h2, seen)
    system.diagonal(dim1=1, dim2=2).add_(noise[:, None])
    return torch.linalg.solve(system, projected.transpose(1, 2)).transpose(1, 2) @ v.T
