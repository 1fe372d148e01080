"""Training pairs (particle, reference): matched by identity, checked, measured once, read in normalised units.

Particles are standardised with the mean and standard deviation of the set. References are mapped to network units:
one affine map that takes the range of the whole set to [0, 1] (scaling each reference alone would destroy relative
intensities).
"""

from dataclasses import asdict, dataclass

import numpy as np

from ..data.matching import match
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.resample import resample
from . import sampling

CHUNK = 256
AGREEMENT = 'cryoemganCorrelation'  # column of project: correlation of each particle with its reference
FIELD_TOLERANCE = 2e-3  # relative difference of box x pixel size that still counts as the same field of view
SIGNIFICANT = 3.0  # standard errors


@dataclass(frozen=True)
class Scale:
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

    def signal(self):
        """(a, b): the standardised particle without noise is a * network unit + b."""
        a = self.gain / (self.unit_scale * self.sd)
        return a, (self.offset - self.mean) / self.sd - a * self.unit_offset

    def as_dict(self):
        """Plain numbers."""
        return asdict(self)


class ReferencePairs:
    """The pairs of two tables, numbered 0..len-1 in the particles' order."""

    kind = 'references'

    def __init__(self, particles, references, box=None):
        """particles, references: ParticleTable. box: resample both to it. InputError when they cannot be paired."""
        self.particles, self.references = particles, references
        self.rows, self.reference_rows = match(particles, references)
        self.unmatched = len(particles) - len(self.rows), len(references) - len(self.reference_rows)
        self._noisy, self._clean = particles.images(), references.images()
        field, other = (t.box * t.pixel_size for t in (particles, references))
        if abs(field / other - 1) > FIELD_TOLERANCE:
            raise InputError(
                f'{references.path}: the references show {other:.1f} A ({references.box} px of '
                f'{references.pixel_size:.4g} A), the particles {field:.1f} A ({particles.box} px of '
                f'{particles.pixel_size:.4g} A). Project the map again for these particles'
            )
        self.box = box or particles.box
        self.pixel_size = field / self.box
        self.scale, self._contamination = None, None

    def __len__(self):
        return len(self.rows)

    def half_sets(self):
        """int64 [len] (1 or 2) of the particles, or None when a refinement left none."""
        halves = self.particles.half_sets()
        return None if halves is None else halves[self.rows]

    @property
    def ctf(self):
        """What the references, hence the output, hold of the CTF."""
        return self.references.provenance.get('ctf', 'unknown')

    def keep(self, kept):
        """Leave out the pairs where ``kept`` (bool [len]) is False."""
        self.rows, self.reference_rows = self.rows[kept], self.reference_rows[kept]

    def names(self, positions):
        """Identities of the particles at these positions."""
        names = self.particles.names()
        return [names[r] for r in self.rows[positions]]

    def raw(self, positions):
        """(particles, references), float32 [n, box, box] in their own grey values, resampled to the box."""
        return (
            resample(self._noisy.read(self.rows[positions]), self.box),
            resample(self._clean.read(self.reference_rows[positions]), self.box),
        )

    def read(self, positions):
        """(standardised particles, references in network units), float32 [n, box, box]; contaminated if asked."""
        noisy, clean = self.raw(positions)
        s = self.scale
        noisy -= np.float32(s.mean)
        noisy /= np.float32(s.sd)
        clean *= np.float32(s.unit_scale)
        clean += np.float32(s.unit_offset)
        if self._contamination:
            self._replace(positions, noisy, clean)
        return noisy, clean

    def contaminate(self, what, noise, positions, seed):
        """Replace what ('references', 'particles', 'both') at these positions by noise ('gaussian', 'uniform')."""
        self._contamination = what, noise, np.asarray(positions), seed

    def _replace(self, positions, noisy, clean):
        what, kind, chosen, seed = self._contamination
        s = self.scale
        for i in np.flatnonzero(np.isin(positions, chosen)):
            if what in ('particles', 'both'):
                # Uniform with the particles' own mean and variance: they have no natural range.
                noisy[i] = sampling.contaminating_noise(
                    kind, positions[i], seed, 0, noisy[i].shape, 0, 1, -(3**0.5), 3**0.5
                )
            if what in ('references', 'both'):
                clean[i] = sampling.contaminating_noise(
                    kind, positions[i], seed, 1, clean[i].shape, s.unit_mean, s.unit_sd, 0, 1
                )

    def measure(self, invert=False, force=False, progress=None):
        """Stream over all pairs once: leave out constant images, fit the grey scale, check that pairs belong together.

        invert: reverse the references' contrast. force: go on although they do not correlate. Sets ``scale``;
        returns the number of pairs left out. InputError: inverted contrast, no correlation, nothing left.
        """
        moments = self._moments(-1.0 if invert else 1.0, progress)
        left_out = self._leave_out_constant(moments)
        usable = {k: v[~left_out] for k, v in moments.items()}
        own, other, z = _correlations(usable, self.box**2)
        if not force:
            _check_correlation(self, own, other, z, invert)
        self.scale = _fit(usable, self.box**2, invert, own, other)
        return int(left_out.sum())

    def _moments(self, sign, progress):
        """Per pair: sums over pixels, and the reference's range; about 60 bytes a pair."""
        names = ('p', 'r', 'pp', 'rr', 'pr', 'ps', 's', 'ss', 'low', 'high')
        m = {k: np.empty(len(self)) for k in names}
        for start in range(0, len(self), CHUNK):
            rows = slice(start, min(start + CHUNK, len(self)))
            p, r = (x.reshape(len(x), -1).astype(np.float64) for x in self.raw(np.arange(rows.start, rows.stop)))
            r *= sign
            # The next particle's reference stands for "any other".
            s = np.roll(r, 1, axis=0)
            m['p'][rows], m['r'][rows], m['s'][rows] = p.sum(1), r.sum(1), s.sum(1)
            for key, (x, y) in {'pp': (p, p), 'rr': (r, r), 'pr': (p, r), 'ps': (p, s), 'ss': (s, s)}.items():
                m[key][rows] = np.einsum('ij,ij->i', x, y)
            m['low'][rows], m['high'][rows] = r.min(1), r.max(1)
            if progress is not None:
                progress.update(rows.stop - rows.start)
        return m

    def _leave_out_constant(self, m):
        n = self.box**2
        constant = {
            'particles': m['pp'] - m['p'] ** 2 / n <= 1e-10 * m['pp'],
            'references': m['rr'] - m['r'] ** 2 / n <= 1e-10 * m['rr'],
        }
        left_out = constant['particles'] | constant['references']
        if left_out.all():
            which, rows = next((k, v) for k, v in constant.items() if v.any())
            table = self.particles if which == 'particles' else self.references
            raise InputError(f'{table.path}: {rows.sum()} of {len(self)} {which} are constant images; no pair is left')
        self.keep(~left_out)
        return left_out


def _correlations(m, n):
    """Mean correlation with the own and with another reference, and their difference in standard errors."""

    def ncc(xy, x, y, xx, yy):
        spread = np.sqrt(np.maximum((m[xx] - m[x] ** 2 / n) * (m[yy] - m[y] ** 2 / n), 1e-300))
        return (m[xy] - m[x] * m[y] / n) / spread

    own, other = ncc('pr', 'p', 'r', 'pp', 'rr'), ncc('ps', 'p', 's', 'pp', 'ss')
    difference = own - other
    error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else np.inf
    return own.mean(), other.mean(), difference.mean() / max(error, 1e-12)


def _check_correlation(pairs, own, other, z, invert):
    found = (
        f"mean correlation of the particles with their own reference {own:.3f}, with another particle's "
        f'{other:.3f} (difference: {z:.1f} standard errors of {len(pairs)} pairs)'
    )
    if z < -SIGNIFICANT:
        cure = 'leave out --invert-contrast' if invert else 'give --invert-contrast, or invert one of the two sets'
        raise InputError(
            f'{pairs.references.path}: the contrast is inverted against {pairs.particles.path}: {found}; {cure}'
        )
    if z < SIGNIFICANT:
        raise InputError(
            f'{pairs.references.path}: the references do not belong to {pairs.particles.path}, or the '
            f'angles are wrong: {found}. Check angles, shifts and map; --force trains in spite of it'
        )


def _fit(m, n, invert, own, other):
    """Scale by least squares over all pixels of the set, without particles of outlying variance."""
    spread = np.log(m['pp'] - m['p'] ** 2 / n)
    away = np.abs(spread - np.median(spread))
    # 1.4826 x median absolute deviation = standard deviation; a floor keeps simulated sets of equal variance whole.
    kept = away <= 6 * max(1.4826 * np.median(away), 0.05)
    count = n * kept.sum()
    p, r, pp, rr, pr = (m[k][kept].sum() / count for k in ('p', 'r', 'pp', 'rr', 'pr'))
    gain = (pr - p * r) / (rr - r * r)
    low, high = m['low'][kept].min(), m['high'][kept].max()
    sign = -1.0 if invert else 1.0
    scale = 1 / (high - low)
    return Scale(
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


def _leave_out_misaligned(pairs, limit, job):
    """Leave out pairs whose correlation is ``limit`` robust s.d. below the median of the set."""
    if not limit or not pairs.references.has(AGREEMENT):
        return
    found = pairs.references.floats(AGREEMENT)[pairs.reference_rows]
    kept = ~outlying(found, limit)
    if not kept.all():
        job.warn(
            f'{(~kept).sum()} of {len(kept)} pairs agree far less than the others (correlation below '
            f'{found[kept].min():.3f}, median {np.median(found):.3f}) and are not trained on: wrong angles or junk'
        )
        pairs.keep(kept)


def outlying(values, limit):
    """bool [n]: values more than ``limit`` robust s.d. (1.4826 x median absolute deviation) below the median."""
    away = values - np.median(values)
    return away < -limit * max(1.4826 * np.median(np.abs(away)), 1e-6)


def _check_projection(references, force):
    """InputError when ``project`` found something wrong with these pairs and named it."""
    better = references.provenance.get('pair_check', 'given')
    if better != 'given' and not force:
        raise InputError(
            f'{references.path}: project found that these references fit their particles better with {better}. '
            'Project again with that set right; --force trains in spite of it'
        )


def open_pairs(settings, job):
    """Pairs of ``settings.particles`` and ``settings.references``, checked and measured; warnings go to the job."""
    particles, references = (ParticleTable.read(job.input(p)) for p in (settings.particles, settings.references))
    pairs = ReferencePairs(particles, references, settings.box)
    for missing, table, partner in zip(pairs.unmatched, (particles, references), ('reference', 'particle')):
        if missing:
            job.warn(f'{table.path}: {missing} of {len(table)} rows have no {partner} and are not used')
    if len(pairs) < 2:
        raise InputError(f'{particles.path}: training needs at least 2 pairs, there is {len(pairs)}')
    _leave_out_misaligned(pairs, settings.min_agreement, job)
    _check_projection(references, settings.force)
    with job.progress(len(pairs), 'checking pairs') as bar:
        left_out = pairs.measure(settings.invert_contrast, settings.force, bar)
    if left_out:
        job.warn(f'{left_out} pairs with a constant image are not used')
        if len(pairs) < 2:
            raise InputError(f'{particles.path}: only {len(pairs)} usable pair is left; training needs at least 2')
    return pairs
