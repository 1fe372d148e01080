"""What particles are made of, told by references at angles and shifts that are a little wrong.

particle = gain * reference + offset + noise holds for the right pose only. At a wrong one the fine detail of the
reference falls beside that of the particle: the least-squares gain over all frequencies comes out too low (0.73 of the
right one for 2 degrees and 0.3 px at 64 px), and what is left of the particle holds signal that counts as noise. Over
random errors the correlation falls like exp(-2 pi^2 k^2 d^2) with the frequency k, d the r.m.s. displacement: the gain
of each ring, followed to k = 0, is the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..data.sampling import chunks
from ..shapes import Floats, Images, Tensor
from .rings import ring_sizes, ring_sums

TOGETHER = 64
# Displacements (px) that are tried, and the part of a ring's power that is noise at the least.
DISPLACEMENTS = np.linspace(0, 3, 301)
LEAST_NOISE = 0.02
# Mean square of CTFs in a ring below which they hide its noise.
LEAST_SQUARE = 1e-3


@dataclass(frozen=True)
class SignalModel:
    """particle = gain * seen + offset + noise.

    seen: reference as the particle shows it, with its CTF. displacement: px, r.m.s., between particles and references
    where there is detail. power: of the noise by rings, float64 [rings], 1 for white noise of variance 1.
    signal_variance, noise_variance: within an image, of the two parts.
    """

    gain: float
    offset: float
    displacement: float
    power: Floats
    signal_variance: float
    noise_variance: float

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise."""
        return self.signal_variance / self.noise_variance


def fit_signal(noisy: Images, seen: Images) -> SignalModel:
    """The SignalModel of particles [n, N, N] and their references as they show them [n, N, N]."""
    box, count = noisy.shape[-1], len(noisy)
    pixels = ring_sizes(box, corners=True)
    cross, reference, particle = np.zeros((3, len(pixels)))
    for rows in chunks(count, TOGETHER):
        f, g = (fft.rfft2(np.asarray(x[rows], np.float64)) for x in (noisy, seen))
        cross += ring_sums((f.real * g.real + f.imag * g.imag).sum(0), corners=True)
        reference += ring_sums((g.real**2 + g.imag**2).sum(0), corners=True)
        particle += ring_sums((f.real**2 + f.imag**2).sum(0), corners=True)
    rings = np.arange(len(pixels))
    inside = (rings > 0) & (rings < box // 2) & (reference > 1e-9 * reference[1:].max())
    gain, displacement = _extrapolated(
        cross[inside] / reference[inside],
        # Noise makes the gain of a ring uncertain by its variance over the power of the reference.
        reference[inside] * count * pixels[inside] / particle[inside],
        rings[inside] / box,
    )
    # Per pixel and image, as white noise of variance 1 has it.
    scale = 1 / (count * pixels * box**2)
    power = np.maximum(particle - gain**2 * reference, LEAST_NOISE * particle) * scale
    offset = float(noisy.mean(dtype=np.float64) - gain * seen.mean(dtype=np.float64))
    power[0] = power[1]
    within = pixels[1:] / box**2
    signal = gain**2 * (reference * scale)[1:] @ within
    return SignalModel(gain, offset, displacement, power, float(signal), float(power[1:] @ within))


def before_ctf(power: Floats, ctf: Tensor) -> Floats:
    """Power of noise by rings [rings] before it was multiplied, together with its particles, by their CTFs.

    ctf: of some of the particles, [n, N, N // 2 + 1].
    """
    squared = ring_sums(ctf.square().mean(0).numpy(), corners=True) / ring_sizes(ctf.shape[-2], corners=True)
    return power / np.maximum(squared, LEAST_SQUARE)


def _extrapolated(slope: Floats, weight: Floats, frequency: Floats) -> tuple[float, float]:
    """(gain, displacement in px) of slope = gain * exp(-2 pi^2 frequency^2 displacement^2), by weighted least squares.

    frequency: cycles per pixel.
    """
    fall = np.exp(-2 * np.pi**2 * np.outer(DISPLACEMENTS**2, frequency**2))
    gains = (fall * slope * weight).sum(1) / (fall**2 * weight).sum(1)
    error = (weight * (slope - gains[:, None] * fall) ** 2).sum(1)
    best = int(error.argmin())
    return float(gains[best]), float(DISPLACEMENTS[best])
