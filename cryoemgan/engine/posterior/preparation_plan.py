"""What a fold model of a guided network prepares: all that is wanted, or what a pilot says will fit into --minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..data.image_state import CtfState, require_known
from ..data.sampling import evenly_spread
from ..files import read_state, write_state
from ..job import Job
from ..settings.train import Train
from ..shapes import Rows
from . import preparation
from .guided_pairs import EMPTY_FRACTION
from .library import TemplateLibrary
from .map_prior import Context, MapPrior, MapPriorOptions
from .posterior import Search
from .sources import Library, Pairs, Task, bank_of, shift_reach

PREPARATION = 'preparation.json'


def plan(job: Job, member: Task, folder: Path, device: torch.device) -> tuple[preparation.Preparation, Library | None]:
    """The Preparation of a member, said: all that is wanted, or what fits into --minutes; or an interrupted run's; and
    the library of the pilot, where there was one."""
    settings, pairs = member.settings, member.pairs
    wanted = len(member.training) + len(member.validation)
    whole = preparation.Preparation(settings.bank_size, None, candidates=settings.candidates)
    if not settings.minutes or pairs.kind != 'references':
        return whole, None
    kept = read_state(folder / PREPARATION) if settings.resume and (folder / PREPARATION).exists() else None
    if kept is not None:
        return preparation.Preparation(**kept), None
    library, making, question = _pilot(job, member, device)
    if library[1] is not None:
        # No more templates than references.
        whole = replace(whole, templates=min(settings.bank_size, len(member.training)))
    asked = round(wanted * (1 + EMPTY_FRACTION))
    how = preparation.fitting(60 * settings.minutes, whole.templates, asked, settings.candidates, making, question)
    _say_least(job, member, preparation.least(making, question, len(member.all_names)))
    job.say(
        f'preparing the map prior takes about {how.seconds:.0f} s: {how.templates} templates, '
        f'{wanted if how.particles is None else how.particles} of {wanted} particles'
    )
    if how.templates < whole.templates or how.particles is not None:
        minutes = preparation.needed(whole.templates, asked, making, question)
        job.say(
            f'{settings.minutes:.3g} minutes are not enough for all {whole.templates} templates and particles; about '
            f'{minutes:.2g} for this fold model would be, and tell finer differences of the view'
        )
    write_state(folder / PREPARATION, how.as_dict())
    return how, library


def _say_least(job: Job, member: Task, least: float) -> None:
    """A warning, once, where the time is less than the least that a training takes."""
    models = len(member.all_names)
    given = member.settings.minutes * models
    if member.name == member.all_names[0] and given * preparation.NEAR < least:
        job.warn(
            f'--minutes {given:.3g} is less than a guided network takes for these particles here and now: even the '
            f'smallest preparation, a few steps of training and judging the result take about {least:.2g} minutes'
        )


def _pilot(job: Job, member: Task, device: torch.device) -> tuple[Library, float, float]:
    """(small library, seconds for making it and for a question to it), here and now."""
    settings, pairs = member.settings, member.pairs
    some, made = replace(settings, bank_size=min(preparation.PILOT, settings.bank_size)), []
    seconds = preparation.timed(lambda: made.append(bank_of(some, pairs, member, job, device)))
    library: Library = made[0]
    guide = new_guide(member, library[0], device)
    some = member.training[evenly_spread(len(member.training), preparation.PILOT_PARTICLES)]
    noisy = torch.from_numpy(pairs.raw(some)[0]).to(device)
    guide.spectrum = guide.noise_spectrum(guide.plane.vectors(noisy).abs() ** 2)
    context = Context.of(pairs.particles, pairs.rows[some], pairs.box)
    # The first question makes tables that all others use.
    guide(noisy[:2], context.part(slice(2)))
    return library, seconds, preparation.timed(lambda: guide(noisy, context)) / len(some)


def new_guide(member: Task, bank: TemplateLibrary, device: torch.device) -> MapPrior:
    """A MapPrior that knows nothing of the particles yet."""
    options = _options(member.settings, member.pairs, member.training)
    return MapPrior(bank, member.pairs.scale.gain, torch.ones(bank.plane.radius + 1, device=device), Search(), options)


def _options(settings: Train, pairs: Pairs, training: Rows) -> MapPriorOptions:
    """Output's CTF, and how far particles are off centre: from the table, or as the user says."""
    reach, sd = shift_reach(settings, pairs, training)
    if pairs.kind == 'references':
        held = require_known(pairs.references, 'a guided network').value
    else:
        held = pairs.ctf if pairs.particles.has('rlnDefocusU') else CtfState.NONE.value
    return MapPriorOptions(held, reach, sd, settings.pose_prior_degrees())
