"""Particles of blobs in noise, with their truth, as training without references gets them."""

import numpy as np

from cryoemgan.engine.imaging.rings import ring_index
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.training import noisy_pairs

from . import toypairs

BOX, COUNT, NOISE = 32, 240, 1.5


def coloured(rng, count, box, strength=0.5):
    """Noise [n, N, N] whose amplitude falls towards high frequency, and its power by rings."""
    amplitude = 1 / (1 + strength * ring_index(box) / (box / 8))
    images = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(count, box, box))) * amplitude, s=(box, box))
    return images.astype(np.float32), amplitude**2


def particles_at(folder, noise=NOISE, seed=0, extra=None, names=None):
    """particles.star of toy blobs in white (or the given) noise; their truth in the same grey values."""
    truth, _ = toypairs.blobs(COUNT, BOX, seed, off_centre=0.15)
    truth = toypairs.GAIN * truth + toypairs.OFFSET
    rng = np.random.default_rng(seed + 1)
    extra = noise * rng.standard_normal(truth.shape) if extra is None else extra
    names = names or [f'{i + 1:06d}@mic.mrcs' for i in range(COUNT)]
    return toypairs.write(folder / 'particles.star', (truth + extra).astype(np.float32), names), truth


class Told:
    """Stands for a Job."""

    def __init__(self, settings):
        self.warnings, self.settings = [], settings

    def say(self, text):
        pass

    def input(self, path, whole=False):
        return path

    def record(self, identity, files):
        pass

    warn = property(lambda self: self.warnings.append)


def open_pairs(**settings):
    settings = Train(output='x', **{k: v if k == 'target' else str(v) for k, v in settings.items()})
    told = Told(settings)
    pairs = noisy_pairs.open_noisy(settings, told)
    return pairs, told.warnings
