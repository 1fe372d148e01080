"""BM3D: block matching and 3D filtering, written from Dabov, Foi, Katkovnik, Egiazarian, IEEE TIP 16 (2007) 2080.

Two passes over overlapping blocks. Alike blocks are stacked and transformed in three dimensions; the first pass sets small
coefficients to zero, the second, which knows the first's result, is a Wiener filter.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import fold, unfold

from .base import Method

BLOCK = 8
# The paper's setting for strong noise (sigma above 40 of 255, where all of cryo-EM is): section V, table I.
STRONG_NOISE = 40 / 255


@dataclass(frozen=True)
class Pass:
    """Largest group, search window (px each way), threshold of the distance in units of sigma^2 per pixel."""

    group: int
    window: int
    step: int


class Denoiser(Method):
    """Filters image by image; the noise level is all it is told.

    threshold: of the first pass, in units of the noise's s.d. match_threshold: of the coefficients that are compared when
    blocks of the noisy image are matched, likewise (0: none). step: distance of reference blocks, px.
    """

    def __init__(self, box, threshold=2.7, match_threshold=0.0, step=3, window=19, groups=(16, 32), rounds=1, gain=1.0):
        super().__init__(box)
        self.threshold, self.match_threshold, self.step, self.window, self.groups = (
            threshold,
            match_threshold,
            step,
            window,
            groups,
        )
        self.rounds, self.gain = rounds, gain
        self._wavelet, self._cosine = _bior(BLOCK), _dct(BLOCK)
        # Kaiser window, beta = 2: blocks fade towards their edges when they are put together again.
        kaiser = torch.kaiser_window(BLOCK, periodic=False, beta=2.0)
        self._window = torch.outer(kaiser, kaiser).flatten()
        self._candidates = _candidates(box, step, window)

    def denoise(self, batch):
        images = torch.as_tensor(batch.images, dtype=torch.float32)
        return torch.stack([self._one(i, float(s)) for i, s in zip(images, batch.noise_sd)]).numpy()

    def _one(self, image, sigma):
        level, unit = image.mean(), max(sigma, 1e-12)
        noisy = (image - level) / unit
        basic = self._first(noisy)
        for _ in range(self.rounds):
            basic = self._second(noisy, basic)
        return basic * unit + level

    def _first(self, noisy):
        """Hard thresholding, noise of s.d. 1."""
        blocks = _blocks(noisy)
        spectra = blocks @ torch.kron(self._wavelet, self._wavelet).T
        compared = torch.where(spectra.abs() < self.match_threshold, 0.0, spectra)
        total = _Sum(self.box, self._window)
        for size, groups in self._match(compared, self.groups[0]):
            stack = torch.einsum('ij,njk->nik', _haar(size), spectra[groups])
            kept = stack.abs() > self.threshold
            # The group's own mean is signal at any level.
            kept[:, 0, 0] = True
            weight = 1 / kept.sum((1, 2)).clamp(min=1)
            filtered = torch.einsum('ji,njk->nik', _haar(size), stack * kept)
            total.add(groups, filtered, weight)
        inverse = torch.linalg.inv(torch.kron(self._wavelet, self._wavelet))
        return total.image(inverse.T)

    def _second(self, noisy, basic):
        """Empirical Wiener filter: the first estimate says how strong each coefficient is."""
        transform = torch.kron(self._cosine, self._cosine)
        spectra, guide = _blocks(noisy) @ transform.T, _blocks(basic) @ transform.T
        total = _Sum(self.box, self._window)
        for size, groups in self._match(guide, self.groups[1]):
            haar = _haar(size)
            power = torch.einsum('ij,njk->nik', haar, guide[groups]) ** 2
            gain = power / (power + self.gain)
            stack = torch.einsum('ij,njk->nik', haar, spectra[groups]) * gain
            weight = 1 / (gain**2).sum((1, 2)).clamp(min=1e-6)
            total.add(groups, torch.einsum('ji,njk->nik', haar, stack), weight)
        return total.image(transform)

    def _match(self, features, size):
        """Yield (k, [n, k]): positions of the blocks most like each reference block, itself first."""
        norms = (features**2).sum(1)
        for references, places in self._candidates:
            distance = norms[places] - 2 * features[references] @ features[places].T
            outside = (references[:, None] % (self.box - BLOCK + 1)) - (places % (self.box - BLOCK + 1))
            distance = torch.where(outside.abs() > self.window, torch.inf, distance)
            distance[references[:, None] == places] = -torch.inf
            found = distance.topk(size, largest=False).indices
            yield size, places[found]


class _Sum:
    """Weighted sum of overlapping filtered blocks, gathered in the transform domain (the transform is linear)."""

    def __init__(self, box, window):
        self.box, self.window = box, window
        count = (box - BLOCK + 1) ** 2
        self.values, self.weights = torch.zeros(count, BLOCK**2), torch.zeros(count)

    def add(self, groups, filtered, weight):
        """groups [n, k] positions; filtered [n, k, 64]; weight [n] of each group."""
        self.values.index_add_(0, groups.flatten(), (filtered * weight[:, None, None]).flatten(0, 1))
        self.weights.index_add_(0, groups.flatten(), weight[:, None].expand(groups.shape).flatten())

    def image(self, inverse):
        """The mean of what the blocks say of each pixel; inverse [64, 64] takes coefficients (rows) to pixels."""
        numerator = _overlap((self.values @ inverse) * self.window, self.box)
        return numerator / _overlap(self.weights[:, None] * self.window, self.box)


def _blocks(image):
    """All blocks, float32 [positions, 64], row by row."""
    return unfold(image[None, None], BLOCK)[0].T.contiguous()


def _overlap(blocks, box):
    return fold(blocks.T[None], box, BLOCK)[0, 0]


def _candidates(box, step, window):
    """For each row of reference blocks: their positions, and those of all blocks in the rows within the window."""
    last = box - BLOCK
    places = torch.arange((last + 1) ** 2).view(last + 1, last + 1)
    # The last row and column are always among the references, or the edge would stay empty.
    axis = sorted({*range(0, last + 1, step), last})
    return [(places[y, axis], places[max(y - window, 0) : y + window + 1].flatten()) for y in axis]


def _haar(size):
    """Orthonormal Haar transform, float32 [size, size]; size a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        smooth, detail = np.kron(matrix, [1, 1]), np.kron(np.eye(len(matrix)), [1, -1])
        matrix = np.concatenate([smooth, detail]) / np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32))


def _dct(size):
    """Orthonormal cosine transform (type II), float32 [size, size]."""
    n = np.arange(size)
    matrix = np.cos(np.pi * n[:, None] * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32))


def _bior(size):
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
