"""A second opinion on every particle: the output of another model, best one that never saw the map.

A model that learnt from noisy images alone cannot draw what only the map says. Let a be the output of the audited
model, b that of the second, both of one noisy copy of a particle, and y another copy with the same signal x and
independent noise. If a were the best that can be said of x, nothing made of the first copy could predict its error
x - a; the weight

    w = E (b - a) (y - a) / E (b - a)^2,

with which the second opinion should be mixed into the first, would be 0 (the encompassing test of forecasts, Chong and
Hendry 1986). 1: where they differ, the second is right. A network that is merely unfinished has some weight too, which
simulations of the references tell; what real particles have beyond that is in them and not in the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.table import ParticleTable
from ..devices import choose_precision
from ..errors import InputError
from ..imaging.maps import lowpass
from ..imaging.resample import resample
from ..inference import boxes, card
from ..inference.ensemble import Ensemble, cut_of
from ..inference.model import Model
from ..inference.routing import Routing, route
from ..job import Job
from ..metrics import resemblance
from ..metrics.frc import ring_correlation
from ..settings.audit import Audit
from ..shapes import Floats, Images

if TYPE_CHECKING:
    from .examination import AuditSample


@dataclass(frozen=True)
class SecondModel:
    """The second model, ready: its plan, routing and cut (A or None)."""

    model: Model
    plan: boxes.Boxes
    routing: Routing
    cut: float | None


def load_second_model(settings: Audit, job: Job, particles: ParticleTable, model: Model) -> SecondModel | None:
    """SecondModel of --second-model, or None; InputError when it cannot judge the same particles."""
    if settings.second_model is None:
        return None
    second = Model.load(settings.second_model, model.device)
    if second.digest == model.digest:
        raise InputError('--second-model is the audited model itself: it would agree with everything')
    if second.guides and second.card.get('target', 'references') == 'references':
        raise InputError(f'--second-model: {second.folder} is a guided model, which draws the map as well')
    second.require(particles)
    job.input(second.folder / card.CARD)
    if second.card.get('target', 'references') == 'references':
        job.warn(
            f'--second-model: {second.folder} learnt from references too: what both took from the map is no second '
            'opinion. Train one with --target self'
        )
    held = {model.card['ctf'], second.card['ctf']}
    if 'none' in held and held & {'full', 'phase-flip'} and not particles.has('rlnDefocusU'):
        raise InputError(f'{particles.path}: no CTF to compare a model that corrects it with one that does not')
    return SecondModel(second, boxes.choose_boxes(particles, second, 'model', settings.batch_size),
                  route(second, particles), cut_of(settings.cut, second))  # fmt: skip


class SecondOpinion:
    """The second model at work on the sample of an audit. bench: examine.AuditSample."""

    def __init__(self, second: SecondModel, bench: AuditSample) -> None:
        self.bench, self.second = bench, second
        precision = choose_precision('auto', second.model.device)
        self._ensemble = Ensemble(
            second.model, second.plan, precision, second.routing, second.cut, False, bench.p.particles
        )
        self.cut = max((c for c in (bench.ensemble.cut, self._ensemble.cut) if c), default=None)

    def compare(self, images: Images, target: Images, denoised: Images | None = None) -> Comparison:
        """Comparison on images [n, N, N]; target: the same signal with other noise, or without. denoised: what the
        audited model made of the images, where it is known. All with the CTF of the particles, to the coarser cut."""
        first = self.bench.with_ctf(self.bench.denoise(images) if denoised is None else denoised)
        first, second, target = (self._cut(x) for x in (first, self._denoise(images), target))
        difference, error = second - first, target - first
        power = resemblance.ring_covariance(difference, difference)
        found = resemblance.ring_covariance(difference, error)
        return Comparison(second, resemblance.own(first, second), ring_correlation(first, second).mean(0), found, power)

    def _cut(self, images: Images) -> Images:
        return lowpass(images, self.bench.p.plan.pixel_size, self.cut, axes=(-2, -1)) if self.cut else images

    def _denoise(self, images: Images) -> Images:
        rows, size, box = self.bench.p.rows, self.second.plan.batch_size, images.shape[-1]
        parts = [self._ensemble(images[k : k + size], rows[k : k + size]).images for k in range(0, len(rows), size)]
        found = resample(np.concatenate(parts), box)
        return self.bench.with_ctf(found, self.second.model.card['ctf'])


@dataclass(frozen=True)
class Comparison:
    """second: output of the second model [n, N, N]. correlations: with the first's, float64 [n]. frc: of the two, by
    rings, mean over n. found, power: numerator and denominator of the weight by rings."""

    second: np.ndarray
    correlations: np.ndarray
    frc: np.ndarray
    found: np.ndarray
    power: np.ndarray

    @property
    def weight(self) -> float:
        """Weight of the second opinion over all rings."""
        return float(self.found.sum() / max(self.power.sum(), 1e-30))

    def weights(self) -> Floats:
        """Weight by rings; 0 where the two hardly differ."""
        clear = self.power > 1e-3 * self.power.max()
        return np.divide(self.found, self.power, out=np.zeros_like(self.found), where=clear)
