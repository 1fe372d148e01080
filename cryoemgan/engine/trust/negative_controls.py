"""Images that an audit puts into a denoiser: noise like the data's, twins of particles, another molecule."""

import numpy as np
from scipy import fft

from ..geometry import euler_to_matrix
from ..imaging.phantom import Phantom
from ..imaging.rings import ring_index

STREAM = 97


def stream(seed, *key):
    """Random numbers of one probe."""
    return np.random.default_rng([seed, STREAM, *key])


class NoiseModel:
    """Gaussian noise with the mean power spectrum (by rings) of given residuals, float32[n, N, N]."""

    def __init__(self, residuals):
        self.box = residuals.shape[-1]
        ring = ring_index(self.box)
        power = np.zeros(ring.max() + 1)
        for part in np.array_split(residuals, -(-len(residuals) // 64)):
            spectrum = np.square(np.abs(fft.rfft2(part - part.mean((1, 2), keepdims=True)))).sum(0)
            power += np.bincount(ring.ravel(), spectrum.ravel())
        power /= len(residuals) * np.bincount(ring.ravel())
        # White noise of variance 1 has the power N^2 everywhere.
        self._filter = np.sqrt(power[ring] / self.box**2).astype(np.float32)

    def draw(self, count, rng):
        """Independent noise images of mean 0, float32[count, N, N]."""
        white = rng.standard_normal((count, self.box, self.box), dtype=np.float32)
        return fft.irfft2(fft.rfft2(white) * self._filter, s=(self.box, self.box)).astype(np.float32)


def foreign_projections(count, box, rng):
    """Projections [count, box, box] of a molecule that nobody trained on: 60 random blobs in a ball of 0.28 boxes,
    seen from random directions."""
    blobs = np.random.default_rng(STREAM)
    centres = blobs.normal(size=(60, 3))
    centres *= (0.28 * blobs.uniform(size=60) ** (1 / 3) / np.linalg.norm(centres, axis=1))[:, None]
    phantom = Phantom(centres, blobs.uniform(0.025, 0.04, 60), blobs.uniform(0.5, 1.5, 60))
    rot, psi = rng.uniform(-180, 180, (2, count))
    return phantom.project(box, euler_to_matrix(rot, np.rad2deg(np.arccos(rng.uniform(-1, 1, count))), psi))


def like(images, signal):
    """Images with the mean grey and the standard deviation (over the set) of ``signal``; both [n, N, N]."""
    centred = images - images.mean((1, 2), keepdims=True)
    spread = (signal - signal.mean((1, 2), keepdims=True)).std()
    return (centred * (spread / centred.std()) + signal.mean()).astype(np.float32)


def mirrored(images):
    """Images [n, N, N] mirrored in x about their origin at N // 2: projections of the other hand."""
    flipped = images[:, :, ::-1]
    return np.roll(flipped, 1, axis=2) if images.shape[-1] % 2 == 0 else flipped
