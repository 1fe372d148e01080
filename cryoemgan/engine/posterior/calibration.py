"""What a guide learns from the training particles before it gives opinions: gain, noise, contrast, temperature, width
of the search, threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from ..data.sampling import evenly_spread
from ..shapes import Json, Rows, Tensor
from .context import Context
from .guided_pairs import GuidedPairs
from .map_prior import MapPrior
from .p_value import PValueCalibration
from .sources import references
from .wrong_particles import power_of, right_scores

COUNT, JUDGED = 200, 100
TEMPERATURES = (1.0, 1.5, 2.5, 4.0, 7.0, 12.0)
CONTRASTS = (0.02, 0.05, 0.1, 0.2, 0.4)
WIDTHS = (48, 96, 192, 384)
# A search twice as wide must lower the error by this part to be worth its time.
WORTH = 0.02
# Errors count at most this often the median: wrong references must not decide.
OUTLIER = 8.0
ACCEPTED = 0.95


@dataclass
class Sample:
    """Training particles and references float32[n, N, N], each in its own grey, their Context, and their own
    templates int64[n] or None."""

    noisy: Tensor
    clean: Tensor
    context: Context
    own: Tensor | None

    @classmethod
    def of(cls, guided: GuidedPairs, training: Rows, most: int = COUNT) -> Sample:
        """Up to ``most`` training particles of GuidedPairs, spread over the set."""
        chosen = training[evenly_spread(len(training), most)]
        own = None if guided.own is None else guided.own[chosen]
        device = guided.guide.device
        found = guided.pairs.raw(chosen)[0], references(guided.pairs, chosen)
        noisy, clean = (torch.from_numpy(x).to(device) for x in found)
        return cls(noisy, clean, guided.context(chosen), None if own is None else torch.from_numpy(own).to(device))

    def part(self, rows: Rows) -> Sample:
        """Some of them."""
        own = None if self.own is None else self.own[rows]
        return Sample(self.noisy[rows], self.clean[rows], self.context.part(rows), own)


def calibrate(guide: MapPrior, sample: Sample, candidates: int | None = None, contrast: float | None = None) -> None:
    """Gain, noise spectrum and contrast from the particles alone; then, on simulated replicates of them, whose truth
    is known, temperature, width of the search (candidates) and the factor that makes the predicted s.d. that of the
    error. (References at angles that are wrong by a few degrees are no truth for particles: against them a search that
    blurs looked best.) Own templates are masked.

    candidates, contrast: None to have them measured.
    """
    search = guide.search
    guide.calibrate(sample.noisy, sample.context, own=sample.own)
    judged = sample.part(evenly_spread(len(sample.noisy), max(20, len(sample.noisy) // 2)))
    search.contrast = contrast if contrast is not None else likeliest_contrast(guide, judged)
    judged = _replicates(guide, judged)
    search.spread = 1.0
    widths = WIDTHS if candidates is None else (candidates,)
    search.widen(widths[0])
    least, search.temperature, ratio = _best_temperature(guide, judged, TEMPERATURES)
    for width in widths[1:]:
        before = search.candidates, search.temperature
        search.widen(width)
        # More candidates need less tempering, if any other.
        lower = [t for t in TEMPERATURES if t <= before[1]][-2:]
        error, temperature, wider = _best_temperature(guide, judged, lower)
        if error > (1 - WORTH) * least:
            search.widen(before[0])
            break
        least, search.temperature, ratio = error, temperature, wider
    search.spread = ratio**0.5


def temper(guide: MapPrior, sample: Sample) -> None:
    """Temperature and factor of the s.d. alone, on simulated replicates, of a guide that knows everything else; near
    the temperature that it has."""
    search, judged = guide.search, _replicates(guide, sample)
    search.spread = 1.0
    near = [t for t in TEMPERATURES if 0.5 <= t / search.temperature <= 3.0]
    _, search.temperature, ratio = _best_temperature(guide, judged, near or [search.temperature])
    search.spread = ratio**0.5


def _replicates(guide: MapPrior, sample: Sample) -> Sample:
    """The sample with particles that show exactly their references, under noise and contrast of the guide."""
    clean = sample.clean - guide.bank.background
    if guide.options.ctf == 'none':
        clean = guide.plane.images(guide.plane.vectors(clean) * guide.ctf(sample.context, len(clean)))
    rng = torch.Generator().manual_seed(1)
    contrast = 1 + guide.search.contrast * torch.randn(len(clean), 1, 1, generator=rng).to(clean.device)
    return replace(sample, noisy=guide.gain * contrast * clean + guide.noise(len(clean), 2))


def likeliest_contrast(guide: MapPrior, sample: Sample) -> float:
    """The s.d. of the particles' contrast that makes them most likely."""
    found = {}
    for contrast in CONTRASTS:
        guide.search.contrast = contrast
        found[contrast] = float(guide(sample.noisy, sample.context, sample.own).evidence.mean())
    return max(found, key=lambda contrast: found[contrast])


def _best_temperature(guide: MapPrior, sample: Sample, temperatures: Sequence[float]) -> tuple[float, float, float]:
    """(error, temperature, median ratio of error and predicted variance) at the lowest error."""
    found = []
    for temperature in temperatures:
        guide.search.temperature = temperature
        opinion = guide(sample.noisy, sample.context, sample.own)
        error = (opinion.mean - sample.clean).square().mean((1, 2))
        ratio = float((error / opinion.sd.square().mean((1, 2)).clamp(min=1e-30)).median())
        found.append((float(error.clamp(max=OUTLIER * float(error.median())).mean()), temperature, ratio))
    return min(found)


def threshold(guided: GuidedPairs, training: Rows, count: int = JUDGED) -> Json:
    """Evidence that 95 % of the training particles exceed, part of empty images that do too, and PValueCalibration by
    ``count`` simulated particles."""
    scores, empty = guided.scores_of(training), guided.scores_of(guided.empty)[:, 0]
    real = scores[:, 0]
    limit = float(np.quantile(real, 1 - ACCEPTED))
    judged = training[evenly_spread(len(training), count)]
    context = guided.context(judged)
    right = right_scores(guided.guide, context, len(judged), guided.seed)
    fitting = PValueCalibration.of(real, scores[:, 4], scores[:, 3], right)
    power = power_of(guided.guide, context, len(judged), fitting, guided.seed)
    return {
        'evidence': limit,
        'true_acceptance': ACCEPTED,
        'false_acceptance': float((empty > limit).mean()),
        'particles_median': float(np.median(real)),
        'empty_median': float(np.median(empty)),
        'empty_images': len(empty),
        'belonging': replace(fitting, power=asdict(power)).as_dict(),
    }
