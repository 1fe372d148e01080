"""Where the bank of a guided network comes from: given maps, the maps that `project` left, or the references."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ..data.half_sets import HALF
from ..data.image_state import CtfState, require_known
from ..data.optics import stretched
from ..errors import InputError
from ..imaging import maps, resample
from ..imaging.forward_model import ForwardModel
from ..imaging.steerable import FourierPlane
from ..job import Job
from ..metrics import pair_agreement
from ..settings.train import Train
from ..shapes import Floats, Images, Rows, Shifts, Tensor
from .library import TemplateLibrary
from .map_prior import Context

# Of training, which stands above: its ReferencePairs, and its FoldTask.
Pairs: TypeAlias = Any
Task: TypeAlias = Any
# As of `bank_of`.
Library: TypeAlias = tuple[TemplateLibrary, Rows | None, str]

SAMPLE = 32
# Part of the box by which particles that were never aligned are off centre at most.
PICKED = 0.04
# References are projections of the maps that project left; anything else is another map, or other angles.
LEAST_CORRELATION = 0.8


def bank_of(settings: Train, pairs: Pairs, member: Task, job: Job, device: torch.device) -> Library:
    """(TemplateLibrary, template of each pair int64[len(pairs)] or None, where it comes from) for a FoldTask."""
    found, size = maps_of(settings, pairs, member.name, job), settings.bank_size
    if found:
        names = ', '.join(v.path.name for v in found)
        return _of_maps(found, size, pairs, member.training, device), None, names
    return *_of_references(size, pairs, member.training, device), 'the references in training'


def shift_reach(settings: Train, pairs: Pairs, training: Rows) -> tuple[float, float]:
    """(how far from the centre particles are searched for, px, s.d. of their distance in x or y): from the table, or
    as the user says."""
    shifts = Context.of(pairs.particles, pairs.rows[training], pairs.box).shifts
    reach, sd = settings.shift_range, None
    if shifts is not None and np.abs(shifts).max() > 1e-3:
        sd = float(shifts.std())
        if reach is None:
            reach = min(6.0, float(np.ceil(np.quantile(np.hypot(*shifts.T), 0.98))))
    if reach is None and shifts is None:
        # As picked: nobody has centred them.
        reach = PICKED * pairs.box
    reach = reach or 0.0
    return reach, sd or reach / 2


def _of_maps(
    found: Sequence[maps.Map], size: int, pairs: Pairs, training: Rows, device: torch.device
) -> TemplateLibrary:
    """TemplateLibrary of projections of maps, in the grey scale of the references."""
    volumes, residual = [], 1.0
    for volume in found:
        plan = resample.plan_resampling(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)
        volumes.append(torch.from_numpy(plan.apply(volume.data) * (plan.pixel_size / volume.pixel_size)))
        residual = plan.residual
    library = TemplateLibrary.from_maps(volumes, size, device, scale=residual, grey=_grey(found, pairs, training))
    library.classes = class_numbers([volume.path.stem for volume in found])
    return library


def class_numbers(names: Sequence[str]) -> list[int]:
    """Number of each map's class, by its name (``map_class3``, ``run_it025_class003``); 0 of the map of particles
    without class (``map_volume``); 1, 2, ... where names do not tell."""
    named = [re.search(r'class(\d+)$', name) for name in names]
    numbers = [int(found[1]) if found else 0 for found in named]
    return numbers if len(set(numbers)) == len(names) > 1 else list(range(1, len(names) + 1))


def _of_references(size: int, pairs: Pairs, training: Rows, device: torch.device) -> tuple[TemplateLibrary, Rows]:
    """(TemplateLibrary of references, template of each pair)."""
    chosen = training[np.linspace(0, len(training) - 1, min(len(training), size)).round().astype(int)]
    own = np.full(len(pairs), -1)
    own[chosen] = np.arange(len(chosen))
    context = Context.of(pairs.particles, pairs.rows[chosen], pairs.box)
    shifts = context.shifts if context.shifts is not None and np.abs(context.shifts).max() > 1e-3 else None

    def read(rows: Tensor) -> Tensor:
        images = torch.from_numpy(references(pairs, chosen[rows.numpy()]))
        return (images if shifts is None else _centred(images, shifts[rows.numpy()])).to(device)

    matrices = None if context.matrices is None else torch.from_numpy(context.matrices)
    return TemplateLibrary.made(read, len(chosen), matrices), own


def references(pairs: Pairs, positions: Rows) -> Images:
    """References float32[n, N, N] in their own grey, contaminated ones as they are."""
    s = pairs.scale
    _, clean = pairs.assemble(tuple(torch.from_numpy(x) for x in pairs.gather(positions)), positions)
    return ((clean[:, 0].numpy() - s.unit_offset) / s.unit_scale).astype(np.float32)


def _grey(found: Sequence[maps.Map], pairs: Pairs, training: Rows) -> Callable[[Tensor], Tensor] | None:
    """Function that takes projections float32[n, N, N] of the maps to the grey scale of the references."""
    if not pairs.references.has('rlnAngleRot'):
        return None
    chosen = training[np.linspace(0, len(training) - 1, min(len(training), SAMPLE)).round().astype(int)]
    images = pairs.references.images().read(pairs.reference_rows[chosen])
    # Medians: a part of the references may be wrong.
    if max(np.median(np.abs(images.min((1, 2)))), np.median(np.abs(images.max((1, 2)) - 1))) < 1e-4:
        return to_unit
    projected, agreed = _projected(found, pairs, chosen)
    x, y = projected[agreed.argmax(0), np.arange(len(chosen))], references(pairs, chosen)
    slope, intercept = np.median([np.polyfit(a.ravel(), b.ravel(), 1) for a, b in zip(x, y)], axis=0)
    if require_known(pairs.references, 'a guided network') is not CtfState.NONE:
        # The CTF of the references takes an offset away.
        intercept = 0.0
    return lambda images: slope * images + intercept


def to_unit(images: Tensor) -> Tensor:
    """Each image scaled to [0, 1] on its own, as references after the paper are."""
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-30)


def maps_of(settings: Train, pairs: Pairs, member: str | None, job: Job) -> list[maps.Map]:
    """Maps for the bank of a member; empty: take the references. InputError when neither serves.

    FoldTask half1 gets half map 1 only; any other all half maps or classes; None (a check) all.
    """
    names = list(settings.volume) or _left_by_project(pairs, member)
    found = [maps.read_map(job.input(path)) for path in names]
    for volume in found:
        resample.plan_resampling(volume.box, volume.pixel_size, pairs.box, pairs.pixel_size)
    state = require_known(pairs.references, 'a guided network')
    if not found and state is not CtfState.NONE and pairs.particles.has('rlnDefocusU'):
        raise InputError(
            f'--network guided: the references {pairs.references.path} contain the CTF ({state}), so that they cannot '
            'stand for another particle, and the maps they were projected from are not beside them: project again, or '
            'give the map with --volume'
        )
    if found and not settings.volume and member is None:
        _check_maps(found, pairs)
    return found


def _left_by_project(pairs: Pairs, member: str | None) -> list[Path]:
    """Paths of the maps that project left beside the stack of references; empty when it did not."""
    wanted = [name for name in pairs.references.provenance.get('maps', '').split(', ') if name]
    half = HALF.fullmatch(member or '')
    if half and f'half{half[1]}' in wanted:
        wanted = [f'half{half[1]}']
    elif 'half1' in wanted:
        # The third map is that of particles without half set.
        wanted = ['half1', 'half2']
    folder = pairs.references.stack_folder()
    paths = [folder / maps.beside(name) for name in wanted]
    return paths if all(path.is_file() for path in paths) else []


def _check_maps(found: Sequence[maps.Map], pairs: Pairs) -> None:
    """InputError unless references are projections of one of the maps at the angles of the table."""
    if not pairs.references.has('rlnAngleRot'):
        return
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), SAMPLE)).round().astype(int)
    agreed = np.median(_projected(found, pairs, chosen)[1].max(0))
    if agreed < LEAST_CORRELATION:
        raise InputError(
            f'{found[0].path}: projections of this map correlate with the references {pairs.references.path} only by '
            f'{agreed:.2f}: the folder was mixed up; project again, or give the map with --volume'
        )


def _projected(found: Sequence[maps.Map], pairs: Pairs, chosen: Rows) -> tuple[Images, Floats]:
    """Each map projected like each of the references float32[maps, n, N, N], and its correlation with it [maps, n]."""
    rows, table = pairs.reference_rows[chosen], pairs.references
    context, truth = Context.of(table, rows, pairs.box), pairs.raw(chosen)[1]
    assert context.matrices is not None
    stretch = table.magnification()
    stretch = None if stretch is None else stretch[rows]
    matrices, state = stretched(context.matrices, stretch), require_known(table, 'a guided network')
    model = ForwardModel([v.data for v in found], [v.pixel_size for v in found], pairs.box, pairs.pixel_size)
    images, agreed = [], []
    for k in range(len(found)):
        which = np.full(len(chosen), k)
        images.append(model.images(matrices, context.shifts, which, ctf=context.ctf, mode=state).numpy())
        agreed.append(pair_agreement.correlations(images[-1], truth, pairs.pixel_size))
    return np.stack(images), np.stack(agreed)


def _centred(images: Tensor, shifts: Shifts) -> Tensor:
    plane = FourierPlane(images.shape[-1])
    moved = plane.vectors(images) * plane.ramps(torch.from_numpy(shifts).float())
    return plane.images(moved)
