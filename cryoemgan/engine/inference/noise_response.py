"""What a guided model makes of nothing: pure noise with the particles' spectrum, against particles it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..data.sampling import evenly_spread
from ..metrics import resemblance
from ..posterior.map_prior import Context
from ..posterior.p_value import PValueCalibration
from ..posterior.wrong_particles import power_of, right_scores
from ..shapes import Flags, Images, Json, Rows
from .model import Model

COUNT, CHUNK = 120, 32
# Simulated right particles: the tail of their distribution must be known.
RIGHT = 300
# Particles that tell a member's threshold; fewer than FEW do not. Where time is short, a part of all of these numbers
# has to do, but no fewer than LEAST.
JUDGED, FEW, LEAST = 500, 20, 60
ACCEPTED = 0.95


def thresholds(
    model: Model, pairs: Any, unseen: Flags, context_of: Callable[[Rows], Context], most: int = JUDGED
) -> tuple[dict[str, float], dict[str, Json]]:
    """({member: evidence that 95 % of the particles exceed which it never saw}, {member: their PValueCalibration, as a
    dictionary}), of members with enough of them.

    A member's own training particles have more evidence, since their noise is in its map. unseen: bool[len(pairs),
    members]. most: particles that are asked about, for each member.
    """
    least, belonging = {}, {}
    for k, member in enumerate(model.guides):
        rows = np.flatnonzero(unseen[:, k])
        if len(rows) < FEW:
            continue
        least[member], belonging[member] = judged(model, pairs, member, rows, context_of, most, k)
    return least, belonging


def judged(
    model: Model, pairs: Any, member: str, rows: Rows, context_of: Callable[[Rows], Context], most: int, seed: int = 0
) -> tuple[float, Json]:
    """(threshold, PValueCalibration) of `thresholds` of a member, or of ALL together, from pairs that it never saw."""
    rows, guide = rows[evenly_spread(len(rows), most)], model.guide(member)
    parts = np.array_split(rows, -(-len(rows) // CHUNK))
    scores = [model.posterior(pairs.raw(part)[0], context_of(part), member).scores() for part in parts]
    evidence, _, _, misfit, match = np.concatenate(scores).T
    some = rows[evenly_spread(len(rows), part_of(RIGHT, most))]
    right = right_scores(guide, context_of(some), len(some), seed)
    fitting = PValueCalibration.of(evidence, match, misfit, right)
    some = rows[evenly_spread(len(rows), part_of(COUNT, most))]
    power = power_of(guide, context_of(some), len(some), fitting, seed)
    return float(np.quantile(evidence, 1 - ACCEPTED)), replace(fitting, power=asdict(power)).as_dict()


def part_of(count: int, judged: int) -> int:
    """How many of ``count`` have to do where only so many particles of JUDGED are judged."""
    return min(count, max(LEAST, count * judged // JUDGED))


def measure_noise_response(
    model: Model,
    pairs: Any,
    positions: Rows,
    weights: Images,
    context_of: Callable[[Rows], Context],
    limits: Mapping[str, float],
    most: int = JUDGED,
) -> Json:
    """{thresholds, energy, nearest_noise, nearest_particles, false_acceptance, images} of a guided model.

    thresholds: as `thresholds` gave them (limits). energy: variance within its images of noise / of particles. nearest:
    mean correlation with the most similar reference. false_acceptance: part of noise images beyond the threshold.
    positions: validation pairs; weights float32[n, members]: which members may answer for them; context_of: positions
    -> Context. most: as of `thresholds`.
    """
    kept = evenly_spread(len(positions), part_of(COUNT, most))
    grey, references = model.card['grey'], pairs.raw(positions[kept])[1]
    outputs, denoised, accepted = [], [], []
    for k, (member, guide) in enumerate(model.guides.items()):
        mine = positions[kept][weights[kept, k] > 0]
        if not len(mine):
            continue
        particles, context = pairs.raw(mine)[0], context_of(mine)
        empty = grey['gain'] * guide.bank.background + grey['offset']
        noise = guide.noise(len(mine), k).cpu().numpy() + np.float32(empty)
        posterior = model.posterior(noise, context, member)
        outputs.append(model.denoise(noise, member, opinion=posterior))
        accepted.append(posterior.evidence.cpu().numpy() > limits.get(member, guide.threshold['evidence']))
        denoised.append(model.denoise(particles, member, opinion=model.posterior(particles, context, member)))
        out = np.concatenate(outputs)
    return {
        'thresholds': limits,
        'energy': resemblance.energy(out) / max(resemblance.energy(np.concatenate(denoised)), 1e-12),
        'nearest_noise': float(resemblance.nearest(out, references).mean()),
        'nearest_particles': float(resemblance.nearest(np.concatenate(denoised), references).mean()),
        'false_acceptance': float(np.concatenate(accepted).mean()),
        'images': len(out),
    }


def sentence(found: Json) -> str:
    """What was found, for the log."""
    return (
        f'pure noise gives images with {found["energy"]:.1%} of the contrast of particles; '
        f'{found["false_acceptance"]:.1%} of {found["images"]} noise images pass the evidence of 95 % of the particles'
    )
