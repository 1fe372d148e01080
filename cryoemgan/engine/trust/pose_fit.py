"""Does each particle show its own reference, as strong as most do, and nothing else?

Two numbers say it, at the pose of the refinement, without any search. shortage: how much less of the reference the
particle holds than it should, by the filter that is matched to the noise, in its own s.d. residual: power beyond noise
that the reference leaves, in s.d., in the rings where there is signal. What is no particle, another molecule, or at a
wrong angle lacks the reference; what is crowded has it, and more.

What right particles have is learnt from the set itself, which holds wrong ones too (`mixtures`): shortage as that of
right particles, skewed as imperfect poses leave it, and a normal of stranger ones, where these explain the set better;
residual, among those that are right by their shortage, as skewed, or as a normal and anything above it. The p-values of
the two together are the pose fit: by Fisher's method for numbers that go together, as far as they do among right
particles (Brown, Biometrics 31, 987, 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from ..data.sampling import evenly_spread
from ..imaging.rings import multiplicity, on_grid, ring_index, ring_means
from ..shapes import Flags, Floats, Images
from .mixtures import NORMAL, ExGaussian, right_ones, typical_among

CONTRAST = 0.1  # s.d. of the particles' contrast
ROUNDS = 3
# Signal against noise: in rings with less a particle's own noise is measured, in those with more its residual.
QUIET, LOUD = 0.05, 0.1
FEWEST_COEFFICIENTS = 200
# Radii of the particle and of the rim of the box, as parts of the box.
CENTRE, RIM = 0.3, 0.38
FEWEST, MOST = 50, 5_000  # particles that tell what right ones are like
LEAST_POWER = 0.5  # a test that flags fewer empty images (at FLAG) than this tells nothing
FLAG = 0.05
FITS, EMPTY, OTHER, CROWDED, STATE = REASONS = ('fits', 'empty', 'not-this-map', 'crowded', 'another-state')
# Contrast (part of the typical one), s.d. of residual power, and p-value of all of it, at which reasons part.
FAINT, SHARP, CLEAN = 0.57, 1.5, 0.1
NUMBERS = 5
# Residuals that differ by less are those of a set without a ring in which there is signal.
SAME = 1e-9
# Covariance of -2 log p of two numbers by their correlation, highest power first.
COVARIANCE = (0.027, 0.710, 3.263, 0.0)


@dataclass(frozen=True)
class PairModel:
    """How references show in particles. gain: particle grey for each reference grey; noise: float64 [R], power of a
    coefficient of noise in each ring; signal: float64 [R], that of the references against it."""

    gain: float
    noise: Floats
    signal: Floats

    @classmethod
    def of(cls, references: Images, particles: Images) -> PairModel:
        """From some pairs float32 [n, N, N]."""
        x, y = (np.fft.rfft2(images) for images in (references, particles))
        noise, gain = _floored(ring_means((np.abs(y) ** 2).mean(0))), 0.0
        for _ in range(ROUNDS):
            weight = _weight(noise, x.shape[-2])
            power = float((weight * np.abs(x) ** 2).sum())
            gain = float((weight * (y * x.conj()).real).sum()) / max(power, 1e-30)
            noise = _floored(ring_means((np.abs(y - gain * x) ** 2).mean(0)))
        return cls(gain, noise, gain**2 * ring_means((np.abs(x) ** 2).mean(0)) / noise)

    def measure(self, references: Images, particles: Images) -> Floats:
        """float64 [n, NUMBERS] of pairs: shortage, residual, contrast, and the residual power for a pixel in the centre
        and at the rim."""
        box = references.shape[-1]
        weight = _weight(self.noise, box)
        x, y = (np.fft.rfft2(images) for images in (references, particles))
        signal = on_grid(self.signal, box)
        y = y / np.sqrt(self._level(y.real**2 + y.imag**2, weight, signal))[:, None, None]
        matched = self.gain * (weight * (y * x.conj()).real).sum((1, 2))
        expected = np.maximum(self.gain**2 * (weight * np.abs(x) ** 2).sum((1, 2)), 1e-12)
        v = CONTRAST**2
        shown = self.gain * (1 + v * (matched - expected) / (1 + v * expected))
        left = (y - shown[:, None, None] * x) * np.where((signal > LOUD) & (weight > 0), 1, 0)
        freedom = max(float((multiplicity(box) * ((signal > LOUD) & (weight > 0))).sum()), 1.0)
        residual = ((weight * np.abs(left) ** 2).sum((1, 2)) - freedom) / np.sqrt(2 * freedom)
        pixels = np.fft.irfft2(left / np.sqrt(on_grid(self.noise, box)), s=(box, box)) ** 2
        axis = np.arange(box) - box // 2
        away = np.hypot(axis[:, None], axis) / box
        return np.column_stack([
            (expected - matched) / np.sqrt(expected + v * expected**2), residual, matched / expected,
            pixels[:, away < CENTRE].mean(1), pixels[:, away > RIM].mean(1),
        ])  # fmt: skip

    def power_against_nothing(self, references: Images, shortage: ExGaussian) -> float:
        """Part of images of noise alone that the p-value of the shortage flags."""
        weight = _weight(self.noise, references.shape[-1])
        expected = self.gain**2 * (weight * np.abs(np.fft.rfft2(references)) ** 2).sum((1, 2))
        v = CONTRAST**2
        limit = shortage.limit(FLAG)
        rest = ExGaussian(0.0, 1.0)
        away = (limit * np.sqrt(expected + v * expected**2) - expected) / np.sqrt(np.maximum(expected, 1e-12))
        return float(rest.above(away).mean())

    def _level(self, power: Floats, weight: Floats, signal: Floats) -> Floats:
        """Each particle's noise [n] relative to the set's, from rings without signal. power: of its coefficients."""
        quiet = (signal < QUIET) & (weight > 0)
        count = float((multiplicity(power.shape[-2]) * quiet).sum())
        if count < FEWEST_COEFFICIENTS:
            return np.ones(len(power))
        found: Floats = np.clip((weight * quiet * power).sum((1, 2)) / count, 0.25, 4)
        return found


@dataclass(frozen=True)
class PoseFit:
    """p-values float64 [n], and what is wrong with each particle, one of ``REASONS`` [n]; holding: bool [n], particles
    that hold their reference and are not crowded, whatever else they show; right: share of the set that is like right
    particles; shortage: of those."""

    p_values: Floats
    reasons: np.ndarray
    holding: Flags
    right: float
    shortage: ExGaussian

    @property
    def counts(self) -> dict[str, int]:
        """{reason: particles}, of those that do not fit."""
        return {reason: int((self.reasons == reason).sum()) for reason in REASONS[1:]}


def pose_fit(numbers: Floats) -> PoseFit | None:
    """PoseFit of particles by what `PairModel.measure` found, [n, NUMBERS]; None when they are too few."""
    if len(numbers) < FEWEST:
        return None
    some = numbers[evenly_spread(len(numbers), MOST)]
    shortage, weights, right = right_ones(some[:, 0])
    residual, inside = typical_among(some[:, 1], weights)
    short, left = shortage.above(numbers[:, 0]), np.ones(len(numbers))
    p_values = short
    if np.ptp(some[:, 1]) > SAME:
        left = residual.above(numbers[:, 1])
        p_values = _together(short, left, _correlation(some[:, 0], some[:, 1], inside))
    reasons, faint = _reasons(numbers, some, weights, p_values, left)
    return PoseFit(p_values, reasons, ~faint & (reasons != CROWDED), right, shortage)


def _correlation(a: Floats, b: Floats, weights: Floats) -> float:
    """Of weighted values [n]; 0 where it is negative."""
    (first, both), (_, second) = np.cov(a, b, aweights=weights)
    return float(np.clip(both / max(float(first * second) ** 0.5, 1e-30), 0.0, 1.0))


def _together(a: Floats, b: Floats, correlation: float) -> Floats:
    """p-value [n] of two p-values of numbers that are correlated: Brown's method, with the covariance of Kost and
    McDermott (Stat. Probab. Lett. 60, 183, 2002); Fisher's without correlation."""
    fisher = -2 * (np.log(np.maximum(a, 1e-300)) + np.log(np.maximum(b, 1e-300)))
    variance = 8 + 2 * np.polyval(COVARIANCE, correlation)
    found: Floats = chdtrc(32 / variance, fisher * 8 / variance)
    return found


def _reasons(
    numbers: Floats, some: Floats, weights: Floats, p_values: Floats, left: Floats
) -> tuple[np.ndarray, Flags]:
    """What is wrong with each particle, and whether it shows its reference too faintly. some: numbers that tell what
    right particles have, which each of them is with the probabilities ``weights``."""
    # What is wrong has less contrast, and more of everything else.
    typical = -typical_among(-some[:, 2], weights, [NORMAL])[0].mean
    contrast = numbers[:, 2] / max(typical, 1e-12)
    centre, rim = (_in_sd(numbers[:, k], typical_among(some[:, k], weights, [NORMAL])[0]) for k in (3, 4))
    faint = contrast < FAINT
    crowded = (rim > SHARP) & (rim > centre) & ~faint
    reasons = np.select(
        [p_values >= FLAG, crowded, faint & (left > CLEAN), (centre > SHARP) | faint],
        [FITS, CROWDED, EMPTY, OTHER],
        STATE,
    )
    return reasons, faint


def _in_sd(values: Floats, typical: ExGaussian) -> Floats:
    found: Floats = (values - typical.mean) / typical.sd
    return found


def words(found: PoseFit) -> str:
    """What the pose fits of a set say, for a summary."""
    doubtful, count = int((found.p_values < FLAG).sum()), len(found.p_values)
    parts = ', '.join(f'{reason} {number}' for reason, number in found.counts.items() if number)
    by = f'. By reason (cryoemganReason): {parts}' if parts else ''
    return (
        f'{doubtful} of {count} particles ({doubtful / count:.1%}) have a pose fit (cryoemganPoseFit) below {FLAG:g}; '
        f'of good particles at about the right angles {FLAG:.0%} would{by}'
    )


def _floored(noise: Floats) -> Floats:
    """A noise spectrum without its mean and without zeros."""
    found = noise.copy()
    found[0] = found[1]
    return np.maximum(found, 1e-6 * max(float(found.max()), 1e-30))


def _weight(noise: Floats, box: int) -> Floats:
    """1 / noise of each coefficient, counted as often as it stands in the whole plane; 0 for the mean and corners."""
    ring = ring_index(box)
    inside = (ring > 0) & (ring < len(noise))
    found: Floats = np.where(inside, multiplicity(box) / on_grid(noise, box), 0.0)
    return found
