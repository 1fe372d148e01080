"""Training pairs for a guided network: every particle comes with the bank's opinion of it, and some are empty.

The opinion is computed once, before training, and kept on disk; turns, mirrors and shifts of a pair move it along.
"""

import numpy as np
import torch

from . import maps, resample
from .bank import Bank
from .errors import InputError
from .guide import Context, Guide, Options
from .posterior import Search
from .settings.base import flag
from .steerable import FourierPlane

EMPTY_FRACTION = 0.1
CALIBRATION = 300
TEMPERATURES = (1.5, 2.0, 2.7, 3.6)
CHUNK = 64
ACCEPTED = 0.95


class GuidedPairs:
    """Pairs with opinions. Positions from len(pairs) on are empty: noise, and the grey of an empty image.

    ``read`` gives particles as [n, 4, N, N] (particle, mean, s.d., presence), references as [n, N, N].
    """

    def __init__(self, pairs, guide, path, seed, own=None):
        """path: file of the opinions. own: int64[len(pairs)], the template made from each particle, -1 for none."""
        self.pairs, self.guide, self.seed, self.own = pairs, guide, seed, own
        self.empty = np.arange(len(pairs), len(pairs) + max(1, round(EMPTY_FRACTION * len(pairs))))
        self._path, self._opinions, self.present, self.evidence = path, None, None, None

    def __getattr__(self, name):
        # Whatever else is asked is answered by the pairs themselves.
        return getattr(self.pairs, name)

    def __len__(self):
        return len(self.pairs)

    def prepare(self, progress=None):
        """Ask the guide about every particle and every empty image; written to disk as they come."""
        count, n = len(self.pairs) + len(self.empty), self.pairs.box
        shape = (count, 2, n, n)
        self._opinions = np.lib.format.open_memmap(self._path, 'w+', np.float16, shape)
        self.present, self.evidence = np.zeros(count, np.float32), np.zeros(count, np.float32)
        for start in range(0, count, CHUNK):
            rows = np.arange(start, min(start + CHUNK, count))
            found = self._ask(rows)
            s = self.pairs.scale
            channels = found.channels(1 / s.unit_scale, -s.unit_offset / s.unit_scale)
            self._opinions[rows] = channels[:, :2].cpu().numpy()
            self.present[rows], self.evidence[rows] = found.present.cpu(), found.evidence.cpu()
            if progress is not None:
                progress.update(len(rows))

    def _ask(self, rows):
        noisy = torch.from_numpy(self._particles(rows))
        own = None if self.own is None else torch.from_numpy(np.append(self.own, -np.ones(len(self.empty), int))[rows])
        return self.guide(noisy, self.context(rows), own)

    def context(self, positions):
        """Context of particles; an empty image borrows that of a particle."""
        return Context.of(self.pairs.particles, self.pairs.rows[positions % len(self.pairs)], self.pairs.box)

    def _particles(self, positions):
        """float32[n, N, N] in particle grey."""
        out = np.empty((len(positions), self.pairs.box, self.pairs.box), np.float32)
        real = positions < len(self.pairs)
        if real.any():
            out[real] = self.pairs.raw(positions[real])[0]
        for i in np.flatnonzero(~real):
            out[i] = self.guide.noise(1, self.seed * 1000003 + int(positions[i]))[0]
        return out

    def read(self, positions):
        """(particles with opinions float32[n, 4, N, N], references [n, N, N]), as Pairs.read."""
        positions = np.asarray(positions)
        s, real = self.pairs.scale, positions < len(self.pairs)
        shape = (len(positions), self.pairs.box, self.pairs.box)
        noisy, clean = np.empty(shape, np.float32), np.empty(shape, np.float32)
        if real.any():
            noisy[real], clean[real] = self.pairs.read(positions[real])
        if not real.all():
            noisy[~real] = (self._particles(positions[~real]) - s.mean) / s.sd
            clean[~real] = s.unit_scale * self.guide.bank.background + s.unit_offset
        present = np.broadcast_to(self.present[positions][:, None, None], shape)
        opinions = self._opinions[positions].astype(np.float32)
        return np.stack([noisy, opinions[:, 0], opinions[:, 1], present], 1).astype(np.float32), clean


def build(settings, job, pairs, training):
    """The guide of a training run and its GuidedPairs, calibrated on training particles only."""
    bank, own = _bank(settings, pairs, training)
    options = _options(settings, pairs, training)
    search = Search(candidates=settings.candidates, contrast=settings.contrast_spread)
    guide = Guide(bank, pairs.scale.gain, torch.ones(bank.plane.radius + 1), search, options)
    guided = GuidedPairs(pairs, guide, job.output('opinions.npy'), settings.seed, own)
    sample = training[np.linspace(0, len(training) - 1, min(len(training), CALIBRATION)).round().astype(int)]
    noisy, context = torch.from_numpy(pairs.raw(sample)[0]), guided.context(sample)
    mine = None if own is None else torch.from_numpy(own[sample])
    guide.calibrate(noisy, context, own=mine)
    _choose_temperature(guide, pairs, sample, noisy, context, mine)
    with job.progress(len(pairs) + len(guided.empty), 'asking the bank') as bar:
        guided.prepare(bar)
    guide.threshold = _threshold(guided, training)
    if guide.threshold['false_acceptance'] > 0.01:
        job.warn(
            f'the bank does not tell particles from noise: {guide.threshold["false_acceptance"]:.1%} of empty '
            'images pass where 95 % of the particles do'
        )
    return guided


def _bank(settings, pairs, training):
    """(Bank, own template of each pair or None)."""
    if settings.volume:
        return Bank.from_maps([_volume(p, pairs) for p in settings.volume], settings.bank_size), None
    chosen = training[np.linspace(0, len(training) - 1, min(len(training), settings.bank_size)).round().astype(int)]
    own = np.full(len(pairs), -1)
    own[chosen] = np.arange(len(chosen))
    images = _references(pairs, chosen)
    context = Context.of(pairs.particles, pairs.rows[chosen], pairs.box)
    if context.shifts is not None and np.abs(context.shifts).max() > 1e-3:
        images = _centred(images, context.shifts)
    matrices = None if context.matrices is None else torch.from_numpy(context.matrices)
    return Bank.from_images(images, matrices), own


def _references(pairs, positions):
    """References in their own grey values; contaminated ones as they are."""
    s = pairs.scale
    return torch.from_numpy((pairs.read(positions)[1] - s.unit_offset) / s.unit_scale).float()


def _centred(images, shifts):
    plane = FourierPlane(images.shape[-1])
    moved = plane.vectors(images) * plane.ramps(torch.from_numpy(shifts).float())
    return plane.images(moved)


def _volume(path, pairs):
    volume = maps.read_map(path)
    plan = resample.plan(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)
    return torch.from_numpy(plan.apply(volume.data) * (plan.pixel_size / volume.pixel_size))


def check_settings(settings):
    """InputError for settings that a guided network cannot be trained with."""
    if settings.cross_fit != 'none':
        raise InputError(
            f'--network guided cannot be cross-fitted yet (--cross-fit {settings.cross_fit}): give --cross-fit none '
            'and denoise particles that were not in training, or take a blind network'
        )
    for name in ('fresh_fraction', 'noise_curriculum', 'exchange_noise'):
        if getattr(settings, name):
            raise InputError(f'{flag(name)} cannot be used with --network guided: the opinion belongs to one noise')
    if (settings.devices or 1) > 1 or settings.nodes > 1:
        raise InputError('--network guided trains in one process: leave out --devices and --nodes')


def check(settings, pairs, job):
    """InputError when a bank cannot be made from what was given."""
    state = pairs.references.provenance.get('ctf', 'none')
    if not settings.volume and state != 'none' and pairs.particles.has('rlnDefocusU'):
        raise InputError(
            f'--network guided: the references {pairs.references.path} contain the CTF ({state}), so that '
            'they cannot stand for another particle; give the map they were projected from with --volume'
        )
    if settings.pose_prior_degrees() and not pairs.particles.has('rlnAngleRot'):
        raise InputError(f'--pose-prior: {pairs.particles.path} has no angles; leave it out')
    for path in settings.volume:
        volume = maps.read_map(job.input(path))
        resample.plan(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)


def _options(settings, pairs, training):
    """Output's CTF, and how far particles are off centre: from the table, or as the user says."""
    shifts = Context.of(pairs.particles, pairs.rows[training], pairs.box).shifts
    reach, sd = settings.shift_range, None
    if shifts is not None and np.abs(shifts).max() > 1e-3:
        sd = float(shifts.std())
        if reach is None:
            reach = min(6.0, float(np.ceil(np.quantile(np.hypot(*shifts.T), 0.98))))
    reach = reach or 0.0
    return Options(
        pairs.references.provenance.get('ctf', 'none'), reach, sd or reach / 2, settings.pose_prior_degrees()
    )


def _choose_temperature(guide, pairs, sample, noisy, context, own):
    """The temperature with the lowest median error on training particles, whose own templates are masked."""
    some = slice(0, 100)
    clean = _references(pairs, sample[some])
    errors = {}
    for temperature in TEMPERATURES:
        guide.search.temperature = temperature
        found = guide(noisy[some], context.part(some), None if own is None else own[some])
        errors[temperature] = float((found.mean - clean).square().mean((1, 2)).median())
    guide.search.temperature = min(errors, key=errors.get)


def _threshold(guided, training):
    """Evidence that 95 % of the training particles exceed, and the part of empty images that do too."""
    real, empty = guided.evidence[training], guided.evidence[guided.empty]
    limit = float(np.quantile(real, 1 - ACCEPTED))
    return {
        'evidence': limit,
        'true_acceptance': ACCEPTED,
        'false_acceptance': float((empty > limit).mean()),
        'particles_median': float(np.median(real)),
        'empty_median': float(np.median(empty)),
    }
