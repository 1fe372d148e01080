"""What a guide learns from the training particles before it gives opinions: gain, noise, temperature, threshold."""

from dataclasses import dataclass

import numpy as np
import torch

COUNT, JUDGED = 200, 100
TEMPERATURES = (1.5, 2.5, 4.0, 7.0, 12.0)
ACCEPTED = 0.95


@dataclass
class Sample:
    """Training particles and references float32[n, N, N], each in its own grey, their Context, and their own
    templates int64[n] or None."""

    noisy: torch.Tensor
    clean: torch.Tensor
    context: object
    own: torch.Tensor | None

    @classmethod
    def of(cls, guided, training):
        """Up to 200 training particles of GuidedPairs, spread over the set."""
        chosen = training[np.linspace(0, len(training) - 1, min(len(training), COUNT)).round().astype(int)]
        noisy, s = torch.from_numpy(guided.pairs.raw(chosen)[0]), guided.pairs.scale
        # Contaminated references as they are.
        clean = torch.from_numpy((guided.pairs.read(chosen)[1] - s.unit_offset) / s.unit_scale).float()
        own = None if guided.own is None else torch.from_numpy(guided.own[chosen])
        return cls(noisy, clean, guided.context(chosen), own)

    def part(self, rows):
        """Some of them."""
        own = None if self.own is None else self.own[rows]
        return Sample(self.noisy[rows], self.clean[rows], self.context.part(rows), own)


def calibrate(guide, sample):
    """Gain and noise spectrum without the references; then, against them, the temperature with the lowest median
    error, and the factor that makes the predicted s.d. that of the error. Own templates are masked."""
    guide.calibrate(sample.noisy, sample.context, own=sample.own)
    step = max(1, len(sample.noisy) // JUDGED)
    judged = sample.part(slice(None, None, step))
    errors, ratios = {}, {}
    guide.search.spread = 1.0
    for temperature in TEMPERATURES:
        guide.search.temperature = temperature
        found = guide(judged.noisy, judged.context, judged.own)
        error = (found.mean - judged.clean).square().mean((1, 2))
        errors[temperature] = float(error.median())
        ratios[temperature] = float((error / found.sd.square().mean((1, 2)).clamp(min=1e-30)).median())
    best = min(errors, key=errors.get)
    guide.search.temperature, guide.search.spread = best, ratios[best] ** 0.5


def threshold(guided, training):
    """Evidence that 95 % of the training particles exceed, and the part of empty images that do too."""
    real, empty = guided.evidence_of(training), guided.evidence_of(guided.empty)
    limit = float(np.quantile(real, 1 - ACCEPTED))
    return {
        'evidence': limit,
        'true_acceptance': ACCEPTED,
        'false_acceptance': float((empty > limit).mean()),
        'particles_median': float(np.median(real)),
        'empty_median': float(np.median(empty)),
        'empty_images': len(empty),
    }
