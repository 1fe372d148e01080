"""Random Gaussian blobs in px or A, at any box and pixel size: their projections are known in closed form."""

from dataclasses import dataclass

import numpy as np

from cryoemgan.engine.imaging.phantom import Phantom


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
        """float32[box, box, box] (z, y, x): the density at the voxels' centres."""
        return np.ascontiguousarray(self._phantom(box * pixel_size).volume(box))

    def projections(self, box, matrices, shifts=None, pixel_size=1.0):
        """float32[B, box, box]: line integrals (in units of length 1), moved by -shifts (px of the image)."""
        return self._phantom(box * pixel_size).project(box, matrices, shifts) * np.float32(pixel_size)

    def _phantom(self, field):
        return Phantom(self.centres / field, self.sigmas / field, self.heights)


def relative_error(image, truth):
    """|image - truth| / |truth|, over everything."""
    return np.linalg.norm(np.asarray(image) - truth) / np.linalg.norm(truth)
