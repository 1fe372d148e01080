"""What a model that was trained without references can do on particles that it never saw, without references either.

Everything comes from two images with the same signal and independent noise (`NoisyPairs.independent`): one is
denoised, and what the output has in common with the other is signal. Those images are as noisy as, or noisier than,
the particles: the numbers are a little worse than the denoiser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..metrics.frc import resolution
from ..metrics.resemblance import ring_covariance
from ..posterior.map_prior import Context
from ..random_streams import generator
from ..shapes import Floats, Images, Json, Rows
from . import uncertainty
from .assessment import (
    CHUNK,
    FRC_LIMIT,
    LARGEST_COUNT,
    LARGEST_SLOPE,
    blind_weights,
    correlation,
    cut_low,
    of_guided,
    sample,
)
from .model import Model

# Relative standard error of the expected error that is not worth telling.
WELL_KNOWN = 0.1

Chunk: TypeAlias = tuple[Images, Images, Images, Floats, Images, Images | None]


def assess(model: Model, pairs: Any, members: Sequence[Any]) -> Json:
    """As `assessment.assess`, without references: the error of an image is its squared distance to the independent copy
    less the variance of the copy's noise, known on average only; its amplitude is what it has in common with the
    copy."""
    positions = sample(pairs, members)
    # Of few particles each is asked about several times, with other noise added; second copies there is one of.
    draws = 1 if pairs.kind == 'copies' else max(1, LARGEST_COUNT // len(positions))
    seed = members[0].settings.seed
    chunks = [chunk for draw in range(draws) for chunk in _chunks(model, pairs, positions, seed, draw)]
    curve = _frc(chunks)
    cut = resolution(curve, FRC_LIMIT, pairs.pixel_size, pairs.box)
    chunks = [
        (cut_low(output, cut, pairs.pixel_size), noisy, other, variance, cut_low(found, cut, pairs.pixel_size), own)
        for output, noisy, other, variance, found, own in chunks
    ]
    slope = _slope(chunks)
    errors, signals, spreads, between = [], [], [], CopiesCollapseCheck()
    for output, _, other, variance, found, own in chunks:
        errors.append(_variances(slope * output - other) - variance)
        signals.append(_variances(other) - variance)
        own = None if own is None else slope * own
        spreads.append(np.square(uncertainty.spread(slope * found, own), dtype=np.float64).mean((1, 2)))
        between.add(slope * output, other)
    error, signal, predicted = (np.concatenate(x) for x in (errors, signals, spreads))
    # The variance of the signal is the largest part of this sum, and known from far more particles.
    known, own_error = pairs.signal_variance()
    mean = max(float((error - signal).mean() + known), 0.0)
    standard_error = float(np.hypot(own_error, (error - signal).std() / len(positions) ** 0.5))
    gain, offset = (model.card['grey'][name] for name in ('gain', 'offset'))
    level, wanted = (np.mean([x.mean() for x in images]) for images in zip(*((c[0], c[2]) for c in chunks)))
    return {
        'grey': {'gain': slope * gain, 'offset': float(slope * (offset - level) + wanted)},
        'resolution': {'frc_limit': FRC_LIMIT, 'cut': cut},
        'uncertainty': {
            'scale': float((mean / predicted.mean()) ** 0.5) if mean > 0 and predicted.mean() > 0 else 1.0,
            'correlation': correlation(error, np.sqrt(predicted)),
            'measure': 'members' if len(model.members) > 1 else 'turn',
            'particles': len(positions),
            'known_to': standard_error / (2 * mean) if mean > 0 else 1.0,
        },
        'shown': between.measured(float(mean)),
        **of_guided(model, pairs, positions, blind_weights(model, pairs, positions), LARGEST_COUNT),
    }


def _chunks(model: Model, pairs: Any, positions: Rows, seed: int, draw: int) -> Iterator[Chunk]:
    """Yield (denoised by blind members, its input, an independent copy [n, N, N] each, variance of the copy's noise
    [n], all answers [k, n, N, N], s.d. by the map prior [n, N, N] of a guided model)."""
    weights = blind_weights(model, pairs, positions)
    context = Context.of(pairs.particles, pairs.rows, pairs.box)
    for start in range(0, len(positions), CHUNK):
        here = slice(start, start + CHUNK)
        rng = generator(seed, 'checks', 1, start, draw)
        noisy, other, variance = pairs.independent(positions[here], rng)
        known = model.ask_all(noisy, context.part(positions[here]))
        found, own = uncertainty.answers(model, noisy, opinions=known), uncertainty.posterior_sd(model, known)
        output = np.einsum('nm,mnyx->nyx', weights[here], found[: weights.shape[1]])
        yield output, noisy, other, variance, found, own


def _slope(chunks: Iterable[Chunk]) -> float:
    """Factor that takes outputs to the amplitude of the signal; 1 when they show nothing."""
    power = common = 0.0
    for output, _, other, *_ in chunks:
        output = output - output.mean(axis=(1, 2), keepdims=True)
        power += float(np.square(output, dtype=np.float64).sum())
        common += float(np.vdot(output.astype(np.float64), other))
    return float(np.clip(common / power, 1 / LARGEST_SLOPE, LARGEST_SLOPE)) if common > 0 and power > 0 else 1.0


def _variances(images: Images) -> Floats:
    found: Floats = images.var(axis=(1, 2), dtype=np.float64)
    return found


def _frc(chunks: Iterable[Chunk]) -> Floats:
    """FRC of the output with the signal, by rings, over all chunks."""
    mixed = output = signal = np.zeros(())
    for image, noisy, other, *_ in chunks:
        mixed = mixed + len(image) * ring_covariance(image, other)
        output = output + len(image) * ring_covariance(image, image)
        signal = signal + len(image) * ring_covariance(noisy, other)
    return frc_from_copies(mixed, output, signal)


def frc_from_copies(mixed: Floats, output: Floats, signal: Floats) -> Floats:
    """FRC of an output with the signal nobody has seen, by rings: cov(output, copy) / sqrt(var(output) var(signal)), of
    sums over images; var(signal) is the covariance of the two copies. 0 where there is no signal."""
    power = output * np.maximum(signal, 0)
    found = np.divide(mixed, np.sqrt(power), out=np.zeros_like(mixed), where=power > 1e-6 * power.max())
    return np.clip(found, -1, 1)


class CopiesCollapseCheck:
    """`CollapseCheck` from noisy copies: variance between particles of the output and, by covariance, of the signal."""

    def __init__(self) -> None:
        self.count, self.own, self.shared = 0, 0.0, 0.0
        self.sums = [np.zeros(()), np.zeros(())]

    def add(self, images: Images, others: Images) -> None:
        """One batch, [n, N, N] each."""
        self.count += len(images)
        for k, x in enumerate((images, others)):
            self.sums[k] = self.sums[k] + x.sum(0, dtype=np.float64)
        self.own += float(np.square(images, dtype=np.float64).sum())
        self.shared += float(np.vdot(images.astype(np.float64), others))

    def measured(self, error: float) -> dict[str, float]:
        """{'variance', 'error'} as parts of the signal's; error: mean squared, of a pixel."""
        own = self.own - np.square(self.sums[0]).sum() / self.count
        shared = self.shared - (self.sums[0] * self.sums[1]).sum() / self.count
        # Output of regression type: what it shares with the copy is its own variance, when it is right.
        pixels = self.count * np.size(self.sums[0])
        signal = max(shared, 1e-12) + error * pixels
        return {'variance': float(max(own, 0) / signal), 'error': float(error * pixels / signal)}


def sentence(measured: Json) -> str:
    """What `assess` found, for the log."""
    cut, found = measured['resolution']['cut'], measured['uncertainty']
    known = f', known to {found["known_to"]:.0%}' if found['known_to'] > WELL_KNOWN else ''
    where = f'down to {cut:.1f} A' if cut else 'nowhere'
    return (
        f'on {found["particles"]} particles kept out of training the output agrees with independent noisy images '
        f'{where} (estimated FRC with the signal {FRC_LIMIT}); estimated error {measured["shown"]["error"]:.2f} of the '
        f'variance between particles; the expected error of an image is {found["scale"]:.2f} times the disagreement of '
        f'the answers{known}'
    )
