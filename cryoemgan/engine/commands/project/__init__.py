"""``project``: the refined map at every particle's angles and shifts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .... import figures
from ... import costs
from ...data.image_state import CtfState
from ...data.particles import open_particles
from ...data.stack_writer import ResumableStack
from ...data.table import ParticleTable
from ...errors import InputError
from ...files import file_digest
from ...imaging import maps, resample
from ...imaging.field_of_view import cut_off
from ...job import Job
from ...processes import gather_team, own_device
from ...settings.project import Project
from ...shapes import CtfParameters, Floats, Json, Matrices, Rows, Shifts, Volume
from ...training.pairs import AGREEMENT
from ...trust import pose_fit
from ...trust.geometry_hypotheses import GIVEN
from ...trust.pair_check import Verdict
from ..filling import fill
from . import class_maps, comparison, half_maps, judgement, other_state, states
from .references import COLUMNS, Renderer, prepared_map, stream

STACK, TABLE = 'references.mrcs', 'references.star'


@dataclass
class ProjectInputs:
    """Checked input of a run; arrays have a row a particle.

    maps: the map, or both half maps, or those of the classes (and the map, if given, for particles without half set
    or class); map_of_row: which of them. resolution: A, of the half maps' FSC, or None. held, wanted: what particles
    and references hold of the CTF.
    """

    table: ParticleTable
    maps: list[maps.Map]
    map_of_row: Rows
    mask: Volume | None
    resolution: float | None
    plan: resample.Resampling
    matrices: Matrices
    shifts: Shifts
    pixel_sizes: Floats
    ctf: CtfParameters | None
    held: CtfState
    wanted: CtfState
    device: torch.device


def load_inputs(settings: Project, job: Job) -> ProjectInputs:
    """Every check of input; nothing is written. Returns ProjectInputs."""
    table = open_particles(job, settings.particles)
    volumes = _read_maps(settings, job)
    volume = volumes[0]
    map_of_row = _map_of_row(settings, table)
    mask = maps.read_mask(job.input(settings.mask), volume) if settings.mask else None
    _check_lowpass(settings, volume)
    matrices = table.projections()
    _check_projection_angles(table, matrices)
    box = settings.box or table.box
    pixel_sizes = table.pixel_sizes * table.box / box
    if pixel_sizes.max() > 1.1 * pixel_sizes.min():
        raise InputError(
            f'{table.path}: pixel sizes from {table.pixel_sizes.min():g} to {table.pixel_sizes.max():g} A: '
            'more than 10 percent apart; project one optics group at a time'
        )
    plan = resample.plan_resampling(volume.box, volume.pixel_size, box, float(np.median(pixel_sizes)))
    resolution = half_maps.resolution(settings, job, volumes, mask)
    # Shifts in px of the references, whose box may differ.
    shifts = table.shifts() * box / table.box
    held, wanted = states.of(settings, table)
    ctf = table.ctf() if wanted is not CtfState.NONE or table.has('rlnDefocusU') else None
    states.warn(job, table, held, wanted)
    return ProjectInputs(table, volumes, map_of_row, mask, resolution, plan, matrices, shifts, pixel_sizes, ctf, held,
                    wanted, own_device(settings))  # fmt: skip


def _read_maps(settings: Project, job: Job) -> list[maps.Map]:
    """[map], or [half map 1, half map 2] or maps of classes, and the map if it is given; of one box and pixel size."""
    halves = [settings.half1, settings.half2]
    if any(halves) and settings.class_volume:
        raise InputError('--half1, --half2 and --class-volume exclude each other: a class has no half maps here')
    if any(halves) and not all(halves):
        raise InputError(f'--half{2 if settings.half1 else 1} is missing: both half maps are needed, or none')
    paths = list(_named_maps(settings).values())
    if not paths:
        raise InputError(
            '--volume is missing: give the refined map, or both half maps (--half1, --half2), or the maps of the '
            'classes (--class-volume)'
        )
    found = [maps.read_map(job.input(p), settings.volume_pixel_size) for p in paths]
    for other in found[1:]:
        if other.box != found[0].box or abs(other.pixel_size / found[0].pixel_size - 1) > 1e-3:
            raise InputError(
                f'{other.path} has {other.box} px of {other.pixel_size:g} A, {found[0].path} {found[0].box} px of '
                f'{found[0].pixel_size:g} A: maps must come from one refinement or classification'
            )
    if any(halves) and np.array_equal(found[0].data, found[1].data):
        raise InputError(f'{settings.half1} and {settings.half2} hold the same map: two half maps are needed')
    return found


def _map_of_row(settings: Project, table: ParticleTable) -> Rows:
    """int64[n]: index of the map that each particle is projected from."""
    if settings.class_volume:
        return class_maps.map_of_row(settings, table)
    if not settings.half1:
        return np.zeros(len(table), np.int64)
    halves = table.half_sets()
    if halves is None:
        raise InputError(
            f'{table.path}: no half sets (_rlnRandomSubset): take the particles of the refinement that made the half '
            'maps, or give only --volume'
        )
    strange = ~np.isin(halves, (1, 2))
    if strange.any() and not settings.volume:
        raise InputError(
            f'{table.path}: {strange.sum()} particles are in neither half set (_rlnRandomSubset is not 1 or 2); '
            'leave them out, or give --volume for them'
        )
    return np.where(strange, 2, halves - 1)


def _check_lowpass(settings: Project, volume: maps.Map) -> None:
    if settings.lowpass and settings.lowpass <= 2 * volume.pixel_size:
        raise InputError(
            f'--lowpass: {settings.lowpass:g} A is beyond what the map holds (Nyquist of '
            f'{volume.pixel_size:g} A/px is {2 * volume.pixel_size:g} A): leave it out, or give the '
            'resolution of the refinement'
        )


def _check_projection_angles(table: ParticleTable, matrices: Matrices) -> None:
    """2D alignment writes rot = tilt = 0: every particle would be seen along the map's z axis."""
    if len(table) > 2 and (matrices[:, 2, 2] > 1 - 1e-9).all():
        raise InputError(
            f'{table.path}: every _rlnAngleTilt is 0: these are particles of a 2D alignment; use the '
            'particles that came out of a 3D refinement'
        )


def run(settings: Project, job: Job, inputs: ProjectInputs) -> Json:
    """Project, batch by batch; returns the summary's fields."""
    count, p = len(inputs.table), inputs
    job.say(costs.of_stack(count, p.plan.box))
    lowpass = settings.lowpass or p.resolution
    if p.resolution:
        by = 'half maps' if lowpass == p.resolution else f'--lowpass (half maps: {p.resolution:.1f} A)'
        job.say(f'references are low-passed at {lowpass:.1f} A, by {by}')
    outside = cut_off(p.maps, p.plan.box, float(np.median(p.pixel_sizes)))[1]
    if outside:
        job.warn(f'{outside}; what goes on outside is modelled in no network that learns from these references')
    renderer, team = Renderer(settings, p, lowpass), gather_team(settings)
    # References are compared as the particles are.
    mode = p.held if p.ctf else CtfState.NONE
    sample = comparison.Sample.of(settings, p, renderer, mode)
    model = pose_fit.PairModel.of(sample.references, sample.particles)
    compared = comparison.compare(settings, job, p, renderer, mode, sample) if team.rank == 0 else None
    pixel_size = float(np.median(p.pixel_sizes))
    stack = ResumableStack(
        job.output(STACK), count, p.plan.box, pixel_size, p.table.describe,
        columns=COLUMNS, left_out=len(job.left_out), resume=settings.resume,
    )  # fmt: skip
    images, size = p.table.images(), settings.batch_size
    fill(
        stack, job, 'projecting',
        lambda starts: stream(renderer, images, p, mode, model, starts, size, job.warn), size, team,
    )  # fmt: skip
    if compared is None:
        return {}
    found, verdict = compared
    references = p.table.derive(STACK, box=p.plan.box, pixel_size=pixel_size)
    references.set(AGREEMENT, stack.values[:, 0])
    fits, holding = judgement.judge(
        job, references, stack.values[:, 1:], model, sample, verdict.best == GIVEN and not found.absent
    )
    state = other_state.ask(settings, job, p, lowpass, references, holding)
    references.set_provenance(**_provenance(settings, p, lowpass, verdict))
    _write_maps(settings, job, p, lowpass)
    references.write(job.output(TABLE))
    figures.gallery_page(
        job.output('gallery.html'), 'References', 'What each particle would look like without noise if the map were '
        'the truth. A particle that does not look like its reference is junk, or its angles are wrong.',
        {'particle': p.table, 'reference': references}, aligned=True,
    )  # fmt: skip
    return {
        'particles': count,
        'processes': team.size,
        'per_map': np.bincount(p.map_of_row, minlength=len(p.maps)).tolist(),
        'box': p.plan.box,
        'pixel_size': pixel_size,
        'ctf': p.wanted.value,
        'particles_ctf': p.held.value,
        'map_resampled_box': p.plan.resampled,
        'map_resampled_pixel_size': p.plan.pixel_size,
        'half_map_resolution': p.resolution,
        'lowpass': lowpass,
        'correlation': found.as_dict(),
        'pose_fit': fits,
        'other_state': state,
        'alternatives': verdict.as_dict(),
    }


def _write_maps(settings: Project, job: Job, p: ProjectInputs, lowpass: float | None) -> None:
    """The maps as they were projected, for a guided network: filtered and masked, with their own pixels."""
    for name, volume in zip(_named_maps(settings), p.maps):
        maps.write_map(
            job.output(maps.beside(name)), prepared_map(settings, volume, p.mask, lowpass), volume.pixel_size
        )


def _named_maps(settings: Project) -> dict[str, str]:
    """{name: path} of the maps in their order: half1, half2, class3, volume."""
    classes = {f'class{number}': path for number, path in class_maps.maps(settings).items()}
    named = {'half1': settings.half1, 'half2': settings.half2, **classes, 'volume': settings.volume}
    return {name: path for name, path in named.items() if path}


def _provenance(settings: Project, p: ProjectInputs, lowpass: float | None, verdict: Verdict) -> dict[str, object]:
    """What was done, for the output table."""
    files: dict[str, object] = {}
    for name, path in _named_maps(settings).items():
        files[name] = Path(path).name
        files[f'{name}_sha256'] = file_digest(path)
    return {
        'verb': 'project',
        'ctf': p.wanted,
        **files,
        'maps': ', '.join(_named_maps(settings)),
        'volume_pixel_size': p.maps[0].pixel_size,
        'half_maps': 'yes' if settings.half1 else 'no',
        'half_map_resolution': f'{p.resolution:.3f}' if p.resolution else 'none',
        'mask': Path(settings.mask).name if settings.mask else 'none',
        'lowpass': lowpass or 'none',
        'interpolation': settings.interpolation,
        'inverted': 'yes' if settings.invert else 'no',
        'pair_check': verdict.best,
        'pair_check_certain': 'yes' if verdict.certain else 'no',
    }
