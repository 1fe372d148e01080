"""``report``: the whole road from a finished refinement to sorted particles, and one page that says what to believe.

Each step is a command of this program in a folder of its own inside --output, run as a program of its own: it frees
its memory (and the GPU's) when it ends, can be stopped and resumed by itself, and can be repeated by hand with the
command that the page shows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .... import figures
from ...data.image_state import CtfState, of_particles
from ...data.particles import open_particles
from ...data.refinement import Refinement, find_refinement
from ...errors import InputError
from ...files import write_json
from ...job import Job
from ...settings import Project
from ...settings.base import check_value
from ...settings.files import read_settings_file
from ...settings.report import Report
from ...settings.road import OPINION, REFERENCES
from ...settings.train import Train
from ...shapes import Json
from .. import project
from . import findings, road
from .steps import Runner

PAGE, FOUND = 'report.html', 'report.json'


@dataclass
class ReportInputs:
    """The refinement, and further options of the training."""

    refinement: Refinement
    training: Json


def load_inputs(settings: Report, job: Job) -> ReportInputs:
    """Find the refinement's files; the checks of ``project`` come before any work. InputError for what is missing."""
    refinement = _refinement(settings)
    table = open_particles(job, refinement.particles)
    refinement.has_ctf = table.has('rlnDefocusU')
    if not refinement.has_ctf:
        refinement.said.append('the particles have no CTF in their table: the references have none either')
    for sentence in refinement.said:
        job.say(sentence)
    refinement.premultiplied = of_particles(table) is CtfState.PREMULTIPLIED
    if settings.second_opinion and refinement.premultiplied:
        job.warn(
            f'{table.path} holds particles that were multiplied by their CTF, which a map-free network does not take: '
            'the audits have no second opinion'
        )
    training = _training(settings, job)
    first = Project(output=str(job.result / REFERENCES), **road.project_options(settings, refinement))
    first.validate()
    # Its inputs are what this run reads; they are recorded, and compared when it resumes.
    project.load_inputs(first, job)
    return ReportInputs(refinement, training)


def _training(s: Report, job: Job) -> Json:
    """Further options of the training, checked one by one."""
    if not s.train_settings:
        return {}
    found = read_settings_file(Train, job.input(s.train_settings))
    for field in dataclasses.fields(Train):
        if field.name in found:
            check_value(Train, field, found[field.name])
    return found


def _refinement(s: Report) -> Refinement:
    """The files of the refinement, with those that were given in their place."""
    given: dict[str, Any] = {name: Path(getattr(s, name)) for name in ('particles', 'volume', 'half1', 'half2', 'mask')
             if getattr(s, name)}  # fmt: skip
    if bool(s.half1) != bool(s.half2):
        raise InputError('--half1 and --half2 go together')
    if s.refinement:
        return dataclasses.replace(find_refinement(s.refinement), **given)
    if not (s.volume or s.half1):
        raise InputError('--volume is missing: give the refined map, or --half1 and --half2')
    return Refinement(**given)


def run(settings: Report, job: Job, inputs: ReportInputs) -> Json:
    """Run the steps, then write report.json and report.html."""
    runner = Runner(settings, job)
    done: dict[str, Json] = {}
    for step in road.steps(settings, inputs.refinement, inputs.training, job.result, done):
        try:
            done[step.folder] = runner.run(step)
        except InputError as e:
            if step.folder != OPINION:
                raise
            # These particles are not for a network without a map; all else is.
            job.warn(f'the audits have no second opinion: {e}')
            continue
        if step.folder == REFERENCES and findings.pairs_are_wrong(done[step.folder]):
            job.warn('the particles do not agree with their map as they are: nothing was trained on them')
            break
    found = findings.collect(inputs.refinement, done, runner.records, settings)
    write_json(job.output(FOUND), found)
    page = job.output(PAGE)
    figures.report_page(page, found, job.result, settings.pictures)
    job.say(f'{found["verdict"]["colour"].upper()}: {found["verdict"]["headline"]}\nThe page: {job.result / PAGE}')
    return {'verdict': found['verdict'], 'selection': found['selection'], 'steps': found['steps']}
