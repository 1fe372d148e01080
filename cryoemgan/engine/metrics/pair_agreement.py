"""Do references agree with the particles they were projected for? Correlation on a sample, against shuffled pairs."""

from dataclasses import asdict, dataclass

import numpy as np

from ..imaging.maps import lowpass, soft_circle

SAMPLE = 500
# Resolution at which images are compared: coarse enough for the noise of one particle not to drown it.
RESOLUTION, PIXELS = 20.0, 4.0
SHUFFLES = 8
# Fewer particles than this say nothing.
FEWEST = 5


@dataclass(frozen=True)
class Agreement:
    """Normalised correlation of references with their particles over ``count`` of them.

    mean, sd: low-passed at ``resolution`` (A), within a soft circle. shuffled_mean: the same with another
    particle's reference. raw_mean, raw_sd: whole images, unfiltered.
    """

    count: int
    resolution: float
    mean: float
    sd: float
    shuffled_mean: float
    raw_mean: float
    raw_sd: float

    def as_dict(self):
        """Rounded values for the summary."""
        return {k: round(v, 5) for k, v in asdict(self).items()}

    @property
    def error(self):
        """Standard error of the mean."""
        return self.sd / self.count**0.5

    @property
    def inverted(self):
        """The correlation is clearly negative."""
        return self.count >= FEWEST and self.mean < -3 * self.error

    @property
    def absent(self):
        """A particle agrees with its own reference hardly better than with another's.

        Right centres alone make a small difference significant, so that it must also be a tenth of the correlation.
        """
        return self.count >= FEWEST and self.mean - self.shuffled_mean < max(3 * self.error, 0.1 * self.mean)


def sample_rows(count, box):
    """Up to 500 rows spread over a set; fewer of large images (64 MB in all)."""
    size = max(50, min(SAMPLE, 2**24 // box**2))
    return np.unique(np.linspace(0, count - 1, min(size, count)).round().astype(np.int64))


def correlations(references, particles, pixel_size):
    """Normalised correlation float64[n] of each reference with its particle (float32[n, N, N] both), low-passed,
    within a soft circle; 0 for a constant image."""
    a, b = _comparable(references, particles, pixel_size)
    return np.einsum('nij,nij->n', a, b, dtype=np.float64)


def _comparable(references, particles, pixel_size):
    circle = soft_circle(references.shape[-1])
    resolution = max(RESOLUTION, PIXELS * pixel_size)
    return (_standardised(lowpass(x, pixel_size, resolution, axes=(-2, -1)), circle) for x in (references, particles))


def measure_agreement(references, particles, pixel_size, seed=1):
    """Agreement of references with particles, float32[n, N, N] both, in the same order; pixel_size in A."""
    resolution = max(RESOLUTION, PIXELS * pixel_size)
    circle = soft_circle(references.shape[-1])
    a, b = _comparable(references, particles, pixel_size)
    own = np.einsum('nij,nij->n', a, b)
    flat = np.ones_like(circle)
    raw = np.einsum('nij,nij->n', _standardised(references, flat), _standardised(particles, flat))
    count = len(references)
    steps = np.random.default_rng(seed).integers(1, count, SHUFFLES) if count > 1 else []
    shuffled = [np.einsum('nij,nij->n', np.roll(a, step, axis=0), b).mean() for step in steps]
    return Agreement(
        count,
        resolution,
        float(own.mean()),
        float(own.std(ddof=count > 1)),
        float(np.mean(shuffled)) if shuffled else 0.0,
        float(raw.mean()),
        float(raw.std(ddof=count > 1)),
    )


def _standardised(images, weight):
    """Images of weighted mean 0 and norm 1 (0 for a constant image)."""
    mean = np.einsum('nij,ij->n', images, weight) / weight.sum()
    images = (images - mean[:, None, None]) * np.sqrt(weight)
    norm = np.sqrt(np.einsum('nij,nij->n', images, images))
    return images / np.where(norm > 0, norm, 1)[:, None, None]
