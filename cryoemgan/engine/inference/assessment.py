"""What a trained model can do on particles that it never saw: the resolution up to which its images hold, their
amplitude, and how far the disagreement of its fold models tells the error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data.sampling import chunks, evenly_spread
from ..metrics.frc import resolution
from ..posterior import preparation
from ..posterior.map_prior import Context
from ..shapes import Flags, Floats, Images, Json, Rows
from . import joint_assessment, noise_response, uncertainty
from .collapse import CollapseCheck
from .model import Model
from .replicates import Replicates, wrong_angles
from .shown import Shown, squared
from .support import Support

# Correlation of an image with a noise-free one at which signal and error are equally strong on the scale of the
# half-set FSC of 0.143 (Rosenthal and Henderson 2003).
FRC_LIMIT = 0.5
# Outputs have the amplitude that the particles tell of each ring. At a low SNR all of the signal may be in rings below
# that limit: where cutting at the lower one leaves so much less of the error, it is cut there.
LEAST_FRC, WORTHWHILE = 0.143, 0.02
LARGEST_COUNT, LARGEST_BYTES, CHUNK = 300, 2**27, 32
# Of a guided model: part of --minutes that judging it may take, fewest particles, questions for each of them to the
# library of each fold model and to that of all of them, and particles that tell what one costs.
ASSESSING, FEWEST_COUNT, QUESTIONS, JOINT_QUESTIONS, TIMED = 0.25, 40, 6, 8, 8
# Particles without which no limit that 5 % of them miss is known.
FEWEST_JUDGED = 100
# Correlation of error and disagreement over images below which the latter says nothing of a single one.
TELLING = 0.1
# Amplitudes of outputs are not corrected by more than this factor: something else is wrong then.
LARGEST_SLOPE = 2.0


def assess(model: Model, pairs: Any, members: Sequence[Any]) -> Json:
    """What the card says of a model that was trained on ReferencePairs (members: FoldTasks).

    Every fold model's validation particles are denoised by fold models that know nothing of them, and so are simulated
    replicates of them, whose truth is known (`replicates`).

    Returns
    -------
    dict
        grey: gain and offset of the outputs, which give them the amplitude of the truth. resolution: {frc_limit, cut
        (A) or None}, where the mean FRC of output and truth falls below frc_limit, FRC_LIMIT or LEAST_FRC. uncertainty:
        {scale, floor: `uncertainty.calibrated`, ratio: error / disagreement of the members, both r.m.s., correlation:
        of the two over particles, measure, particles}. shown: what `CollapseCheck.measured` gives. signal: {gain,
        displacement (px), snr} of the particles. Of guided models also noise_in: what `noise_response` gives, and joint
        where fold models have other templates each: what `joint_assessment.judge` gives.
    """
    most = _affordable(model, pairs, members)
    positions = sample(pairs, members, most)
    weights = blind_weights(model, pairs, positions)
    replicates = Replicates(pairs, members[0].settings.seed)
    answers = list(_answers(model, replicates, positions, weights))
    grey = _support(model, replicates, answers)
    limit, cut = cut_and_limit(replicates, answers, grey)
    shown = Shown(grey.gain, grey.offset, cut, pairs.pixel_size)
    found: Json = {**_errors(replicates, answers, shown), **of_guided(model, pairs, positions, weights, most)}
    if joint_assessment.may_join(model, members):
        context = _context(pairs).part
        found['joint'] = joint_assessment.judge(model, replicates, members, answers, shown, context, judged_on(most))
    found['uncertainty']['measure'] = 'members' if len(model.members) > 1 else 'turn'
    signal = replicates.signal
    return {
        **found,
        'grey': {'gain': grey.gain, 'offset': grey.offset},
        'resolution': {'frc_limit': limit, 'cut': cut},
        'signal': {'gain': signal.gain, 'displacement': signal.displacement, 'snr': signal.snr},
    }


@dataclass(frozen=True)
class Answers:
    """A chunk of the sample: positions; references [n, N, N]; signal and noise of their replicates; particles; the
    outputs of blind fold models for particles and replicates, and all answers [k, n, N, N] for replicates with the
    s.d. of the posterior [n, N, N] or None; outputs in the grey of references."""

    positions: Rows
    references: Images
    signal: Images
    noise: Images
    particles: Images
    real: Images
    simulated: Images
    every: Images
    own: Images | None


def _answers(model: Model, replicates: Replicates, positions: Rows, weights: Images) -> Iterator[Answers]:
    pairs, grey = replicates.pairs, model.card['grey']
    known_of_all = _context(pairs)
    for rows in chunks(len(positions), CHUNK):
        here = positions[rows]
        particles, references = pairs.raw(here)
        signal, noise = replicates.draw(here, references)
        context = known_of_all.part(here)
        every = []
        for images, known in ((particles, context), (signal + noise, _as_wrong(model, replicates, context))):
            opinion = model.ask_all(images.astype(np.float32), known)
            every.append((uncertainty.answers(model, images, opinions=opinion) - grey['offset']) / grey['gain'])
        own = uncertainty.posterior_sd(model, opinion)
        own = None if own is None else own / abs(grey['gain'])
        real, simulated = (np.einsum('nm,mnyx->nyx', weights[rows], x[: weights.shape[1]]) for x in every)
        yield Answers(here, references, signal, noise, particles, real, simulated, every[1], own)


def _as_wrong(model: Model, replicates: Replicates, context: Context) -> Context:
    """What is known of replicates: their poses are as wrong as those of particles, where a pose prior trusts them."""
    if context.matrices is None or not any(guide.options.pose_prior for guide in model.guides.values()):
        return context
    pairs = replicates.pairs
    turned = wrong_angles(context.matrices, replicates.signal.displacement, pairs.box, replicates.seed)
    return replace(context, matrices=turned)


@dataclass(frozen=True)
class Grey:
    """particle grey = gain * output + offset (output in the grey of references), and the support that told it."""

    gain: float
    offset: float
    support: Support


def _support(model: Model, replicates: Replicates, answers: Sequence[Answers]) -> Grey:
    support, signal = Support(), replicates.signal
    for a in answers:
        real, simulated = (signal.gain * replicates.seen(x, a.positions) for x in (a.real, a.simulated))
        support.add_replicates(signal.gain * a.simulated, signal.gain * a.references, simulated, a.signal, a.noise)
        support.add_particles(real, a.particles)
    gain = signal.gain * float(np.clip(support.slope(), 1 / LARGEST_SLOPE, LARGEST_SLOPE))
    # The mean grey is that of the references under the gain of the particles.
    mean_truth, mean_output = (
        np.mean([x.mean() for x in v]) for v in zip(*((a.references, a.simulated) for a in answers))
    )
    return Grey(gain, float(signal.offset + signal.gain * mean_truth - gain * mean_output), support)


def cut_and_limit(replicates: Replicates, answers: Sequence[Answers], grey: Grey) -> tuple[float, float | None]:
    """(FRC below which outputs are cut, the resolution in A where that is)."""
    pairs, curve = replicates.pairs, grey.support.frc()
    cuts = {limit: resolution(curve, limit, pairs.pixel_size, pairs.box) for limit in (FRC_LIMIT, LEAST_FRC)}
    errors = dict.fromkeys(cuts, 0.0)
    for a in answers:
        truth = replicates.truth(a.references)
        for limit, cut in cuts.items():
            images = Shown(grey.gain, grey.offset, cut, pairs.pixel_size)(a.simulated)
            errors[limit] += float(squared(images, truth).sum())
    clear = cuts[FRC_LIMIT] is not None and errors[LEAST_FRC] > (1 - WORTHWHILE) * errors[FRC_LIMIT]
    limit = FRC_LIMIT if clear else LEAST_FRC
    return limit, cuts[limit]


def _errors(replicates: Replicates, answers: Sequence[Answers], shown_as: Shown) -> dict[str, Json]:
    """uncertainty and shown, of outputs with the right amplitude, cut."""
    errors, spreads, shown = [], [], CollapseCheck()
    for a in answers:
        images, found = shown_as(a.simulated), shown_as(a.every)
        truth, own = replicates.truth(a.references), None if a.own is None else abs(shown_as.gain) * a.own
        shown.add(images, truth)
        errors.append(squared(images, truth))
        spreads.append(np.square(uncertainty.spread(found, own), dtype=np.float64).mean((1, 2)))
    error, spread = np.concatenate(errors), np.concatenate(spreads)
    scale, floor = uncertainty.calibrated(error, spread)
    told = {
        'scale': scale, 'floor': floor, 'ratio': ratio(error.mean(), spread.mean()),
        'correlation': correlation(np.sqrt(error), np.sqrt(spread)), 'particles': len(error),
    }  # fmt: skip
    return {'uncertainty': told, 'shown': shown.measured()}


def of_guided(model: Model, pairs: Any, positions: Rows, weights: Images, most: int) -> dict[str, Json]:
    """noise_in of a guided model."""
    if not model.guides:
        return {}

    context = _context(pairs).part
    judged = judged_on(most)
    unseen = _unseen(model, pairs, np.arange(len(pairs)))
    limits, belonging = noise_response.thresholds(model, pairs, unseen, context, judged)
    found = noise_response.measure_noise_response(model, pairs, positions, weights, context, limits, judged)
    return {'noise_in': {**found, 'belonging': belonging}}


def judged_on(most: int) -> int:
    """Particles that tell threshold and p-value, where images are judged on ``most``."""
    return max(FEWEST_JUDGED, noise_response.JUDGED * most // LARGEST_COUNT)


def _affordable(model: Model, pairs: Any, members: Sequence[Any]) -> int:
    """Particles to judge a guided model on in a part of its --minutes; as many as one wants without them."""
    minutes = members[0].settings.minutes
    if not (model.guides and minutes):
        return LARGEST_COUNT
    some = np.arange(min(TIMED, len(pairs)))
    particles, context = pairs.raw(some)[0], _context(pairs).part(some)
    # The first question makes tables that all others use.
    model.ask_all(particles[:2], context.part(slice(2)))
    question = preparation.timed(lambda: model.ask_all(particles, context)) / len(some)
    joint = JOINT_QUESTIONS / len(members) if joint_assessment.may_join(model, members) else 0.0
    affordable = ASSESSING * 60 * minutes * len(members) / question / (QUESTIONS + joint)
    return int(np.clip(affordable, FEWEST_COUNT, LARGEST_COUNT))


def sample(pairs: Any, members: Sequence[Any], most: int = LARGEST_COUNT) -> Rows:
    """Positions int64 [n] of pairs that some fold model kept out of training, spread over them; no more than fit in
    memory."""
    positions = np.unique(np.concatenate([m.validation for m in members]))
    return positions[evenly_spread(len(positions), in_memory(pairs, members, most))]


def in_memory(pairs: Any, members: Sequence[Any], most: int = LARGEST_COUNT) -> int:
    """Particles, up to ``most``, whose answers fit in memory."""
    return min(most, max(8, LARGEST_BYTES // (4 * (9 + len(members)) * pairs.box**2)))


def _context(pairs: Any) -> Context:
    """Of all pairs: parsing the table for each chunk would take longer than denoising it."""
    found: Context = Context.of(pairs.particles, pairs.rows, pairs.box)
    return found


def sentence(measured: Json) -> str:
    """What `assess` found, for the log."""
    cut, found = measured['resolution']['cut'], measured['uncertainty']
    limit = measured['resolution']['frc_limit']
    where = f'down to {cut:.1f} A' if cut else 'nowhere'
    joint = f'; {joint_assessment.sentence(measured["joint"])}' if measured.get('joint') else ''
    noise = f'; {noise_response.sentence(measured["noise_in"])}' if 'noise_in' in measured else ''
    return (
        f'on simulated replicates of {found["particles"]} particles kept out of training the output agrees with the '
        f'truth {where} (FRC {limit}); {disagreement(found)}{noise}{joint}'
    )


def disagreement(found: Json) -> str:
    """What the disagreement of answers says of the error (``uncertainty`` of a card), for the log."""
    blind = '' if found['correlation'] > TELLING else ': it does not tell which images are worse'
    return (
        f'the error is {found["ratio"]:.2f} times the disagreement of the answers '
        f'(correlation {found["correlation"]:.2f}{blind})'
    )


def _unseen(model: Model, pairs: Any, positions: Rows) -> Flags:
    """bool [n, members]: the member does not know the particle."""
    return ~np.stack(list(model.trained_on(pairs.who(positions)).values()), axis=1)


def blind_weights(model: Model, pairs: Any, positions: Rows) -> Images:
    """float32 [n, members]: equal weights of the members that do not know the particle."""
    unseen = _unseen(model, pairs, positions)
    return (unseen / unseen.sum(1, keepdims=True)).astype(np.float32)


def ratio(error: float, spread: float) -> float:
    """Root mean square error over spread, of their mean squares."""
    return float((error / spread) ** 0.5) if spread > 0 and error > 0 else 1.0


def correlation(errors: Floats, spreads: Floats) -> float:
    """Correlation of two float64 [n]; 0 when one is constant."""
    if len(errors) < 3 or min(errors.std(), spreads.std()) == 0:
        return 0.0
    return float(np.corrcoef(errors, spreads)[0, 1])
