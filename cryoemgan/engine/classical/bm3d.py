"""BM3D: block matching and 3D filtering, written from Dabov, Foi, Katkovnik, Egiazarian, IEEE TIP 16 (2007) 2080.

Two passes over overlapping blocks. Alike blocks are stacked and transformed in three dimensions; the first pass sets
small coefficients to zero, the second, which knows the first's result, is a Wiener filter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import fold, unfold

from ..shapes import Images, Tensor
from .base import Batch, Method


class Denoiser(Method):
    """Filters image by image; the noise level is all it is told.

    blocks: their side in the first and second pass, px (8 takes the biorthogonal wavelet first, others the cosine
    transform, as in the paper's setting for strong noise). threshold: of the first pass, in units of the noise's s.d.
    groups: how many alike blocks make a group, powers of two. step: distance of reference blocks, px. window: how far
    alike blocks are looked for, px. The larger blocks, groups and window than the paper's pay at the noise of cryo-EM.
    """

    def __init__(
        self,
        box: int,
        blocks: tuple[int, int] = (8, 16),
        threshold: float = 2.8,
        step: int = 4,
        window: int = 32,
        groups: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__(box)
        self.threshold, self.step, self.window, self.groups = threshold, step, window, groups
        self.blocks = tuple(min(b, box // 2) for b in blocks)

    def denoise(self, batch: Batch) -> Images:
        images = torch.as_tensor(batch.images, dtype=torch.float32)
        return torch.stack([self._one(i, float(s)) for i, s in zip(images, batch.noise_sd)]).numpy()

    def _one(self, image: Tensor, sigma: float) -> Tensor:
        level, unit = image.mean(), max(sigma, 1e-12)
        noisy = (image - level) / unit
        return self._second(noisy, self._first(noisy)) * unit + level

    def _first(self, noisy: Tensor) -> Tensor:
        """Hard thresholding, noise of s.d. 1."""
        block = self.blocks[0]
        line = _bior(block) if block == 8 else _dct(block)
        transform = torch.kron(line, line)
        blocks = _blocks(noisy, block)
        spectra = blocks @ transform.T
        total = _Sum(self.box, block)
        for groups in self._match(blocks, self.groups[0], block):
            haar = _haar(groups.shape[1])
            stack = torch.einsum('ij,njk->nik', haar, spectra[groups])
            kept = stack.abs() > self.threshold
            # The group's own mean is signal at any level.
            kept[:, 0, 0] = True
            weight = 1 / kept.sum((1, 2))
            total.add(groups, torch.einsum('ji,njk->nik', haar, stack * kept), weight)
        return total.image(torch.linalg.inv(transform).T)

    def _second(self, noisy: Tensor, basic: Tensor) -> Tensor:
        """Empirical Wiener filter: the first estimate says how strong each coefficient is."""
        block = self.blocks[1]
        transform = torch.kron(_dct(block), _dct(block))
        guide_blocks = _blocks(basic, block)
        spectra, guide = _blocks(noisy, block) @ transform.T, guide_blocks @ transform.T
        total = _Sum(self.box, block)
        for groups in self._match(guide_blocks, self.groups[1], block):
            haar = _haar(groups.shape[1])
            power = torch.einsum('ij,njk->nik', haar, guide[groups]) ** 2
            gain = power / (power + 1)
            stack = torch.einsum('ij,njk->nik', haar, spectra[groups]) * gain
            weight = 1 / (gain**2).sum((1, 2)).clamp(min=1e-6)
            total.add(groups, torch.einsum('ji,njk->nik', haar, stack), weight)
        return total.image(transform)

    def _match(self, blocks: Tensor, size: int, block: int) -> Iterator[Tensor]:
        """Yield [n, size]: positions of the blocks most like each reference block, itself among them."""
        norms, side = (blocks**2).sum(1), self.box - block + 1
        for references, places in _candidates(self.box, block, self.step, self.window):
            distance = norms[places] - 2 * blocks[references] @ blocks[places].T
            aside = references[:, None] % side - places % side
            distance = torch.where(aside.abs() > self.window, torch.inf, distance)
            distance[references[:, None] == places] = -torch.inf
            found = min(size, 1 << int(np.log2(min(len(places), side * (self.window + 1)))))
            yield places[distance.topk(found, largest=False).indices]


class _Sum:
    """Weighted sum of overlapping filtered blocks, gathered in the transform domain (the transform is linear)."""

    def __init__(self, box: int, block: int) -> None:
        self.box, self.block = box, block
        # Kaiser window, beta = 2: blocks fade towards their edges when they are put together again.
        kaiser = torch.kaiser_window(block, periodic=False, beta=2.0)
        self.window = torch.outer(kaiser, kaiser).flatten()
        count = (box - block + 1) ** 2
        self.values, self.weights = torch.zeros(count, block**2), torch.zeros(count)

    def add(self, groups: Tensor, filtered: Tensor, weight: Tensor) -> None:
        """groups [n, k] positions; filtered [n, k, block^2]; weight [n] of each group."""
        self.values.index_add_(0, groups.flatten(), (filtered * weight[:, None, None]).flatten(0, 1))
        self.weights.index_add_(0, groups.flatten(), weight[:, None].expand(groups.shape).flatten())

    def image(self, inverse: Tensor) -> Tensor:
        """The mean of what the blocks say of each pixel; inverse takes coefficients (rows) to pixels."""
        above = fold(((self.values @ inverse) * self.window).T[None], self.box, self.block)
        below = fold((self.weights[:, None] * self.window).T[None], self.box, self.block)
        return (above / below)[0, 0]


def _blocks(image: Tensor, block: int) -> Tensor:
    """All blocks, float32 [positions, block^2], row by row."""
    return unfold(image[None, None], block)[0].T.contiguous()


def _candidates(box: int, block: int, step: int, window: int) -> list[tuple[Tensor, Tensor]]:
    """For each row of reference blocks: their positions, and those of all blocks in the rows within the window."""
    last = box - block
    places = torch.arange((last + 1) ** 2).view(last + 1, last + 1)
    # The last row and column are always among the references, or the edge would stay empty.
    axis = sorted({*range(0, last + 1, step), last})
    return [(places[y, axis], places[max(y - window, 0) : y + window + 1].flatten()) for y in axis]


def _haar(size: int) -> Tensor:
    """Orthonormal Haar transform, float32 [size, size]; size a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        smooth, detail = np.kron(matrix, [1, 1]), np.kron(np.eye(len(matrix)), [1, -1])
        matrix = np.concatenate([smooth, detail]) / np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32))


def _dct(size: int) -> Tensor:
    """Orthonormal cosine transform (type II), float32 [size, size]."""
    n = np.arange(size)
    matrix = np.cos(np.pi * n[:, None] * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32))


def _bior(size: int) -> Tensor:
    """Biorthogonal spline wavelet 1.5 (Cohen, Daubechies, Feauveau 1992), periodic, rows of unit norm: [size, size]."""
    low = np.array([3, -3, -22, 22, 128, 128, 22, -22, -3, 3]) * np.sqrt(2) / 256
    high = np.array([1, -1]) / np.sqrt(2)
    matrix, length = np.eye(size), size
    while length > 1:
        level = np.zeros((length, length))
        for row in range(length // 2):
            np.add.at(level[row], (2 * row - 4 + np.arange(10)) % length, low)
            np.add.at(level[length // 2 + row], (2 * row + np.arange(2)) % length, high)
        matrix[:length] = level @ matrix[:length]
        length //= 2
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return torch.from_numpy(matrix.astype(np.float32))
