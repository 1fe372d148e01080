"""What a trained model can do on particles that it never saw: the resolution up to which its images hold, and how
far its members' disagreement tells the error."""

import functools

import numpy as np

from ..imaging.maps import lowpass
from ..metrics.frc import RingCorrelation, resolution
from ..posterior.map_prior import Context
from . import noise_response, uncertainty
from .collapse import CollapseCheck

# Correlation of an image with a noise-free one at which signal and error are equally strong on the scale of the
# half-set FSC of 0.143 (Rosenthal and Henderson 2003).
FRC_LIMIT = 0.5
LARGEST_COUNT, LARGEST_BYTES, CHUNK = 500, 2**27, 32


def assess(model, pairs, members):
    """{'resolution': {frc_limit, cut (A) or None}, 'uncertainty': {scale, correlation, measure, particles},
    'shown': what `CollapseCheck.measured` gives}; of guided models also 'noise_in': what `noisein.measure` gives.

    Every member's validation particles are denoised by members that know nothing of them. cut: where the mean FRC of
    output and reference falls below FRC_LIMIT. scale: expected error / disagreement of the members, both r.m.s.;
    correlation: of the two over particles.
    """
    positions = sample(pairs, members)
    weights = blind_weights(model, pairs, positions)
    # A bank is slow: it is asked once.
    opinions = _opinions(model, pairs, positions)
    cut = _cut(model, pairs, positions, weights, opinions)
    errors, spreads, shown = [], [], CollapseCheck()
    for images, found, truth, own in _answers(model, pairs, positions, weights, opinions, cut):
        shown.add(images, truth)
        errors.append(np.square(_centred(images - truth), dtype=np.float64).mean((1, 2)))
        spreads.append(np.square(uncertainty.spread(found, own), dtype=np.float64).mean((1, 2)))
    errors, spreads = np.sqrt(np.concatenate(errors)), np.sqrt(np.concatenate(spreads))
    guided, context = {}, functools.partial(_context, pairs)
    if model.guides:
        limits, belonging = noise_response.thresholds(
            model, pairs, _unseen(model, pairs, np.arange(len(pairs))), context
        )
        guided['noise_in'] = noise_response.measure_noise_response(model, pairs, positions, weights, context, limits)
        guided['noise_in']['belonging'] = belonging
    return {
        **guided,
        'resolution': {'frc_limit': FRC_LIMIT, 'cut': cut},
        'uncertainty': {
            'scale': _ratio(errors, spreads),
            'correlation': correlation(errors, spreads),
            'measure': 'members' if len(model.members) > 1 else 'turn',
            'particles': len(positions),
        },
        'shown': shown.measured(),
    }


def sample(pairs, members):
    """int64[n]: pairs that some member kept out of training, spread over them; no more than fit in memory."""
    positions = np.unique(np.concatenate([m.validation for m in members]))
    most = min(LARGEST_COUNT, max(8, LARGEST_BYTES // (4 * (2 + len(members)) * pairs.box**2)))
    return positions[np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int)]


def _opinions(model, pairs, positions):
    """[{member: ImagePosterior}] of chunks of the particles; None for a blind model."""
    chunks = np.split(positions, range(CHUNK, len(positions), CHUNK))
    return [model.ask_all(pairs.raw(chunk)[0], _context(pairs, chunk)) for chunk in chunks] if model.guides else None


def _answers(model, pairs, positions, weights, opinions, cut=None):
    """Yield (denoised by blind members [n, N, N], all answers [k, n, N, N], truth [n, N, N], s.d. of the posterior
    [n, N, N] or None), chunk by chunk."""
    gain, offset = (model.card['grey'][k] for k in ('gain', 'offset'))
    for start in range(0, len(positions), CHUNK):
        here = slice(start, start + CHUNK)
        particles, references = pairs.raw(positions[here])
        opinion = opinions and opinions[start // CHUNK]
        found = cut_low(uncertainty.answers(model, particles, opinions=opinion), cut, pairs.pixel_size)
        own = uncertainty.posterior_sd(model, opinion)
        yield (
            np.einsum('nm,mnyx->nyx', weights[here], found[: weights.shape[1]]),
            found,
            gain * references + offset,
            own,
        )


def cut_low(images, cut, pixel_size):
    """Images [..., N, N] cut softly at ``cut`` (A), where there is a cut above Nyquist."""
    return lowpass(images, pixel_size, cut, axes=(-2, -1)) if cut and cut > 2 * pixel_size else images


def _context(pairs, positions):
    return Context.of(pairs.particles, pairs.rows[positions], pairs.box)


def _cut(model, pairs, positions, weights, opinions):
    """Resolution (A) where the mean FRC of output and reference falls below FRC_LIMIT, or None."""
    rings = RingCorrelation(pairs.box)
    curve = sum(
        rings(images, truth).sum(0) for images, _, truth, _ in _answers(model, pairs, positions, weights, opinions)
    )
    return resolution(curve / len(positions), FRC_LIMIT, pairs.pixel_size, pairs.box)


def sentence(measured):
    """What `assess` found, for the log."""
    cut, found = measured['resolution']['cut'], measured['uncertainty']
    where = f'down to {cut:.1f} A' if cut else 'nowhere'
    noise = f'; {noise_response.sentence(measured["noise_in"])}' if 'noise_in' in measured else ''
    return (
        f'on {found["particles"]} particles kept out of training the output agrees with the references {where} (FRC '
        f'{FRC_LIMIT}); the error is {found["scale"]:.2f} times the disagreement of the answers (correlation '
        f'{found["correlation"]:.2f}){noise}'
    )


def _unseen(model, pairs, positions):
    """bool [n, members]: the member does not know the particle."""
    return ~np.stack(list(model.trained_on(pairs.names(positions)).values()), axis=1)


def blind_weights(model, pairs, positions):
    """float32 [n, members]: equal weights of the members that do not know the particle."""
    unseen = _unseen(model, pairs, positions)
    return (unseen / unseen.sum(1, keepdims=True)).astype(np.float32)


def _centred(images):
    return images - images.mean(axis=(1, 2), keepdims=True)


def _ratio(errors, spreads):
    size = np.sqrt(np.mean(spreads**2))
    return float(np.sqrt(np.mean(errors**2)) / size) if size > 0 else 1.0


def correlation(errors, spreads):
    """Correlation of two float64 [n]; 0 when one is constant."""
    if len(errors) < 3 or min(errors.std(), spreads.std()) == 0:
        return 0.0
    return float(np.corrcoef(errors, spreads)[0, 1])
