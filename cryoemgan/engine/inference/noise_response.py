"""What a guided model makes of nothing: pure noise with the particles' spectrum, against particles it never saw."""

from dataclasses import asdict, replace

import numpy as np

from ..data.sampling import evenly_spread
from ..metrics import resemblance
from ..posterior.p_value import PValueCalibration
from ..posterior.wrong_particles import power_of

COUNT, CHUNK = 120, 32
# Particles that tell a member's threshold; fewer than FEW do not.
JUDGED, FEW = 500, 20
ACCEPTED = 0.95


def thresholds(model, pairs, unseen, context_of, most=JUDGED):
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
        rows = rows[evenly_spread(len(rows), most)]
        parts = np.array_split(rows, -(-len(rows) // CHUNK))
        scores = [model.ask(pairs.raw(part)[0], context_of(part), member).scores() for part in parts]
        evidence, _, _, misfit, match = np.concatenate(scores).T
        least[member] = float(np.quantile(evidence, 1 - ACCEPTED))
        fitting = PValueCalibration.of(evidence, match, misfit)
        some = rows[evenly_spread(len(rows), COUNT)]
        power = power_of(model.guides[member], context_of(some), len(some), fitting, k)
        belonging[member] = replace(fitting, power=asdict(power)).as_dict()
    return least, belonging


def measure_noise_response(model, pairs, positions, weights, context_of, limits):
    """{thresholds, energy, nearest_noise, nearest_particles, false_acceptance, images} of a guided model.

    thresholds: as `thresholds` gave them (limits). energy: variance within its images of noise / of particles. nearest:
    mean correlation with the most similar reference. false_acceptance: part of noise images beyond the threshold.
    positions: validation pairs; weights float32[n, members]: which members may answer for them; context_of: positions
    -> Context.
    """
    kept = np.linspace(0, len(positions) - 1, min(len(positions), COUNT)).round().astype(int)
    grey, references = model.card['grey'], pairs.raw(positions[kept])[1]
    outputs, denoised, accepted = [], [], []
    for k, (member, guide) in enumerate(model.guides.items()):
        mine = positions[kept][weights[kept, k] > 0]
        if not len(mine):
            continue
        particles, context = pairs.raw(mine)[0], context_of(mine)
        empty = grey['gain'] * guide.bank.background + grey['offset']
        noise = guide.noise(len(mine), k).cpu().numpy() + np.float32(empty)
        opinion = model.ask(noise, context, member)
        outputs.append(model.denoise(noise, member, opinion=opinion))
        accepted.append(opinion.evidence.cpu().numpy() > limits.get(member, guide.threshold['evidence']))
        denoised.append(model.denoise(particles, member, opinion=model.ask(particles, context, member)))
    outputs, denoised = np.concatenate(outputs), np.concatenate(denoised)
    return {
        'thresholds': limits,
        'energy': resemblance.energy(outputs) / max(resemblance.energy(denoised), 1e-12),
        'nearest_noise': float(resemblance.nearest(outputs, references).mean()),
        'nearest_particles': float(resemblance.nearest(denoised, references).mean()),
        'false_acceptance': float(np.concatenate(accepted).mean()),
        'images': len(outputs),
    }


def sentence(found):
    """What was found, for the log."""
    return (
        f'pure noise gives images with {found["energy"]:.1%} of the contrast of particles; '
        f'{found["false_acceptance"]:.1%} of {found["images"]} noise images pass the evidence of 95 % of the particles'
    )
