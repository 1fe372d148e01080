"""Grey scales of a training set: particles, references and network units, joined by straight lines.

Particles are standardised with the mean and standard deviation of the set. References are mapped to network units:
one affine map that takes the range of the whole set to [0, 1] (scaling each reference alone would destroy relative
intensities).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ..shapes import Flags, Floats, Images, Json

SIGNIFICANT = 3.0  # standard errors
# Particles whose log variance is this many robust standard deviations from the median do not move the grey scale.
OUTLYING = 6.0


@dataclass(frozen=True)
class PairScale:
    """Grey scales of a set; all affine, the same for every image.

    mean, sd: of the particles. gain, offset: particle grey = gain * reference grey + offset (least squares).
    unit_scale, unit_offset: network unit = unit_scale * reference grey + unit_offset. unit_mean, unit_sd: of the
    references in network units. correlation, correlation_shuffled: mean over particles with their own and with
    another particle's reference; None without references.
    """

    mean: float
    sd: float
    gain: float
    offset: float
    unit_scale: float
    unit_offset: float
    unit_mean: float
    unit_sd: float
    correlation: float | None
    correlation_shuffled: float | None

    def signal(self) -> tuple[float, float]:
        """(a, b): the standardised particle without noise is a * network unit + b."""
        a = self.gain / (self.unit_scale * self.sd)
        return a, (self.offset - self.mean) / self.sd - a * self.unit_offset

    def as_dict(self) -> Json:
        """Plain numbers."""
        return asdict(self)


class PairMoments:
    """Sums over the pixels of every pair, from which grey scales and correlations follow; about 60 bytes a pair."""

    _NAMES = ('p', 'r', 'pp', 'rr', 'pr', 'ps', 's', 'ss', 'low', 'high')

    def __init__(self, count: int, pixels: int) -> None:
        self.pixels = pixels
        self._of = {k: np.empty(count) for k in self._NAMES}

    def __len__(self) -> int:
        return len(self._of['p'])

    @classmethod
    def of(
        cls, pairs: Iterator[tuple[slice, Images, Images]], count: int, pixels: int, tell: Callable[[int], object]
    ) -> PairMoments:
        """Moments of (rows, particles, references) chunk by chunk; ``tell`` is called with the size of each."""
        found = cls(count, pixels)
        for rows, particles, references in pairs:
            found._add(rows, particles, references)
            tell(rows.stop - rows.start)
        return found

    def _add(self, rows: slice, particles: Images, references: Images) -> None:
        m, (p, r) = self._of, (x.reshape(len(x), -1).astype(np.float64) for x in (particles, references))
        # The next particle's reference stands for "any other".
        s = np.roll(r, 1, axis=0)
        m['p'][rows], m['r'][rows], m['s'][rows] = p.sum(1), r.sum(1), s.sum(1)
        for key, (x, y) in {'pp': (p, p), 'rr': (r, r), 'pr': (p, r), 'ps': (p, s), 'ss': (s, s)}.items():
            m[key][rows] = np.einsum('ij,ij->i', x, y)
        m['low'][rows], m['high'][rows] = r.min(1), r.max(1)

    def keep(self, kept: Flags) -> None:
        """Leave out the other pairs."""
        self._of = {k: v[kept] for k, v in self._of.items()}

    def constant(self) -> dict[str, Flags]:
        """Which particles and which references are constant images."""
        m, n = self._of, self.pixels
        return {
            'particles': m['pp'] - m['p'] ** 2 / n <= 1e-10 * m['pp'],
            'references': m['rr'] - m['r'] ** 2 / n <= 1e-10 * m['rr'],
        }

    def correlations(self) -> tuple[float, float, float]:
        """Mean correlation with the own and with another reference, and their difference in standard errors."""
        own, other = self._correlation('pr', 'p', 'r', 'pp', 'rr'), self._correlation('ps', 'p', 's', 'pp', 'ss')
        difference = own - other
        error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else np.inf
        return float(own.mean()), float(other.mean()), float(difference.mean() / max(error, 1e-12))

    def _correlation(self, xy: str, x: str, y: str, xx: str, yy: str) -> Floats:
        m, n = self._of, self.pixels
        spread = np.sqrt(np.maximum((m[xx] - m[x] ** 2 / n) * (m[yy] - m[y] ** 2 / n), 1e-300))
        found: Floats = (m[xy] - m[x] * m[y] / n) / spread
        return found

    def fit(self, invert: bool) -> PairScale:
        """Grey scale by least squares over all pixels, without particles of outlying variance.

        invert: the moments are those of references of reversed contrast.
        """
        m, n = self._of, self.pixels
        spread = np.log(m['pp'] - m['p'] ** 2 / n)
        away = np.abs(spread - np.median(spread))
        # 1.4826 x median absolute deviation = standard deviation; a floor keeps simulated sets of equal variance whole.
        kept = away <= OUTLYING * max(1.4826 * np.median(away), 0.05)
        count = n * kept.sum()
        p, r, pp, rr, pr = (m[k][kept].sum() / count for k in ('p', 'r', 'pp', 'rr', 'pr'))
        gain = (pr - p * r) / (rr - r * r)
        low, high = m['low'][kept].min(), m['high'][kept].max()
        sign = -1.0 if invert else 1.0
        scale = 1 / (high - low)
        own, other, _ = self.correlations()
        return PairScale(
            mean=p,
            sd=(pp - p * p) ** 0.5,
            gain=sign * gain,
            offset=p - gain * r,
            unit_scale=sign * scale,
            unit_offset=-low * scale,
            unit_mean=(r - low) * scale,
            unit_sd=(rr - r * r) ** 0.5 * scale,
            correlation=own,
            correlation_shuffled=other,
        )
