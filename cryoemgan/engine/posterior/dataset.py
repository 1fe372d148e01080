"""Training pairs for a guided network: every particle comes with the bank's opinion of it, and some are empty.

Opinions are computed once, before training, and kept beside the checkpoints of their member; turns, mirrors and
shifts of a pair move its opinion along.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..data.image_state import CtfState, of_particles, require_known
from ..data.tensors import write_tensors
from ..errors import InputError
from ..files import atomic, file_digest, flush_to_disk, read_state, write_state
from ..settings.base import flag
from .calibration import Sample, calibrate, threshold
from .map_prior import Context, MapPrior, MapPriorOptions
from .posterior import Search
from .sources import bank_of, maps_of

EMPTY_FRACTION = 0.1
CHUNK = 64
SCORES = 5  # of ImagePosterior.scores
DONE, BANK, OPINIONS = 'guide.json', 'guide.safetensors', 'opinions.npy'


class GuidedPairs:
    """ReferencePairs with opinions. Positions from len(pairs) on are empty: noise, and the grey of an empty image.

    ``read`` gives particles as [n, 4, N, N] (particle, mean, s.d., presence), references as [n, N, N].
    """

    def __init__(self, pairs, guide, path, seed, wanted, own=None):
        """path: file of the opinions. wanted: positions that need one. own: int64[len(pairs)], the template made from
        each particle, -1 for none."""
        self.pairs, self.guide, self.seed, self.own = pairs, guide, seed, own
        empty = np.arange(len(pairs), len(pairs) + max(8, round(EMPTY_FRACTION * len(wanted))))
        self.empty, self.wanted = empty, np.append(wanted, empty)
        self._place = np.full(len(pairs) + len(empty), -1)
        self._place[self.wanted] = np.arange(len(self.wanted))
        self._path = path
        self._context: Context | None = None
        # Known once ``prepare`` or ``recall`` has run.
        self._opinions: Any = None
        self.present: Any = None
        self.scores: Any = None

    def __getattr__(self, name):
        # Whatever else is asked is answered by the pairs themselves.
        return getattr(self.pairs, name)

    def __len__(self):
        return len(self.pairs)

    def prepare(self, job, fabric):
        """Ask the guide about every wanted particle and every empty image; written to disk as they come. Each process
        asks about its share and knows all in the end."""
        count, n, s = len(self.wanted), self.pairs.box, self.pairs.scale
        if fabric.is_global_zero:
            np.lib.format.open_memmap(self._path, 'w+', np.float16, (count, 2, n, n)).flush()
            reserve(self._path)
        fabric.barrier()
        opinions = np.lib.format.open_memmap(self._path, 'r+')
        present, scores = torch.zeros(count), torch.zeros(count, SCORES)
        share = np.array_split(np.arange(count), fabric.world_size)[fabric.global_rank]
        with job.progress(len(share), 'asking the bank') as bar:
            for rows in np.array_split(share, range(CHUNK, len(share), CHUNK)):
                found = self._ask(self.wanted[rows])
                channels = found.channels(1 / s.unit_scale, -s.unit_offset / s.unit_scale)
                opinions[rows] = channels[:, :2].cpu().numpy()
                present[rows], scores[rows] = found.present.cpu(), torch.from_numpy(found.scores())
                bar.update(len(rows))
        opinions.flush()
        flush_to_disk(self._path)
        # What the other processes found is zero here. Once all have it, all have written their opinions.
        present, scores = (fabric.all_reduce(x.to(fabric.device), reduce_op='sum').cpu() for x in (present, scores))
        self.recall({'present': present, 'scores': scores})

    def recall(self, tensors):
        """Opinions that lie on disk, of this run or an earlier one."""
        self._opinions = np.load(self._path, mmap_mode='r')
        self.present, self.scores = tensors['present'].numpy(), tensors['scores'].numpy()

    def scores_of(self, positions):
        """float32[n, 5], as ImagePosterior.scores."""
        return self.scores[self._place[positions]]

    def _ask(self, positions):
        noisy, own = torch.from_numpy(self._particles(positions)).to(self.guide.device), None
        if self.own is not None:
            own = torch.from_numpy(np.append(self.own, -np.ones(len(self.empty), int))[positions]).to(noisy.device)
        return self.guide(noisy, self.context(positions), own)

    def context(self, positions):
        """Context of particles; an empty image borrows that of a particle."""
        if self._context is None:
            # Once for the whole set: a table of 80,000 rows takes seconds to parse.
            self._context = Context.of(self.pairs.particles, self.pairs.rows, self.pairs.box)
        return self._context.part(positions % len(self.pairs))

    def _particles(self, positions):
        """float32[n, N, N] in particle grey."""
        out = np.empty((len(positions), self.pairs.box, self.pairs.box), np.float32)
        real = positions < len(self.pairs)
        if real.any():
            out[real] = self.pairs.raw(positions[real])[0]
        for i in np.flatnonzero(~real):
            out[i] = self.guide.noise(1, self.seed * 1000003 + int(positions[i]))[0].cpu()
        out[~real] += self.pairs.scale.gain * self.guide.bank.background + self.pairs.scale.offset
        return out

    @property
    def map_prior(self):
        """What the network knows of the map."""
        return self.guide

    def assemble(self, gathered, positions):
        """(particles with opinions float32[n, 4, N, N], references [n, 1, N, N])."""
        noisy, clean = gathered
        return noisy, clean[:, None]

    def gather(self, positions):
        """(particles with opinions float32[n, 4, N, N], references [n, N, N])."""
        positions = np.asarray(positions)
        s, real, places = self.pairs.scale, positions < len(self.pairs), self._place[positions]
        shape = (len(positions), self.pairs.box, self.pairs.box)
        noisy, clean = np.empty(shape, np.float32), np.empty(shape, np.float32)
        if real.any():
            gathered = tuple(torch.from_numpy(x) for x in self.pairs.gather(positions[real]))
            noisy[real], clean[real] = (x[:, 0].numpy() for x in self.pairs.assemble(gathered, positions[real]))
        if not real.all():
            noisy[~real] = (self._particles(positions[~real]) - s.mean) / s.sd
            clean[~real] = s.unit_scale * self.guide.bank.background + s.unit_offset
        present = np.broadcast_to(self.present[places][:, None, None], shape)
        opinions = self._opinions[places].astype(np.float32)
        return np.stack([noisy, opinions[:, 0], opinions[:, 1], present], 1).astype(np.float32), clean


def reserve(path):
    """Give a sparse file its space on disk now: where it is missing later, writing to a memory map kills the process
    without a word. OSError when there is too little."""
    with open(path, 'r+b') as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as e:
            raise OSError(e.errno, f'{size / 1e9:.1f} GB are needed: {e.strerror}', str(path)) from e


def build(job, member, fabric):
    """GuidedPairs of a member: its guide, calibrated on its training particles only, and the opinions. Those of an
    interrupted run are taken up again. All processes of the run call it."""
    settings, pairs = member.settings, member.pairs
    folder = job.output(member.place or '.')
    folder.mkdir(parents=True, exist_ok=True)
    bank, own, source = bank_of(settings, pairs, member, job, fabric.device)
    guide = MapPrior(
        bank,
        pairs.scale.gain,
        torch.ones(bank.plane.radius + 1, device=fabric.device),
        Search(),
        _options(settings, pairs, member.training),
    )
    wanted = np.sort(np.append(member.training, member.validation))
    guided = GuidedPairs(pairs, guide, folder / OPINIONS, settings.seed, wanted, own)
    job.say(f'bank of {len(bank)} projections ({source}), {len(bank.basis)} components')
    identity = _identity(member, bank)
    kept = fabric.broadcast(_kept(folder, identity, job) if fabric.is_global_zero else None)
    if kept:
        tensors = load_file(folder / BANK)
        guide.recall(kept, tensors['spectrum'].to(fabric.device))
        guided.recall(tensors)
    else:
        _ask_everything(job, member, guided, folder, identity, fabric)
    found = guided.guide.threshold
    if found['false_acceptance'] > 0.01:
        job.warn(
            f'the bank does not tell particles from noise: {found["false_acceptance"]:.1%} of empty '
            'images pass where 95 % of the particles do'
        )
    return guided


def _ask_everything(job, member, guided, folder, identity, fabric):
    """Calibrate the guide, let it look at every particle, and keep what it found."""
    settings, guide = member.settings, guided.guide
    if fabric.is_global_zero:
        calibrate(guide, Sample.of(guided, member.training), settings.candidates, settings.contrast_spread)
    description, spectrum = fabric.broadcast((guide.description(), guide.spectrum.cpu()))
    guide.recall(description, spectrum.to(fabric.device))
    job.say(
        f'guide calibrated: gain {guide.gain:.3g}, contrast spread {guide.search.contrast:g}, '
        f'{guide.search.candidates} candidates, temperature {guide.search.temperature:g}'
    )
    guided.prepare(job, fabric)
    guide.threshold = threshold(guided, member.training)
    if fabric.is_global_zero:
        kept = {k: torch.from_numpy(v) for k, v in (('present', guided.present), ('scores', guided.scores))}
        with atomic(folder / BANK) as partial:
            write_tensors({**kept, 'spectrum': guide.spectrum}, partial)
        digests = {name: file_digest(folder / name) for name in (BANK, OPINIONS)}
        write_state(folder / DONE, {'identity': identity, 'guide': guide.description(), 'sha256': digests})


def _kept(folder, identity, job):
    """Description of the guide of an interrupted run with the same identity; None when there is none, or its files are
    not what was written."""
    if not (folder / DONE).exists():
        return None
    kept = read_state(folder / DONE)
    if kept is not None and kept['identity'] != identity:
        return None
    if kept is None:
        lost = [DONE]
    else:
        files = {name: folder / name for name in (BANK, OPINIONS)}
        lost = [n for n, p in files.items() if not (p.is_file() and file_digest(p) == kept['sha256'].get(n))]
    if lost:
        job.warn(f'{folder / lost[0]} is missing or damaged: the map is asked about every particle again')
    return None if kept is None or lost else kept['guide']


def _identity(member, bank):
    """What opinions depend on: the member's data and settings, and the bank."""
    tensors = bank.tensors()
    parts = [json.dumps(member.identity, sort_keys=True, default=str).encode()]
    parts += [tensors[k].contiguous().cpu().numpy().tobytes() for k in sorted(tensors)]
    return hashlib.sha256(b''.join(parts)).hexdigest()


def check_settings(settings):
    """InputError for settings that a guided network cannot be trained with."""
    for name in ('fresh_fraction', 'noise_curriculum', 'exchange_noise'):
        if getattr(settings, name):
            raise InputError(f'{flag(name)} cannot be used with --network guided: the opinion belongs to one noise')


def check(settings, pairs, job):
    """InputError when a bank cannot be made from what was given."""
    if settings.pose_prior_degrees() and not pairs.particles.has('rlnAngleRot'):
        raise InputError(f'--pose-prior: {pairs.particles.path} has no angles; leave it out')
    if of_particles(pairs.particles) is CtfState.PREMULTIPLIED:
        raise InputError(
            f'--network guided: {pairs.particles.path} holds particles that were multiplied by their CTF, and their '
            'noise with it: take the particles as they were extracted'
        )
    if pairs.particles.magnification() is not None:
        job.warn(
            f'{pairs.particles.path}: the templates of a guided network know nothing of anisotropic magnification '
            '(_rlnMagMat00 to _rlnMagMat11): particles fit them worse than they should'
        )
    maps_of(settings, pairs, None, job)


def _options(settings, pairs, training):
    """Output's CTF, and how far particles are off centre: from the table, or as the user says."""
    shifts = Context.of(pairs.particles, pairs.rows[training], pairs.box).shifts
    reach, sd = settings.shift_range, None
    if shifts is not None and np.abs(shifts).max() > 1e-3:
        sd = float(shifts.std())
        if reach is None:
            reach = min(6.0, float(np.ceil(np.quantile(np.hypot(*shifts.T), 0.98))))
    reach = reach or 0.0
    return MapPriorOptions(
        require_known(pairs.references, 'a guided network').value, reach, sd or reach / 2, settings.pose_prior_degrees()
    )
