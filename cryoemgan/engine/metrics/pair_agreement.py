"""Do references agree with the particles they were projected for? Correlation on a sample, against shuffled pairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ..data.sampling import evenly_spread
from ..imaging.maps import lowpass, soft_circle
from ..shapes import Floats, Images, Rows
from .resemblance import correlation, standardised

SAMPLE = 500
# Resolution at which images are compared: coarse enough for the noise of one particle not to drown it.
RESOLUTION, PIXELS = 20.0, 4.0
SHUFFLES = 8
# Fewer particles than this say nothing.
FEWEST = 5
# Projections of the map that made the references correlate with them (median) at least so, whatever its mask, filter
# and sharpening; another map, or other angles, do not.
LEAST_CORRELATION = 0.8


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

    def as_dict(self) -> dict[str, float]:
        """Rounded values for the summary."""
        return {k: round(v, 5) for k, v in asdict(self).items()}

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / self.count**0.5

    @property
    def inverted(self) -> bool:
        """The correlation is clearly negative."""
        return self.count >= FEWEST and self.mean < -3 * self.error

    @property
    def absent(self) -> bool:
        """A particle agrees with its own reference hardly better than with another's.

        Right centres alone make a small difference significant, so that it must also be a tenth of the correlation.
        """
        return self.count >= FEWEST and self.mean - self.shuffled_mean < max(3 * self.error, 0.1 * self.mean)


def sample_rows(count: int, box: int) -> Rows:
    """Up to 500 rows spread over a set; fewer of large images (64 MB in all)."""
    return evenly_spread(count, max(50, min(SAMPLE, 2**24 // box**2)))


def correlations(references: Images, particles: Images, pixel_size: float) -> Floats:
    """Normalised correlation of each reference with its particle, low-passed, within a soft circle.

    Parameters
    ----------
    references, particles : float32 [n, N, N]
    pixel_size : float
        A.

    Returns
    -------
    float64 [n]
        0 for a constant image.
    """
    return np.einsum('ij,ij->i', *_comparable(references, particles, pixel_size), dtype=np.float64)


def best_map(projections: Images, references: Images, pixel_size: float) -> tuple[Rows, Floats]:
    """Which of several maps each reference is a projection of.

    Parameters
    ----------
    projections : float32 [maps, n, N, N]
        Each map at the angles, shifts and CTF of each reference.
    references : float32 [n, N, N]

    Returns
    -------
    index : int64 [n]
    correlation : float64 [n]
        With that map; a median below ``LEAST_CORRELATION`` means another map or other angles.
    """
    found = np.stack([correlations(p, references, pixel_size) for p in projections])
    return found.argmax(0), found.max(0)


def measure_agreement(references: Images, particles: Images, pixel_size: float, seed: int = 1) -> Agreement:
    """Agreement of references with particles, float32 [n, N, N] both, in the same order; pixel_size in A."""
    a, b = _comparable(references, particles, pixel_size)
    own = np.einsum('ij,ij->i', a, b)
    raw = correlation(references, particles)
    count = len(references)
    steps = np.random.default_rng(seed).integers(1, count, SHUFFLES).tolist() if count > 1 else []
    shuffled = [np.einsum('ij,ij->i', np.roll(a, step, axis=0), b).mean() for step in steps]
    return Agreement(
        count,
        _resolution(pixel_size),
        float(own.mean()),
        float(own.std(ddof=count > 1)),
        float(np.mean(shuffled)) if shuffled else 0.0,
        float(raw.mean()),
        float(raw.std(ddof=count > 1)),
    )


def _resolution(pixel_size: float) -> float:
    """A to which images are low-passed."""
    return max(RESOLUTION, PIXELS * pixel_size)


def _comparable(references: Images, particles: Images, pixel_size: float) -> tuple[Images, Images]:
    """Both low-passed, as rows whose products are correlations within the circle."""
    circle, resolution = soft_circle(references.shape[-1]), _resolution(pixel_size)
    a, b = (standardised(lowpass(x, pixel_size, resolution, axes=(-2, -1)), circle) for x in (references, particles))
    return a, b
