"""What a model that was trained without references can do on particles that it never saw, without references either.

Everything comes from two images with the same signal and independent noise (`NoisyPairs.independent`): one is
denoised, and what the output has in common with the other is signal. Those images are as noisy as, or noisier than,
the particles: the numbers are a little worse than the denoiser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..metrics.frc import resolution
from ..metrics.resemblance import ring_covariance
from ..posterior.map_prior import Context
from ..random_streams import generator
from ..shapes import Floats, Images, Json, Rows
from . import uncertainty
from .assessment import (
    CHUNK,
    LARGEST_COUNT,
    LARGEST_SLOPE,
    LEAST_FRC,
    blind_weights,
    correlation,
    disagreement,
    in_memory,
    of_guided,
    ratio,
    sample,
)
from .model import Model
from .shown import cut_low

# Rings, of which the mean counts: a single one may dip by chance.
TOGETHER = 3
# Relative standard error of the expected error that is not worth telling.
WELL_KNOWN = 0.1


@dataclass(frozen=True)
class Chunk:
    """Particles denoised by fold models that do not know them.

    output, its input noisy, an independent copy other: [n, N, N] each. variance: of that copy's noise [n]. answers:
    all, [k, n, N, N]. sd: of the posterior of a guided model [n, N, N], or None.
    """

    output: Images
    noisy: Images
    other: Images
    variance: Floats
    answers: Images
    sd: Images | None

    def cut(self, cut: float | None, pixel_size: float) -> Chunk:
        """The same with outputs and answers cut."""
        output, answers = (cut_low(x, cut, pixel_size) for x in (self.output, self.answers))
        return replace(self, output=output, answers=answers)

    def scaled(self, slope: float) -> Chunk:
        """The same with outputs and answers of another amplitude."""
        sd = None if self.sd is None else slope * self.sd
        return replace(self, output=slope * self.output, answers=slope * self.answers, sd=sd)


def assess(model: Model, pairs: Any, members: Sequence[Any]) -> Json:
    """As `assessment.assess`, without references: the error of an image is its squared distance to the independent copy
    less the variance of the copy's noise, known on average only; its amplitude is what it has in common with the
    copy."""
    positions = sample(pairs, members)
    # Of few particles each is asked about several times, with other noise added; second copies there is one of.
    draws = 1 if pairs.kind == 'copies' else max(1, in_memory(pairs, members) // len(positions))
    seed = members[0].settings.seed
    chunks = [chunk for draw in range(draws) for chunk in _chunks(model, pairs, positions, seed, draw)]
    cut = resolution(_smooth(_frc(chunks)), LEAST_FRC, pairs.pixel_size, pairs.box)
    chunks = [c.cut(cut, pairs.pixel_size) for c in chunks]
    slope = _slope(chunks)
    return {
        'grey': _grey(model.card['grey'], chunks, slope),
        'resolution': {'frc_limit': LEAST_FRC, 'cut': cut},
        **_errors((c.scaled(slope) for c in chunks), len(model.members), len(positions), *pairs.signal_variance()),
        **of_guided(model, pairs, positions, blind_weights(model, pairs, positions), LARGEST_COUNT),
    }


def _grey(grey: Json, chunks: Sequence[Chunk], slope: float) -> Json:
    """The grey scale of a card, with which outputs have the amplitude and the mean of the signal."""
    output, wanted = (
        float(np.mean([x.mean() for x in images])) for images in zip(*((c.output, c.other) for c in chunks))
    )
    return {'gain': slope * grey['gain'], 'offset': float(slope * (grey['offset'] - output) + wanted)}


def _errors(chunks: Iterable[Chunk], members: int, particles: int, signal: float, uncertain: float) -> dict[str, Json]:
    """uncertainty and shown. signal, uncertain: variance of the signal of the whole set, and its standard error."""
    errors, own, spreads, between = [], [], [], CopiesCollapseCheck()
    for c in chunks:
        errors.append(_variances(c.output - c.other) - c.variance)
        own.append(_variances(c.other) - c.variance)
        spreads.append(np.square(uncertainty.spread(c.answers, c.sd), dtype=np.float64).mean((1, 2)))
        between.add(c.output, c.other)
    error, known, predicted = (np.concatenate(x) for x in (errors, own, spreads))
    # The variance of the signal is the largest part of this sum, and better known from the set than from these.
    mean = max(float((error - known).mean()) + signal, 0.0)
    standard_error = float(np.hypot(uncertain, (error - known).std() / particles**0.5))
    scale, floor = uncertainty.calibrated(error, predicted, mean)
    told = {
        'scale': scale,
        'floor': floor,
        'ratio': ratio(mean, predicted.mean()),
        'correlation': correlation(error, np.sqrt(predicted)),
        'measure': 'members' if members > 1 else 'turn',
        'particles': particles,
        'known_to': standard_error / (2 * mean) if mean > 0 else 1.0,
    }
    return {'uncertainty': told, 'shown': between.measured(mean)}


def _chunks(model: Model, pairs: Any, positions: Rows, seed: int, draw: int) -> Iterator[Chunk]:
    """Chunks of these particles, with one draw of the noise that makes them copies."""
    weights = blind_weights(model, pairs, positions)
    context = Context.of(pairs.particles, pairs.rows, pairs.box)
    for start in range(0, len(positions), CHUNK):
        here = slice(start, start + CHUNK)
        rng = generator(seed, 'checks', 1, start, draw)
        noisy, other, variance = pairs.independent(positions[here], rng)
        known = model.ask_all(noisy, context.part(positions[here]))
        found, own = uncertainty.answers(model, noisy, opinions=known), uncertainty.posterior_sd(model, known)
        output = np.einsum('nm,mnyx->nyx', weights[here], found[: weights.shape[1]])
        yield Chunk(output, noisy, other, variance, found, own)


def _slope(chunks: Iterable[Chunk]) -> float:
    """Factor that takes outputs to the amplitude of the signal; 1 when they show nothing."""
    power = common = 0.0
    for c in chunks:
        output = c.output - c.output.mean(axis=(1, 2), keepdims=True)
        power += float(np.square(output, dtype=np.float64).sum())
        common += float(np.vdot(output.astype(np.float64), c.other))
    return float(np.clip(common / power, 1 / LARGEST_SLOPE, LARGEST_SLOPE)) if common > 0 and power > 0 else 1.0


def _variances(images: Images) -> Floats:
    found: Floats = images.var(axis=(1, 2), dtype=np.float64)
    return found


def _smooth(curve: Floats) -> Floats:
    """A curve by rings, each with its neighbours."""
    found: Floats = curve.copy()
    found[1:] = uniform_filter1d(curve[1:], TOGETHER, mode='nearest')
    return found


def _frc(chunks: Iterable[Chunk]) -> Floats:
    """FRC of the output with the signal, by rings, over all chunks."""
    mixed = output = signal = np.zeros(())
    for c in chunks:
        mixed = mixed + len(c.output) * ring_covariance(c.output, c.other)
        output = output + len(c.output) * ring_covariance(c.output, c.output)
        signal = signal + len(c.output) * ring_covariance(c.noisy, c.other)
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
        f'{where} (estimated FRC with the signal {LEAST_FRC}); estimated error {measured["shown"]["error"]:.2f} of the '
        f'variance between particles; {disagreement(found)}{known}'
    )
