"""Sums of Gaussian blobs: densities whose projections are known in closed form."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Blobs:
    """centres float[n, 3] (x, y, z about N//2, px), sigmas float[n] (px), heights float[n]."""

    centres: np.ndarray
    sigmas: np.ndarray
    heights: np.ndarray

    @classmethod
    def random(cls, box, count=400, radius=0.25, seed=0):
        """Blobs of 1.2 to 3 percent of the box (at least 1.3 px) inside a ball of ``radius`` boxes."""
        rng = np.random.default_rng(seed)
        where = rng.normal(size=(count, 3))
        where *= (radius * box * rng.uniform(0, 1, count) ** (1 / 3) / np.linalg.norm(where, axis=1))[:, None]
        return cls(where, np.maximum(rng.uniform(0.012, 0.03, count) * box, 1.3), rng.uniform(0.5, 1.5, count))

    def volume(self, box, pixel_size=1.0):
        """float64[box, box, box] (z, y, x): the density at the voxels' centres."""
        x, y, z = (self._profiles(self.centres[:, a], box, pixel_size) for a in range(3))
        return np.einsum('n,nz,ny,nx->zyx', self.heights, z, y, x, optimize=True)

    def projections(self, box, matrices, shifts=None, pixel_size=1.0):
        """float64[B, box, box]: line integrals (in units of length 1), moved by -shifts (px of the image)."""
        shifts = np.zeros((len(matrices), 2)) if shifts is None else shifts
        weights = self.heights * self.sigmas * np.sqrt(2 * np.pi)
        out = []
        for matrix, shift in zip(matrices, shifts):
            seen = self.centres @ matrix.T
            x, y = (self._profiles(seen[:, a] - shift[a] * pixel_size, box, pixel_size) for a in range(2))
            out.append(np.einsum('n,ny,nx->yx', weights, y, x, optimize=True))
        return np.array(out)

    def _profiles(self, centres, box, pixel_size):
        position = (np.arange(box) - box // 2) * pixel_size
        return np.exp(-((position - centres[:, None]) ** 2) / (2 * self.sigmas[:, None] ** 2))


def relative_error(image, truth):
    """|image - truth| / |truth|, over everything."""
    return np.linalg.norm(np.asarray(image) - truth) / np.linalg.norm(truth)
