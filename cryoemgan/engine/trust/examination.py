"""One audit: the probes go through the denoiser, and what comes out is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from ..data.image_state import CtfState, of_particles, particles_shown_as
from ..data.sampling import chunks
from ..imaging import spectra
from ..imaging.ctf import with_ctf
from ..imaging.flips import flipped
from ..imaging.grey_scale import least_squares_line
from ..imaging.resample import resample
from ..imaging.rings import frequencies
from ..inference.ensemble import Denoised, Ensemble
from ..metrics import pair_agreement, resemblance
from ..metrics.frc import ring_correlation
from ..shapes import Flags, Floats, Images, Json
from . import empty_particles, negative_controls, second_opinion
from .empty_particles import EmptyParticles
from .inputs import AuditInputs
from .negative_controls import NoiseModel
from .second_opinion import SecondModel

STEPS = 7


@dataclass
class Findings:
    """results: for audit.json. judged: measures that have a light. columns: per particle [n]. images, curves: for
    the pictures."""

    results: Json
    judged: dict[str, float | None]
    columns: dict[str, Floats]
    images: dict[str, Images]
    curves: dict[str, Any]


class AuditSample:
    """The sample at the network's box, in grey values of the particles, and the denoiser for it."""

    def __init__(self, p: AuditInputs, ensemble: Ensemble) -> None:
        self.p, self.ensemble = p, ensemble
        box = p.plan.model_box
        self.particles = resample(p.particles.images().read(p.rows), box)
        grey = p.model.card['grey']
        references = resample(p.references.images().read(p.reference_rows), box)
        self.ctf = p.model.card['ctf']
        if p.model.card.get('target', 'references') != 'references':
            # It draws what the particles hold, and was never told the grey scale of the references.
            if p.references.ctf_state is CtfState.NONE and p.particles.has('rlnDefocusU'):
                references = self._filtered(references, of_particles(p.particles))
            grey = dict(zip(('gain', 'offset'), least_squares_line(references, self.particles)))
        # What the network is to draw; and the same as the particles hold it: with their CTF.
        self.truth = (grey['gain'] * references + grey['offset']).astype(np.float32)
        self.signal = self.with_ctf(self.truth)

    def with_ctf(self, images: Images, held: str | None = None) -> Images:
        """Images as the particles hold them: bare ones get the CTF of the particles. held: CTF in them, default as in
        the output of the model."""
        if (held or self.ctf) != 'none' or not self.p.particles.has('rlnDefocusU'):
            return images
        return self._filtered(images, particles_shown_as(self.p.particles, self.ctf))

    def as_drawn(self, images: Images) -> Images:
        """Bare images as the network is to draw them: with the CTF that its references have."""
        mode = self.ctf
        return images if mode == 'none' or not self.p.particles.has('rlnDefocusU') else self._filtered(images, mode)

    def _filtered(self, images: Images, mode: str) -> Images:
        params = {k: v[self.p.rows] for k, v in self.p.particles.ctf().items()}
        return with_ctf(images, self.p.plan.pixel_size, params, mode)

    def denoise(self, images: Images) -> Images:
        """Denoised images [n, N, N] of images that stand for the sample."""
        return np.concatenate([part.images for part in self._denoised(images, False)])

    def denoise_with_errors(self, images: Images) -> tuple[Images, Floats, Images]:
        """The same, with their expected errors [n], and as maps [n, N, N]."""
        parts = [(x.images, x.errors, x.maps) for x in self._denoised(images, True)]
        denoised, errors, maps = (np.concatenate([p for p in column if p is not None]) for column in zip(*parts))
        return denoised, errors, maps

    def _denoised(self, images: Images, with_errors: bool) -> list[Denoised]:
        self.ensemble.with_errors = with_errors
        parts = chunks(len(images), self.p.plan.batch_size)
        return [self.ensemble(images[part], self.p.rows[part]) for part in parts]


def examine(p: AuditInputs, ensemble: Ensemble, seed: int, bar: tqdm) -> Findings:
    """Findings of an audit. bar: counts STEPS."""
    bench = AuditSample(p, ensemble)
    denoised, uncertainty, maps = bench.denoise_with_errors(bench.particles)
    bar.update()
    noise = negative_controls.NoiseModel(bench.particles, bench.signal)
    pairs = pair_agreement.measure_agreement(bench.signal, bench.particles, p.plan.pixel_size, seed)
    real = {'own': resemblance.own(denoised, bench.truth), 'rank': resemblance.rank(denoised, bench.truth)}
    real['nearest'] = resemblance.nearest(denoised, bench.truth)
    bar.update()
    twins, twin_images, twins_denoised = _twins(bench, noise, negative_controls.stream(seed, 1))
    bar.update()
    empty = _noise_in(bench, noise, denoised, negative_controls.stream(seed, 2))
    bar.update()
    wrong = {
        'foreign': _wrong(bench, noise, negative_controls.foreign_projections, negative_controls.stream(seed, 3)),
        'mirrored': _wrong(bench, noise, None, negative_controls.stream(seed, 4)),
    }
    bar.update()
    bias, signal, resolved = _bias(bench, noise, negative_controls.stream(seed, 5))
    bar.update()
    emptied = _empties(bench, p.empties, denoised, bar) if p.empties else None
    second = _second(bench, p.second, denoised, twin_images, twins_denoised, seed, bar) if p.second else None
    frequency = frequencies(p.plan.model_box, p.plan.pixel_size)
    judged = {
        'leakage': p.routing.leakage / len(p.particles),
        'agreement': (pairs.mean - pairs.shuffled_mean) / max(pairs.error, 1e-9),
        'conventions': _conventions(p.references.provenance),
        'fidelity': float(real['own'].mean() / max(twins['own'], 1e-9)),
        'rank': float(real['rank'].mean()),
        'noise': min(resemblance.separation(real['nearest'], x['nearest']) for x in (empty, emptied) if x),
        'bias': float(bias[resolved].sum() / max(signal[resolved].sum(), 1e-12)),
        'calibration': twins['calibration'],
        'opinion': second and second['weight'] - second['weight_simulations'],
    }
    results = {
        'particles': len(p.particles), 'sample': len(p.rows), 'leakage': p.routing.leakage,
        'members': p.routing.members, 'resolution_cut': ensemble.cut,
        'agreement': pairs.as_dict(), 'pair_check': p.references.provenance.get('pair_check', 'given'),
        'denoised': {k: _mean_sd(v) for k, v in real.items()},
        'simulated_twins': twins,
        'noise_in': {'nearest': _mean_sd(empty['nearest']), 'energy': empty['energy'],
                     'average_frc': empty['frc'].tolist()},
        'empty_particles_in': emptied and {'count': len(emptied['in']), 'nearest': _mean_sd(emptied['nearest']),
                                           'energy': emptied['energy']},
        'second_opinion': second and {k: v for k, v in second.items() if k not in ('out', 'each')},
        'wrong_molecule': wrong,
        'bias': {'fraction': judged['bias'], 'frequency': frequency.tolist(), 'variance': bias.tolist(),
                 'signal': signal.tolist()},
        'uncertainty': {'median': float(np.median(uncertainty)), 'error_over_expected': twins['calibration'],
                        'correlation_with_error': twins['uncertainty_correlation']},
        'judged': judged,
    }  # fmt: skip
    columns = {
        'correlation': pair_agreement.correlations(bench.signal, bench.particles, p.plan.pixel_size),
        'denoised_correlation': real['own'], 'rank': real['rank'], 'uncertainty': uncertainty,
    }  # fmt: skip
    images = {'particle': bench.particles, 'denoised': denoised, 'expected error': maps, 'reference': bench.truth,
              'noise': empty['in'], 'denoised noise': empty['out']}  # fmt: skip
    if emptied:
        images |= {'noise image': emptied['in'], 'denoised noise image': emptied['out']}
    if second:
        columns['second_opinion'] = second['each']
        images['second opinion'] = second['out']
    curves = {'frequency': frequency, 'bias': bias, 'signal': signal, 'noise_frc': empty['frc'],
              'nearest_real': real['nearest'], 'nearest_noise': empty['nearest'], 'own': real['own'],
              'expected': twins['expected'], 'errors': twins['errors']}  # fmt: skip
    if second:
        curves['opinion'] = {
            k: np.array(second[k]) for k in ('frc', 'frc_simulations', 'weights', 'weights_simulations')
        }
    del twins['expected'], twins['errors']
    bar.update()
    return Findings(results, judged, columns, images, curves)


def _conventions(provenance: Mapping[str, str]) -> float:
    """1 when ``project`` was certain that another reading of the table is right, a quarter when it had doubts."""
    if provenance.get('pair_check', 'given') == 'given':
        return 0.0
    return 1.0 if provenance.get('pair_check_certain') == 'yes' else 0.25


def _twins(bench: AuditSample, noise: NoiseModel, rng: Generator) -> tuple[Json, Images, Images]:
    """The references with fresh noise: what denoising gives when particles are exactly what the references say.
    Here the truth is known, so that the uncertainty can be held against the error."""
    images = bench.signal + noise.draw(len(bench.signal), rng)
    denoised, uncertainty, _ = bench.denoise_with_errors(images)
    difference = denoised - bench.truth
    errors = np.sqrt(difference.var((1, 2), dtype=np.float64))
    expected = uncertainty * denoised.std((1, 2), dtype=np.float64)
    ratio, correlation = resemblance.calibration(expected, errors)
    found = {
        'own': float(resemblance.own(denoised, bench.truth).mean()),
        'error_of_signal': float(np.mean(errors**2) / resemblance.energy(bench.truth)),
        'calibration': ratio,
        'uncertainty_correlation': correlation,
        'expected': expected,
        'errors': errors,
    }
    return found, images, denoised


def _empties(bench: AuditSample, empties: EmptyParticles, denoised: Images, bar: tqdm) -> Json:
    """What real empty particles become: as `_noise_in`."""
    p = bench.p
    images, out = empty_particles.denoise(empties, p.model, p.cut, p.particles)
    bar.update()
    return {'in': images, 'out': out, 'nearest': resemblance.nearest(out, bench.truth),
            'energy': resemblance.energy(out) / max(resemblance.energy(denoised), 1e-12)}  # fmt: skip


def _second(
    bench: AuditSample,
    second: SecondModel,
    denoised: Images,
    twin_images: Images,
    twins_denoised: Images,
    seed: int,
    bar: tqdm,
) -> Json:
    """The second model against the first, on particles and on simulated twins of them."""
    judge = second_opinion.SecondOpinion(second, bench)
    # Plus and minus one more noise image, unequally: two copies with independent noise, the first hardly worse. Its
    # power is that of the corners: residuals hold what the references lack, and more noise than there is would make
    # the noises of the copies fall against each other.
    white = negative_controls.stream(seed, 6).standard_normal(bench.particles.shape, dtype=np.float32)
    extra = spectra.filtered(white, spectra.corner_power(bench.particles) ** 0.5)
    real = judge.compare(bench.particles + extra / 2, bench.particles - 2 * extra)
    each = judge.compare(bench.particles, bench.particles, denoised)
    twins = judge.compare(twin_images, bench.signal, twins_denoised)
    bar.update()
    below = each.correlations < np.quantile(twins.correlations, 0.01)
    return {
        'out': each.second, 'each': each.correlations, 'cut': judge.cut, 'disagreeing': int(below.sum()),
        'agreement': _mean_sd(each.correlations), 'agreement_simulations': _mean_sd(twins.correlations),
        'frc': each.frc.tolist(), 'frc_simulations': twins.frc.tolist(),
        'weight': real.weight, 'weight_simulations': twins.weight,
        'weights': real.weights().tolist(), 'weights_simulations': twins.weights().tolist(),
    }  # fmt: skip


def _noise_in(bench: AuditSample, noise: NoiseModel, denoised: Images, rng: Generator) -> Json:
    """Pure noise with the data's spectrum: how much appears from nothing."""
    images = bench.particles.mean() + noise.draw(len(bench.particles), rng)
    out = bench.denoise(images)
    average, expected = (x.mean(0, keepdims=True) for x in (out, bench.truth))
    return {
        'in': images,
        'out': out,
        'nearest': resemblance.nearest(out, bench.truth),
        'energy': resemblance.energy(out) / max(resemblance.energy(denoised), 1e-12),
        'frc': ring_correlation(average, expected)[0],
    }


def _wrong(
    bench: AuditSample, noise: NoiseModel, make: Callable[[int, int, Generator], Images] | None, rng: Generator
) -> dict[str, float]:
    """Another molecule (or the mirrored one, make = None) with the data's noise, CTF and signal: is it drawn to the
    training map? own: output against its own truth; to_training: against the nearest reference; without_network: the
    same of the truth itself."""
    if make is None:
        truth = flipped(bench.truth, -1)
        signal = flipped(bench.signal, -1)
    else:
        bare = make(len(bench.truth), bench.truth.shape[-1], rng)
        truth = negative_controls.like(bench.as_drawn(bare), bench.truth)
        signal = bench.with_ctf(truth)
    out = bench.denoise(signal + noise.draw(len(signal), rng))
    return {
        'own': float(resemblance.own(out, truth).mean()),
        'to_training': float(resemblance.nearest(out, bench.truth).mean()),
        'without_network': float(resemblance.nearest(truth, bench.truth).mean()),
    }


def _bias(bench: AuditSample, noise: NoiseModel, rng: Generator) -> tuple[Floats, Floats, Flags]:
    """(var_B, signal power, rings with signal). The particle plus and minus one noise image are two copies whose
    noises are independent (and twice as strong)."""
    extra = noise.draw(len(bench.particles), rng)
    e, o = bench.particles + extra, bench.particles - extra
    denoised_e, denoised_o = (bench.with_ctf(bench.denoise(x)) for x in (e, o))
    bias, signal = resemblance.bias(denoised_e, denoised_o, e, o)
    return bias, signal, signal > 0.01 * signal.max()


def _mean_sd(values: Floats) -> dict[str, float]:
    return {'mean': float(np.mean(values)), 'sd': float(np.std(values))}
