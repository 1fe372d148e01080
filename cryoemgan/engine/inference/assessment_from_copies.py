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
from .assessment import CHUNK, FRC_LIMIT, LARGEST_COUNT, blind_weights, correlation, cut_low, of_guided, sample
from .model import Model

Chunk: TypeAlias = tuple[Images, Images, Images, Floats, Images, Images | None]


def assess(model: Model, pairs: Any, members: Sequence[Any]) -> Json:
    """As `assessment.assess`, without references: the error of an image is its squared distance to the independent copy
    less the variance of the copy's noise, known on average only."""
    positions = sample(pairs, members)
    chunks = list(_chunks(model, pairs, positions, members[0].settings.seed))
    curve = _frc(chunks)
    cut = resolution(curve, FRC_LIMIT, pairs.pixel_size, pairs.box)
    errors: list[np.ndarray] = []
    spreads: list[np.ndarray] = []
    between = CopiesCollapseCheck()
    for output, _, other, variance, found, own in chunks:
        output, found = (cut_low(x, cut, pairs.pixel_size) for x in (output, found))
        difference = output - other
        difference -= difference.mean(axis=(1, 2), keepdims=True)
        errors.append(np.square(difference, dtype=np.float64).mean((1, 2)) - variance)
        spreads.append(np.square(uncertainty.spread(found, own), dtype=np.float64).mean((1, 2)))
        between.add(output, other)
    error, predicted = np.concatenate(errors), np.concatenate(spreads)
    mean = max(float(error.mean()), 0.0)
    return {
        'resolution': {'frc_limit': FRC_LIMIT, 'cut': cut},
        'uncertainty': {
            'scale': float((mean / predicted.mean()) ** 0.5) if mean > 0 and predicted.mean() > 0 else 1.0,
            'correlation': correlation(error, np.sqrt(predicted)),
            'measure': 'members' if len(model.members) > 1 else 'turn',
            'particles': len(positions),
        },
        'shown': between.measured(float(mean)),
        **of_guided(model, pairs, positions, blind_weights(model, pairs, positions), LARGEST_COUNT),
    }


def _chunks(model: Model, pairs: Any, positions: Rows, seed: int) -> Iterator[Chunk]:
    """Yield (denoised by blind members, its input, an independent copy [n, N, N] each, variance of the copy's noise
    [n], all answers [k, n, N, N], s.d. by the map prior [n, N, N] of a guided model)."""
    weights = blind_weights(model, pairs, positions)
    context = Context.of(pairs.particles, pairs.rows, pairs.box)
    for start in range(0, len(positions), CHUNK):
        here = slice(start, start + CHUNK)
        rng = generator(seed, 'checks', 1, start)
        noisy, other, variance = pairs.independent(positions[here], rng)
        known = model.ask_all(noisy, context.part(positions[here]))
        found, own = uncertainty.answers(model, noisy, opinions=known), uncertainty.posterior_sd(model, known)
        output = np.einsum('nm,mnyx->nyx', weights[here], found[: weights.shape[1]])
        yield output, noisy, other, variance, found, own


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
    where = f'down to {cut:.1f} A' if cut else 'nowhere'
    return (
        f'on {found["particles"]} particles kept out of training the output agrees with independent noisy images '
        f'{where} (estimated FRC with the signal {FRC_LIMIT}); estimated error {measured["shown"]["error"]:.2f} of the '
        'variance between particles'
    )
