"""Fourier-Bessel basis: functions on a disc that a rotation only multiplies by a phase.

psi_kq(r, theta) = J_k(R_kq r / c) e^(i k theta), R_kq the q-th zero of J_k: the eigenfunctions of the Laplacian on a
disc of radius c that vanish on its rim. All with R_kq <= pi c, the Nyquist limit, are taken (Zhao and Singer 2013).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from scipy.special import jv

from ..shapes import Floats, Images, Tensor

CACHE_BYTES = 512 * 2**20


class FourierBessel:
    """Basis for images of ``box`` px; coefficients of frequency k: float32 [n, 2, q] (cosine, sine; k = 0 has one).

    White noise of s.d. sigma in the pixels gives coefficients of s.d. sigma. Images are expanded about the origin at
    box // 2; pixels outside the disc of radius box // 2 do not count.
    """

    def __init__(self, box: int) -> None:
        self.box, self.radius = box, box // 2
        self.zeros = _zeros(np.pi * self.radius)
        axis = np.arange(self.radius)
        y, x = np.meshgrid(axis, axis, indexing='ij')
        inside = x**2 + y**2 < self.radius**2
        self._inside = torch.from_numpy(inside.ravel())
        squared, self._unique = np.unique((x**2 + y**2)[inside], return_inverse=True)
        self._radii = np.sqrt(squared)
        self._angle = np.arctan2(y[inside], x[inside])
        # A point on an axis is its own mirror image and is met twice (the origin four times) when folding.
        self._share = np.where(x[inside] == 0, 0.5, 1.0) * np.where(y[inside] == 0, 0.5, 1.0)
        size = 8 * sum(len(z) for z in self.zeros) * inside.sum()
        keep = None if size <= CACHE_BYTES else 0
        self._block = functools.lru_cache(maxsize=keep)(self._make_block)

    def __len__(self) -> int:
        """Number of angular frequencies."""
        return len(self.zeros)

    def expand(self, images: Images | Tensor) -> list[Tensor]:
        """list over k of float32 [n, 1 or 2, q]: coefficients of images [n, box, box]."""
        folded = self._fold(torch.as_tensor(images, dtype=torch.float32))
        result = []
        for k in range(len(self)):
            parts = [folded[p] @ block for p, block in zip(_parity(k), self._block(k))]
            result.append(torch.stack(parts, 1))
        return result

    def evaluate(self, coefficients: list[Tensor]) -> Tensor:
        """float32 [n, box, box]: the images of coefficients, zero outside the disc."""
        count = len(coefficients[0])
        folded = torch.zeros(4, count, int(self._inside.sum()))
        for k, values in enumerate(coefficients):
            for i, (parity, block) in enumerate(zip(_parity(k), self._block(k))):
                folded[parity] += values[:, i] @ block.T
        return self._unfold(folded / torch.from_numpy(self._share.astype(np.float32)))

    def _make_block(self, k: int) -> list[Tensor]:
        """Cosine and sine functions of frequency k on the quadrant, float32 [points, q] each (k = 0: one)."""
        zeros = self.zeros[k]
        norm = 1 / (np.sqrt(np.pi) * self.radius * np.abs(jv(k + 1, zeros)))
        radial = jv(k, self._radii[:, None] * zeros / self.radius) * norm * (1 if k == 0 else np.sqrt(2))
        radial = radial[self._unique] * self._share[:, None]
        waves = (np.cos(k * self._angle),) if k == 0 else (np.cos(k * self._angle), np.sin(k * self._angle))
        return [torch.from_numpy((radial * w[:, None]).astype(np.float32)) for w in waves]

    def _fold(self, images: Tensor) -> Tensor:
        """Sums of the four mirror images, even or odd in x and in y: float32 [4, n, points]; a quarter of the work."""
        c, r = self.box // 2, self.radius
        right, left = images[:, :, c : c + r], images[:, :, c - r + 1 : c + 1].flip(2)
        result = []
        for sign_x in (1, -1):
            half = right + sign_x * left
            below, above = half[:, c : c + r], half[:, c - r + 1 : c + 1].flip(1)
            result += [below + sign_y * above for sign_y in (1, -1)]
        return torch.stack(result).flatten(2)[:, :, self._inside]

    def _unfold(self, folded: Tensor) -> Tensor:
        """The reverse of ``_fold`` for functions: [4, n, points] -> [n, box, box]."""
        c, r = self.box // 2, self.radius
        quadrant = torch.zeros(4, folded.shape[1], r * r)
        quadrant[:, :, self._inside] = folded
        quadrant = quadrant.view(4, -1, r, r)
        images = torch.zeros(folded.shape[1], self.box, self.box)
        for i, (sign_x, sign_y) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
            q = quadrant[i]
            images[:, c : c + r, c : c + r] += q
            images[:, c : c + r, c - r + 1 : c] += sign_x * q.flip(2)[:, :, :-1]
            images[:, c - r + 1 : c, c : c + r] += sign_y * q.flip(1)[:, :-1]
            images[:, c - r + 1 : c, c - r + 1 : c] += sign_x * sign_y * q.flip(1, 2)[:, :-1, :-1]
        return images

    def hankel(self, k: int, frequencies: Floats) -> Floats:
        """float64 [f, q]: radial part of the 2D Fourier transform of psi_kq at ``frequencies`` (cycles/px).

        Up to a phase; the closed form of the Hankel transform of J_k on a disc. Orthonormal under the weight 2 pi f df.
        """
        zeros = self.zeros[k]
        s = 2 * np.pi * self.radius * np.asarray(frequencies)[:, None]
        difference = zeros**2 - s**2
        near = np.abs(difference) < 1e-6 * zeros**2
        sign = np.sign(jv(k + 1, zeros))
        value = 2 * np.sqrt(np.pi) * self.radius * sign * zeros * jv(k, s) / np.where(near, 1, difference)
        limit = np.sqrt(np.pi) * self.radius * np.abs(jv(k + 1, zeros))
        return np.where(near, limit, value)


def _parity(k: int) -> tuple[int, int]:
    """Which fold (2 * odd in x + odd in y) holds cos(k theta) and sin(k theta); theta measured from x."""
    return (0, 3) if k % 2 == 0 else (2, 1)


def _zeros(limit: float) -> list[Floats]:
    """list over k of the zeros of J_k up to ``limit`` (those k that have any).

    J_k(x) = 0 makes x^2 / 4 the inverse of an eigenvalue of the three-term recurrence of J_(k + 2), J_(k + 4), ...
    (Ikebe, Kikuchi and Fujishiro, J. Comput. Appl. Math. 38 (1991) 169); ``scipy.special.jn_zeros`` does not come to an
    end for some of the orders that a box of 160 px needs.
    """
    # Terms beyond order limit are nearly 0 at the zeros that are wanted.
    size, result = int(limit) // 2 + 40, []
    for k in range(int(limit) + 1):
        n = k + 2.0 * np.arange(1, size + 1)
        beside = 1 / ((n[:-1] + 1) * np.sqrt(n[:-1] * n[1:]))
        found = eigvalsh_tridiagonal(2 / ((n - 1) * (n + 1)), beside, select='v', select_range=(4 / limit**2, 1))
        zeros = np.sort(2 / np.sqrt(found))
        if not len(zeros):
            break
        result.append(zeros)
    return result
