"""What a guided model makes of nothing: pure noise with the particles' spectrum, against particles it never saw."""

import numpy as np

from .auditing import measures

COUNT = 120
ACCEPTED = 0.95


def measure(model, pairs, positions, weights, context_of, evidence):
    """{thresholds, energy, nearest_noise, nearest_particles, false_acceptance, images} of a guided model.

    thresholds: {member: evidence that 95 % of the particles it may answer for exceed}; its own training particles have
    more, since their noise is in its map. energy: variance within its images of noise / of particles. nearest: mean
    correlation with the most similar reference. false_acceptance: part of noise images beyond the threshold.
    positions: validation pairs; weights float32[n, members]: which members may answer for them; context_of: positions
    -> Context; evidence: {member: float[n]}.
    """
    kept = np.linspace(0, len(positions) - 1, min(len(positions), COUNT)).round().astype(int)
    grey, references = model.card['grey'], pairs.raw(positions[kept])[1]
    outputs, denoised, accepted, thresholds = [], [], [], {}
    for k, (member, guide) in enumerate(model.guides.items()):
        blind = weights[:, k] > 0
        mine = positions[kept][blind[kept]]
        if not len(mine):
            continue
        thresholds[member] = float(np.quantile(evidence[member][blind], 1 - ACCEPTED))
        particles, context = pairs.raw(mine)[0], context_of(mine)
        empty = grey['gain'] * guide.bank.background + grey['offset']
        noise = guide.noise(len(mine), k).cpu().numpy() + np.float32(empty)
        opinion = model.ask(noise, context, member)
        outputs.append(model.denoise(noise, member, opinion=opinion))
        accepted.append(opinion.evidence.cpu().numpy() > thresholds[member])
        denoised.append(model.denoise(particles, member, opinion=model.ask(particles, context, member)))
    outputs, denoised = np.concatenate(outputs), np.concatenate(denoised)
    return {
        'thresholds': thresholds,
        'energy': measures.energy(outputs) / max(measures.energy(denoised), 1e-12),
        'nearest_noise': float(measures.nearest(outputs, references).mean()),
        'nearest_particles': float(measures.nearest(denoised, references).mean()),
        'false_acceptance': float(np.concatenate(accepted).mean()),
        'images': len(outputs),
    }


def sentence(found):
    """What was found, for the log."""
    return (
        f'pure noise gives images with {found["energy"]:.1%} of the contrast of particles; '
        f'{found["false_acceptance"]:.1%} of {found["images"]} noise images pass the evidence of 95 % of the particles'
    )
