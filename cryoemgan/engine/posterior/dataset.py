"""Training pairs for a guided network: every particle comes with the bank's opinion of it, and some are empty.

Opinions are computed once, before training, and kept beside the checkpoints of their member; turns, mirrors and
shifts of a pair move its opinion along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..data.image_state import CtfState, of_particles
from ..data.sampling import evenly_spread
from ..data.tensors import write_tensors
from ..errors import InputError
from ..files import atomic, file_digest, read_state, write_state
from ..job import Job
from ..settings.base import flag
from ..settings.train import Train
from ..shapes import Json
from . import preparation
from .asked import forget as forget_journal
from .calibration import Sample, calibrate, threshold
from .calibration_from_copies import Copies, Errors, calibrate_from_copies, linear_filter
from .guided_pairs import GuidedPairs
from .learning import TEMPLATES, library_of, write_averages
from .library import TemplateLibrary
from .map_prior import MapPrior
from .preparation_plan import PREPARATION, new_guide, plan
from .sources import Pairs, Task, bank_of, maps_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Raised when opinions that an earlier version left would not be those of this one.
FORMAT = 3
# Part of the error.
NEXT_TO_NOTHING = 0.03
DONE, BANK, OPINIONS = 'guide.json', 'guide.safetensors', 'opinions.npy'


def build(job: Job, member: Task, fabric: Fabric) -> GuidedPairs:
    """GuidedPairs of a member: its guide, calibrated on its training particles only, and the opinions. Those of an
    interrupted run are taken up again. All processes of the run call it.

    Where the clock rules, only as much is prepared as fits: ``training`` and ``validation`` of the result are the
    member's, or a part of them.
    """
    settings, pairs = member.settings, member.pairs
    files = [job.output(member.place + name) for name in (OPINIONS, BANK, DONE, PREPARATION)]
    folder = files[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    chosen: Any = plan(job, member, folder, fabric.device) if fabric.is_global_zero else (None, None)
    how: preparation.Preparation = fabric.broadcast(chosen[0])
    if pairs.kind != 'references':
        bank, own, source = library_of(job, member, folder, fabric), None, 'learned from the particles'
    elif chosen[1] is not None and len(chosen[1][0]) == how.templates:
        bank, own, source = chosen[1]
    else:
        bank, own, source = bank_of(replace(settings, bank_size=how.templates), pairs, member, job, fabric.device)
    member = _part_of(member, how)
    wanted = np.sort(np.append(member.training, member.validation))
    guide = new_guide(member, bank, fabric.device)
    guided = GuidedPairs(pairs, guide, folder / OPINIONS, settings.seed, wanted, own)
    guided.training, guided.validation = member.training, member.validation
    job.say(f'template library: {len(bank)} templates ({source}), {len(bank.basis)} components')
    identity = _identity(member, bank)
    kept = fabric.broadcast(_kept(folder, identity, job) if fabric.is_global_zero else None)
    if kept:
        description, asked = kept
        tensors = load_file(folder / BANK)
        guide.recall(description, tensors)
        guided.recall(tensors) if asked else _ask(job, guided, folder, identity, fabric, how.judged)
    else:
        if settings.resume:
            job.say('the map prior was not complete: its template library and calibration are made again')
        _calibrate(job, member, guided, how, fabric)
        _ask(job, guided, folder, identity, fabric, how.judged)
    found = guided.guide.threshold
    if found['false_acceptance'] > 0.01:
        job.warn(
            f'the template library cannot distinguish particles from noise: {found["false_acceptance"]:.1%} of images '
            'of noise pass where 95 % of the particles do'
        )
    return guided


def _part_of(member: Task, how: preparation.Preparation) -> Task:
    """The member with as many of its particles as a Preparation asks about."""
    training, validation = member.training, member.validation
    if how.particles is None:
        return member
    share = how.particles / (len(training) + len(validation))
    fewer = [x[evenly_spread(len(x), max(2, round(share * len(x))))] for x in (training, validation)]
    return replace(member, training=fewer[0], validation=fewer[1])


def finish(job: Job, pairs: Pairs, places: Mapping[str, str]) -> None:
    """Leave of trained fold models what is of use: their opinions take most of the space and go (a training that is
    made longer asks for them again); templates that were learned from particles are written as class averages.

    places: folder of each fold model, relative to the run's.
    """
    for place in places.values():
        forget(job.folder / place)
    if pairs.kind != 'references' and all((job.folder / place / TEMPLATES).is_file() for place in places.values()):
        write_averages(job, pairs, places)


def forget(folder: Path) -> None:
    """Remove the opinions of a fold model. What the guide had learnt before is kept."""
    (folder / OPINIONS).unlink(missing_ok=True)


def _calibrate(job: Job, member: Task, guided: GuidedPairs, how: preparation.Preparation, fabric: Fabric) -> None:
    """Let the guide learn from a sample of the member's training particles."""
    settings, guide = member.settings, guided.guide
    if fabric.is_global_zero:
        if guided.kind == 'references':
            sample = Sample.of(guided, member.training, how.calibrated)
            calibrate(guide, sample, how.candidates, settings.contrast_spread)
        else:
            copies = Copies.of(guided, member.validation, how.calibrated, settings.seed)
            guide.linear = linear_filter(guided.pairs, member.training, fabric.device)
            errors = calibrate_from_copies(guide, copies, how.candidates, settings.contrast_spread)
            _say_what_templates_add(job, guide, errors, len(copies.positions))
    guide.recall(*fabric.broadcast((guide.description(), {k: v.cpu() for k, v in guide.learnt().items()})))
    job.say(
        f'guide calibrated: gain {guide.gain:.3g}, contrast spread {guide.search.contrast:g}, '
        f'{guide.search.candidates} candidates, temperature {guide.search.temperature:g}'
    )


def _say_what_templates_add(job: Job, guide: MapPrior, errors: Errors, judged: int) -> None:
    """How much of the estimate is the covariance Wiener filter's; a warning where the templates add next to nothing."""
    where = f'on {judged} particles kept out of training, by independent noisy images of them'
    if guide.linear_weight:
        job.say(f'{guide.linear_weight:.0%} of the estimate is the covariance Wiener filter (CWF), {where}')
    if errors.linear < (1 + NEXT_TO_NOTHING) * errors.blend:
        job.warn(
            f'{where}, what the particles have in common lowers the error of the covariance Wiener filter by less than '
            f'{NEXT_TO_NOTHING:.0%}: expect little more than "filter --method cwf" gives, or take more particles'
        )


def _ask(job: Job, guided: GuidedPairs, folder: Path, identity: str, fabric: Fabric, judged: int) -> None:
    """Let the calibrated guide look at every particle, and keep what it found. judged: as of `threshold`."""
    guide = guided.guide
    about = f'{identity} {json.dumps(guide.description(), sort_keys=True)} {guide.spectrum.cpu().tolist()}'
    guided.prepare(job, fabric, hashlib.sha256(about.encode()).hexdigest())
    guide.threshold = threshold(guided, guided.training, judged)
    if fabric.is_global_zero:
        kept = {k: torch.from_numpy(v) for k, v in (('present', guided.present), ('scores', guided.scores))}
        with atomic(folder / BANK) as partial:
            write_tensors({**kept, **guide.learnt()}, partial)
        digests = {name: file_digest(folder / name) for name in (BANK, OPINIONS)}
        write_state(folder / DONE, {'identity': identity, 'guide': guide.description(), 'sha256': digests})
        forget_journal(folder / OPINIONS)


def _kept(folder: Path, identity: str, job: Job) -> tuple[Json, bool] | None:
    """(description of the guide of an earlier run with the same identity, whether its opinions are there); None when
    there is none, or its files are not what was written."""
    if not (folder / DONE).exists():
        return None
    kept = read_state(folder / DONE)
    if kept is not None and kept['identity'] != identity:
        return None
    asked = (folder / OPINIONS).is_file()
    if kept is None:
        lost = [DONE]
    else:
        files = {name: folder / name for name in ((BANK, OPINIONS) if asked else (BANK,))}
        lost = [n for n, p in files.items() if not (p.is_file() and file_digest(p) == kept['sha256'].get(n))]
    if kept is None or lost:
        job.warn(f'{folder / lost[0]} is missing or damaged: the map is asked about every particle again')
        return None
    if not asked:
        job.say('a finished training keeps no opinions: the map is asked about every particle again')
    return kept['guide'], asked


def _identity(member: Task, bank: TemplateLibrary) -> str:
    """What opinions depend on: the member's data and settings, and the bank."""
    tensors = bank.tensors()
    parts = [json.dumps([FORMAT, member.identity], sort_keys=True, default=str).encode()]
    parts += [tensors[k].contiguous().cpu().numpy().tobytes() for k in sorted(tensors)]
    return hashlib.sha256(b''.join(parts)).hexdigest()


def check_settings(settings: Train) -> None:
    """InputError for settings that a guided network cannot be trained with."""
    for name in ('fresh_fraction', 'noise_curriculum', 'exchange_noise'):
        if getattr(settings, name):
            raise InputError(f'{flag(name)} cannot be used with --network guided: the opinion belongs to one noise')


def check(settings: Train, pairs: Pairs, job: Job) -> None:
    """InputError when a bank cannot be made from what was given."""
    if settings.pose_prior_degrees() and not pairs.particles.has('rlnAngleRot'):
        raise InputError(f'--pose-prior: {pairs.particles.path} has no angles; leave it out')
    if of_particles(pairs.particles) is CtfState.PREMULTIPLIED:
        other = '' if pairs.kind == 'references' else ', or --network equivariant'
        raise InputError(
            f'--network guided: {pairs.particles.path} holds particles that were multiplied by their CTF, and their '
            f'noise with it: take the particles as they were extracted{other}'
        )
    if pairs.particles.magnification() is not None:
        job.warn(
            f'{pairs.particles.path}: the templates of a guided network know nothing of anisotropic magnification '
            '(_rlnMagMat00 to _rlnMagMat11): particles fit them worse than they should'
        )
    if pairs.kind == 'references':
        maps_of(settings, pairs, None, job)
    elif settings.pose_prior_degrees():
        raise InputError('--pose-prior: templates that are learned from particles alone have no angles; leave it out')
