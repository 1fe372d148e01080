"""Training pairs without references: a noisy particle and itself (target self), or and a second copy of it (copies).

The role of the reference is played by a noisy image in network units;
``target_noise`` is the variance of its noise, by which a measured squared distance exceeds the true error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..data.image_state import CtfState, of_particles
from ..data.matching import match
from ..data.particles import open_particles
from ..data.sampling import chunks, evenly_spread
from ..data.table import ParticleTable
from ..devices import to_device
from ..errors import InputError
from ..imaging import spectra
from ..imaging.resample import resample, resampled
from ..imaging.rings import on_grid, ring_sizes
from ..job import Job
from ..settings.train import Train
from ..shapes import Flags, Floats, Images, Rows, Tensor
from .interfaces import Gathered
from .pair_scale import PairScale
from .pairs import CHUNK, FIELD_TOLERANCE
from .particle_rows import ParticleRows

# Standard deviation of the signal in network units: about that of a reference whose range is [0, 1].
UNIT_SD = 0.2
# Particles that noise is measured on, and as many more as have so many pixels together: where particles are small and
# noisy, its error is that of the signal.
SAMPLE, SAMPLE_PIXELS = 1000, 2**24
# Images that the variance of the signal is a mean over.
MEASURED = 5000
# Standard errors by which the variance must exceed that of the noise, the copies agree better than shuffled ones.
SIGNIFICANT = 5.0
# Correlation of neighbouring pixels' noise, after whitening, that a blind spot would take for signal.
CORRELATED = 0.05
# Excess kurtosis of noise that is not taken for Gaussian any more.
NOT_GAUSSIAN = 0.3


class NoisyPairs(ParticleRows):
    """Particles of a table, each its own target. Made by `open_noisy`."""

    kind = 'self'
    map_prior = None
    scale: PairScale

    def __init__(self, particles: ParticleTable, box: int | None = None) -> None:
        self.particles = particles
        self.rows: Rows = np.arange(len(particles))
        self._noisy = particles.images()
        self.box: int = box or particles.box
        self.pixel_size: float = particles.box * particles.pixel_size / self.box
        self.gains: Floats | None = None
        # Standard error of the measured noise, as a part of its variance.
        self.noise_error = 0.0
        self.target_noise = 0.0

    @property
    def ctf(self) -> str:
        """What the output holds of the CTF: what the particles hold."""
        known = self.particles.has('rlnDefocusU')
        return (of_particles(self.particles) if known else self.particles.ctf_state).value

    @property
    def image_model(self) -> tuple[str, str]:
        """The CTF in particles and output (none, phase-flip, full); empty where it is not known how noise passed it."""
        held = of_particles(self.particles) if self.particles.has('rlnDefocusU') else CtfState.NONE
        return ('', '') if held is CtfState.PREMULTIPLIED else (held.value, held.value)

    def own_half_maps(self) -> bool:
        """False: there is no map."""
        return False

    def raw(self, positions: Rows) -> tuple[Images, Images]:
        """(particles, their targets), [n, box, box] in their own grey values."""
        images = resample(self._noisy.read(self.rows[positions]), self.box)
        return images, images

    def gather(self, positions: Rows) -> Gathered:
        """(particles,): a particle is its own target."""
        return (self._noisy.read(self.rows[positions]),)

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """(standardised and whitened particles [n, C, box, box], the same in network units [n, 1, box, box])."""
        noisy = self._standardised(gathered[0])[:, None]
        return self._with_ctf(noisy, positions), self.scale.unit_scale * noisy

    def _with_ctf(self, noisy: Tensor, positions: Rows) -> Tensor:
        if self._planes is None:
            return noisy
        return torch.cat([noisy, self._planes(self.rows[positions], noisy.device)], 1)

    def standardised(self, images: Images) -> Images:
        """Images in grey values of the particles as the network sees them."""
        return self._standardised(torch.from_numpy(images.copy())).numpy()

    def _standardised(self, images: Tensor) -> Tensor:
        images = resampled(images, self.box).sub_(self.scale.mean).div_(self.scale.sd)
        if self.gains is None:
            return images
        gains = to_device(on_grid(self.gains, self.box).astype(np.float32), images.device)
        return torch.fft.irfft2(torch.fft.rfft2(images) * gains, s=(self.box, self.box))

    def seen(self, positions: Rows) -> Tensor:
        """Particles as the network sees them, float32 [n, C, box, box]."""
        return self.assemble(tuple(torch.from_numpy(x.copy()) for x in self.gather(positions)), positions)[0]

    def independent(self, positions: Rows, rng: np.random.Generator) -> tuple[Images, Images, Floats]:
        """(images to denoise, images with the same signal and independent noise, variance of the latter's noise [n]),
        in grey values. Gaussian noise e of the measured spectrum is added and taken away, y + e/3 and y - 3e, which
        makes the two independent (Pang et al. 2021) at the price of a ninth more noise in the first."""
        assert self.gains is not None
        images, _ = self.raw(positions)
        white = rng.standard_normal(images.shape, dtype=np.float32)
        extra = np.float32(self.scale.sd * self.noise_variance**0.5) * spectra.filtered(white, 1 / self.gains)
        other = images - 3 * extra
        # What was taken away is known, not only its variance.
        known = _variances(other) - _variances(images) + extra.var(dtype=np.float64)
        return images + extra / 3, other, known

    def noise_in_grey(self) -> float:
        """Variance of the noise in targets, in grey values of the particles."""
        assert self.gains is not None
        sizes = ring_sizes(self.box, corners=True)
        return float(self.scale.sd**2 * self.noise_variance * (self.gains**-2.0 @ sizes) / sizes.sum())

    def signal_variance(self) -> tuple[float, float]:
        """Within an image, in grey values of the particles: a mean over the set, and its standard error."""
        chosen = evenly_spread(len(self), MEASURED)
        every = [_variances(self.raw(chosen[rows])[1]) for rows in chunks(len(chosen), CHUNK)]
        found, noise = np.concatenate(every), self.noise_in_grey()
        error = float(np.hypot(found.std() / len(found) ** 0.5, noise * self.noise_error))
        return float(found.mean()) - noise, error

    def fit_grey_scale(self, job: Job) -> None:
        """Stream over all particles once for mean and s.d.; noise and whitening from the corners of a sample.

        InputError when there is no signal; a warning when whitening does not make the noise independent.
        """
        self._leave_out_constant()
        mean, sd = self._mean_and_sd()
        sample = evenly_spread(len(self), max(SAMPLE, SAMPLE_PIXELS // self.box**2))
        images = (self.raw(sample)[0] - np.float32(mean)) / np.float32(sd)
        self.gains = spectra.corner_power(images) ** -0.5
        white = spectra.filtered(images, self.gains)
        self.noise_variance = float(spectra.autocovariance(white, spectra.corner_weight(self.box))[0, 0])
        signal = float(white.var(dtype=np.float64)) - self.noise_variance
        left = spectra.neighbour_correlation(white)
        job.say(f'noise from the corners of the boxes: signal-to-noise ratio {signal / self.noise_variance:.3g} after '
                f'whitening, neighbouring pixels correlate by {left:.3f}')  # fmt: skip
        if abs(left) > CORRELATED:
            job.warn(
                f'after whitening the noise of neighbouring pixels still correlates by {left:.2f}: --target self takes '
                'part of the noise for signal. Give frame halves (--target copies) or references'
            )
        recorrupts = isinstance(job.settings, Train) and job.settings.recorrupts()
        if recorrupts and abs(outliers := spectra.excess_kurtosis(white)) > NOT_GAUSSIAN:
            job.warn(
                f'the noise in the corners of the boxes is not Gaussian (excess kurtosis {outliers:.2f}), as learning '
                'from noise that is added and taken away assumes: compare with --self-supervision blind-spots. Hot '
                'pixels, clipped grey values, or neighbours in the boxes?'
            )
        self.noise_error = float((2 / (len(sample) * spectra.corner_weight(self.box).sum())) ** 0.5)
        error = self.noise_variance * self.noise_error
        if signal < SIGNIFICANT * error:
            raise InputError(
                f'{self.particles.path}: no signal above the noise ({signal:.2g} of it, error {error:.2g}): are the '
                'particles empty, or is there something in the corners of the boxes? Nothing can be learnt from them'
            )
        self._set_scale(mean, sd, signal, self.noise_variance, None, None)

    def _set_scale(
        self, mean: float, sd: float, signal: float, noise: float, own: float | None, other: float | None
    ) -> None:
        unit = UNIT_SD / signal**0.5
        self.target_noise = noise * unit**2
        self.scale = PairScale(mean=mean, sd=sd, gain=sd, offset=mean, unit_scale=unit, unit_offset=0.0, unit_mean=0.0,
                           unit_sd=UNIT_SD, correlation=own, correlation_shuffled=other)  # fmt: skip

    def _chunks(self) -> Iterator[tuple[Images, Images]]:
        for rows in chunks(len(self), CHUNK):
            yield self.raw(np.arange(rows.start, rows.stop))

    def _leave_out_constant(self) -> None:
        kept = np.concatenate([np.minimum(*(np.ptp(x, axis=(1, 2)) for x in pair)) > 0 for pair in self._chunks()])
        if kept.sum() < 2:
            raise InputError(f'{self.particles.path}: fewer than 2 particles that are not constant images')
        self._keep(kept)

    def _keep(self, kept: Flags) -> None:
        self.rows = self.rows[kept]

    def _mean_and_sd(self) -> tuple[float, float]:
        sums = np.zeros(3)
        for images, _ in self._chunks():
            sums += images.size, images.sum(dtype=np.float64), np.square(images, dtype=np.float64).sum()
        mean, square = (float(x / sums[0]) for x in sums[1:])
        return mean, max(square - mean**2, 1e-30) ** 0.5


class Copies(NoisyPairs):
    """Two copies of each particle with independent noise, matched by identity (Noise2Noise, Lehtinen et al. 2018)."""

    kind = 'copies'

    def __init__(self, particles: ParticleTable, copies: ParticleTable, box: int | None = None) -> None:
        super().__init__(particles, box)
        self.copies, self._second = copies, copies.images()
        self.rows, self.copy_rows = match(particles, copies)
        field, other = (t.box * t.pixel_size for t in (particles, copies))
        if abs(field / other - 1) > FIELD_TOLERANCE:
            raise InputError(f'{copies.path}: the copies show {other:.1f} A, the particles {field:.1f} A')

    def raw(self, positions: Rows) -> tuple[Images, Images]:
        """(first copies, second copies), [n, box, box] in their own grey values."""
        second = resample(self._second.read(self.copy_rows[positions]), self.box)
        return super().raw(positions)[0], second

    def gather(self, positions: Rows) -> Gathered:
        """(first copies, second copies), in their own grey values and boxes."""
        return *super().gather(positions), self._second.read(self.copy_rows[positions])

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """(standardised first copies, second copies in network units), [n, 1, box, box]."""
        first, second = (self._standardised(x)[:, None] for x in gathered)
        return self._with_ctf(first, positions), self.scale.unit_scale * second

    def independent(self, positions: Rows, rng: np.random.Generator) -> tuple[Images, Images, Floats]:
        """(first copies, second copies, variance of the latter's noise [n]), in grey values."""
        return *self.raw(positions), np.full(len(positions), self.noise_in_grey())

    def noise_in_grey(self) -> float:
        """Variance of the noise in second copies, in grey values of the particles."""
        return self.target_noise * (self.scale.sd / self.scale.unit_scale) ** 2

    def fit_grey_scale(self, job: Job) -> None:
        """Stream over all pairs once: signal from the covariance of the copies, noise from their difference."""
        self._leave_out_constant()
        mean, sd = self._mean_and_sd()
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

    def _keep(self, kept: Flags) -> None:
        self.rows, self.copy_rows = self.rows[kept], self.copy_rows[kept]


def _variances(images: Images) -> Floats:
    found: Floats = images.var(axis=(1, 2), dtype=np.float64)
    return found


def open_noisy(settings: Train, job: Job) -> NoisyPairs:
    """Pairs of noisy images for --target self or copies, measured; warnings go to the job."""
    particles = open_particles(job, settings.particles)
    if settings.target == 'self':
        pairs: NoisyPairs = NoisyPairs(particles, settings.box)
    else:
        assert settings.copies is not None
        copies = open_particles(job, settings.copies)
        pairs = Copies(particles, copies, settings.box)
        for missing, table in ((len(particles) - len(pairs), particles), (len(copies) - len(pairs), copies)):
            if missing:
                job.warn(f'{table.path}: {missing} of {len(table)} rows have no copy in the other set and are not used')
    if len(pairs) < 2:
        raise InputError(f'{particles.path}: training needs at least 2 particles, there is {len(pairs)}')
    pairs.fit_grey_scale(job)
    return pairs
