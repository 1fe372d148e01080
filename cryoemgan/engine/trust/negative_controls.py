"""Images that an audit puts into a denoiser: noise like the data's, replicates of particles, another molecule."""

from __future__ import annotations

import numpy as np

from ..geometry import euler_to_matrix
from ..imaging.phantom import Phantom
from ..imaging.signal_model import fit_signal
from ..imaging.spectra import coloured_noise
from ..shapes import Images

STREAM = 97


def stream(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of one probe."""
    return np.random.default_rng([seed, STREAM, *key])


class NoiseModel:
    """Gaussian noise with the mean power spectrum (by rings) of that of particles, float32[n, N, N].

    signal: the particles without noise, as far as it is known, float32[n, N, N]. What it leaves of a particle at an
    imperfect angle is signal, too, and not counted as noise (`fit_signal`).
    """

    def __init__(self, particles: Images, signal: Images) -> None:
        self.box = particles.shape[-1]
        self._power = fit_signal(particles, signal).power
        self._power[0] = 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Images:
        """Independent noise images of mean 0, float32[count, N, N]."""
        return coloured_noise(rng, count, self.box, self._power)


def foreign_projections(count: int, box: int, rng: np.random.Generator) -> Images:
    """Projections [count, box, box] of a molecule that nobody trained on: 60 random blobs in a ball of 0.28 boxes,
    seen from random directions."""
    blobs = np.random.default_rng(STREAM)
    centres = blobs.normal(size=(60, 3))
    centres *= (0.28 * blobs.uniform(size=60) ** (1 / 3) / np.linalg.norm(centres, axis=1))[:, None]
    phantom = Phantom(centres, blobs.uniform(0.025, 0.04, 60), blobs.uniform(0.5, 1.5, 60))
    rot, psi = rng.uniform(-180, 180, (2, count))
    return phantom.project(box, euler_to_matrix(rot, np.rad2deg(np.arccos(rng.uniform(-1, 1, count))), psi))


def like(images: Images, signal: Images) -> Images:
    """Images with the mean grey and the standard deviation (over the set) of ``signal``; both [n, N, N]."""
    centred = images - images.mean((1, 2), keepdims=True)
    spread = (signal - signal.mean((1, 2), keepdims=True)).std()
    return (centred * (spread / centred.std()) + signal.mean()).astype(np.float32)
