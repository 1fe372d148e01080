"""Training pairs without references: a noisy particle and itself (target self), or and a second copy of it (copies).

They behave like `ReferencePairs`. The role of the reference is played by a noisy image in network units;
``target_noise`` is the variance of its noise, by which a measured squared distance exceeds the true error.
"""

import numpy as np

from ..data.matching import match
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging import spectra
from ..imaging.resample import resample
from .pairs import CHUNK, FIELD_TOLERANCE, Scale

# Standard deviation of the signal in network units: about that of a reference whose range is [0, 1].
UNIT_SD = 0.2
SAMPLE = 1000
# Standard errors by which the variance must exceed that of the noise, the copies agree better than shuffled ones.
SIGNIFICANT = 5.0
# Correlation of neighbouring pixels' noise, after whitening, that a blind spot would take for signal.
CORRELATED = 0.05


class NoisyPairs:
    """Particles of a table, each its own target. Made by `open_noisy`."""

    kind = 'self'

    def __init__(self, particles, box=None):
        self.particles = self.references = particles
        self.rows = np.arange(len(particles))
        self._noisy = particles.images()
        self.box = box or particles.box
        self.pixel_size = particles.box * particles.pixel_size / self.box
        self.scale = self.gains = None
        self.target_noise = 0.0

    def __len__(self):
        return len(self.rows)

    @property
    def ctf(self):
        """What the output holds of the CTF: what the particles hold."""
        held = 'full' if self.particles.has('rlnDefocusU') else 'unknown'
        return self.particles.provenance.get('ctf', held)

    def half_sets(self):
        """int64 [len] (1 or 2) of the particles, or None."""
        halves = self.particles.half_sets()
        return None if halves is None else halves[self.rows]

    def names(self, positions):
        """Identities of the particles at these positions."""
        names = self.particles.names()
        return [names[r] for r in self.rows[positions]]

    def raw(self, positions):
        """(particles, their targets), float32 [n, box, box] in their own grey values."""
        images = resample(self._noisy.read(self.rows[positions]), self.box)
        return images, images

    def read(self, positions):
        """(standardised and whitened particles, targets in network units), float32 [n, box, box]."""
        noisy = self.standardised(self.raw(positions)[0])
        return noisy, np.float32(self.scale.unit_scale) * noisy

    def standardised(self, images):
        """Images in grey values of the particles as the network sees them."""
        images = (images - np.float32(self.scale.mean)) / np.float32(self.scale.sd)
        return images if self.gains is None else spectra.filtered(images, self.gains)

    def independent(self, positions, rng):
        """(images to denoise, images with the same signal and independent noise, variance of the latter's noise), in
        grey values. Gaussian noise e of the measured spectrum is added and taken away, y + e/3 and y - 3e, which makes
        the two independent (Pang et al. 2021) at the price of a ninth more noise in the first."""
        images, _ = self.raw(positions)
        white = rng.standard_normal(images.shape, dtype=np.float32)
        extra = np.float32(self.scale.sd * self.noise_variance**0.5) * spectra.filtered(white, 1 / self.gains)
        return images + extra / 3, images - 3 * extra, 10 * float(extra.var(dtype=np.float64))

    def measure(self, job):
        """Stream over all particles once for mean and s.d.; noise from the corners of a sample."""
        self._leave_out_constant()
        mean, sd = self._moments()
        sample = np.linspace(0, len(self) - 1, min(len(self), SAMPLE)).round().astype(int)
        images = (self.raw(sample)[0] - np.float32(mean)) / np.float32(sd)
        self.gains = spectra.noise_power(images) ** -0.5
        white = spectra.filtered(images, self.gains)
        self.noise_variance = float(spectra.autocovariance(white, spectra.background(self.box))[0, 0])
        signal = float(white.var(dtype=np.float64)) - self.noise_variance
        left = spectra.neighbour_correlation(white)
        job.say(f'noise from the corners of the boxes: signal-to-noise ratio {signal / self.noise_variance:.3g} after '
                f'whitening, neighbouring pixels correlate by {left:.3f}')  # fmt: skip
        if abs(left) > CORRELATED:
            job.warn(
                f'after whitening the noise of neighbouring pixels still correlates by {left:.2f}: --target self takes '
                'part of the noise for signal. Give frame halves (--target copies) or references'
            )
        error = self.noise_variance * (2 / (len(sample) * spectra.background(self.box).sum())) ** 0.5
        if signal < SIGNIFICANT * error:
            raise InputError(
                f'{self.particles.path}: no signal above the noise ({signal:.2g} of it, error {error:.2g}): are the '
                'particles empty, or is there something in the corners of the boxes? Nothing can be learnt from them'
            )
        self._set_scale(mean, sd, signal, self.noise_variance, None, None)

    def _set_scale(self, mean, sd, signal, noise, own, other):
        unit = UNIT_SD / signal**0.5
        self.target_noise = noise * unit**2
        self.scale = Scale(mean=mean, sd=sd, gain=sd, offset=mean, unit_scale=unit, unit_offset=0.0, unit_mean=0.0,
                           unit_sd=UNIT_SD, correlation=own, correlation_shuffled=other)  # fmt: skip

    def _chunks(self):
        for start in range(0, len(self), CHUNK):
            yield self.raw(np.arange(start, min(start + CHUNK, len(self))))

    def _leave_out_constant(self):
        kept = np.concatenate([np.minimum(*(np.ptp(x, axis=(1, 2)) for x in pair)) > 0 for pair in self._chunks()])
        if kept.sum() < 2:
            raise InputError(f'{self.particles.path}: fewer than 2 particles that are not constant images')
        self._keep(kept)

    def _keep(self, kept):
        self.rows = self.rows[kept]

    def _moments(self):
        sums = np.zeros(3)
        for images, _ in self._chunks():
            sums += images.size, images.sum(dtype=np.float64), np.square(images, dtype=np.float64).sum()
        mean = sums[1] / sums[0]
        return mean, max(sums[2] / sums[0] - mean**2, 1e-30) ** 0.5


class Copies(NoisyPairs):
    """Two copies of each particle with independent noise, matched by identity (Noise2Noise, Lehtinen et al. 2018)."""

    kind = 'copies'

    def __init__(self, particles, copies, box=None):
        super().__init__(particles, box)
        self.copies = copies
        self.rows, self.copy_rows = match(particles, copies)
        field, other = (t.box * t.pixel_size for t in (particles, copies))
        if abs(field / other - 1) > FIELD_TOLERANCE:
            raise InputError(f'{copies.path}: the copies show {other:.1f} A, the particles {field:.1f} A')

    def raw(self, positions):
        """(first copies, second copies), float32 [n, box, box] in their own grey values."""
        second = resample(self.copies.images().read(self.copy_rows[positions]), self.box)
        return super().raw(positions)[0], second

    def read(self, positions):
        """(standardised first copies, second copies in network units)."""
        first, second = (self.standardised(x) for x in self.raw(positions))
        return first, np.float32(self.scale.unit_scale) * second

    def independent(self, positions, rng):
        """(first copies, second copies, variance of the latter's noise), in grey values."""
        return *self.raw(positions), self.target_noise * (self.scale.sd / self.scale.unit_scale) ** 2

    def measure(self, job):
        """Stream over all pairs once: signal from the covariance of the copies, noise from their difference."""
        self._leave_out_constant()
        mean, sd = self._moments()
        n, covariance, shuffled, difference, squares = 0, 0.0, 0.0, 0.0, 0.0
        for pair in self._chunks():
            a, b = ((x - np.float32(mean)) / np.float32(sd) for x in pair)
            n += a.size
            covariance += np.vdot(a, b).astype(np.float64)
            shuffled += np.vdot(a, np.roll(b, 1, axis=0)).astype(np.float64)
            difference += np.square(a - b, dtype=np.float64).sum()
            squares += np.square(b, dtype=np.float64).sum()
        signal, noise = covariance / n, difference / n / 2
        if noise <= 1e-9:
            raise InputError(f'{self.copies.path}: the copies are the particles themselves; give images with noise of '
                             'their own, such as the other half of the frames')  # fmt: skip
        job.say(f'signal-to-noise ratio of one copy {signal / noise:.3g}, from the difference of the two')
        if signal - shuffled / n < SIGNIFICANT * (squares / n) ** 0.5 / n**0.5:
            raise InputError(f'{self.copies.path}: the copies agree with the particles no better than with other '
                             'particles: they are not copies of these')  # fmt: skip
        self._set_scale(mean, sd, signal, noise, signal / (signal + noise), shuffled / n / (signal + noise))

    def _keep(self, kept):
        self.rows, self.copy_rows = self.rows[kept], self.copy_rows[kept]


def open_noisy(settings, job):
    """ReferencePairs of noisy images for --target self or copies, measured; warnings go to the job."""
    particles = ParticleTable.read(job.input(settings.particles))
    if settings.target == 'self':
        pairs = NoisyPairs(particles, settings.box)
    else:
        copies = ParticleTable.read(job.input(settings.copies))
        pairs = Copies(particles, copies, settings.box)
        for missing, table in ((len(particles) - len(pairs), particles), (len(copies) - len(pairs), copies)):
            if missing:
                job.warn(f'{table.path}: {missing} of {len(table)} rows have no copy in the other set and are not used')
    if len(pairs) < 2:
        raise InputError(f'{particles.path}: training needs at least 2 particles, there is {len(pairs)}')
    pairs.measure(job)
    return pairs
