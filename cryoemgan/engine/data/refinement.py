"""What a finished 3D refinement left in its folder: particles, half maps, map, mask, and the FSC that it measured.

The folder of a job of RELION (3.0 and later). Names in its files are relative to the folder of the project, which is
one of those above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from ..errors import InputError
from ..shapes import AnyPath, Floats

UNFINISHED = '_it'


@dataclass
class Refinement:
    """Files of a refinement; None for what was not found.

    Attributes
    ----------
    mask : of the refinement, else of a post-processing of it.
    resolution : as the refinement says it, A. fsc : (frequency in 1/A, correlation), float64 [k] each, or None.
    has_ctf, premultiplied : whether the particles have a CTF, and were multiplied by it (known once their table is
        read).
    said : sentences on what was found where.
    """

    particles: Path
    volume: Path | None = None
    half1: Path | None = None
    half2: Path | None = None
    mask: Path | None = None
    resolution: float | None = None
    fsc: tuple[Floats, Floats] | None = None
    has_ctf: bool = True
    premultiplied: bool = False
    said: list[str] = field(default_factory=list)


def find_refinement(place: AnyPath) -> Refinement:
    """The files of a refinement: place is the folder of its job, or its table of particles. InputError when it has no
    result."""
    table = _table(Path(place))
    if not table.name.endswith('_data.star'):
        raise InputError(
            f'{table}: the table of a refinement in RELION is called run_data.star, or ends with _data.star; for other '
            'particles give --particles and their maps'
        )
    prefix = table.name.removesuffix('_data.star')
    there: dict[str, Any] = {key: _there(table.parent, [f'{prefix}{end}' for end in ends]) for key, ends in {
        'volume': ['_class001.mrc'],
        'half1': ['_half1_class001_unfil.mrc'],
        'half2': ['_half2_class001_unfil.mrc'],
    }.items()}  # fmt: skip
    found = Refinement(table, **there)
    if not (found.volume or (found.half1 and found.half2)):
        raise InputError(
            f'{table.parent}: neither {prefix}_class001.mrc nor both half maps ({prefix}_half1_class001_unfil.mrc, '
            f'{prefix}_half2_class001_unfil.mrc) are there: give the map with --volume, or --half1 and --half2'
        )
    if not (found.half1 and found.half2):
        found.half1 = found.half2 = None
        found.said.append('no half maps: both half sets meet the same map, and nothing sets the low-pass')
    _read_model(table.with_name(f'{prefix}_model.star'), found)
    _find_mask(table.parent, prefix, found)
    return found


def _table(place: Path) -> Path:
    """The table of particles of the finished refinement."""
    if place.is_file():
        return place
    tables = sorted(place.glob('*_data.star'), key=lambda p: p.stat().st_mtime)
    finished = [t for t in tables if UNFINISHED not in t.name]
    if finished:
        return finished[-1]
    if tables:
        raise InputError(
            f'{place}: only tables of single iterations ({tables[-1].name}) and no run_data.star: the refinement has '
            f'not finished, or is a classification. To take that iteration, give --particles {tables[-1]} and its maps'
        )
    raise InputError(
        f'{place}: no run_data.star: give the folder of a finished 3D auto-refinement (such as Refine3D/job012), or '
        '--particles and the maps'
    )


def _there(folder: Path, names: list[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _block(path: Path, name: str) -> gemmi.cif.Block | None:
    """A block of a STAR file; None where there is no such file or block: what it says is welcome, not needed."""
    try:
        return gemmi.cif.read(str(path)).find_block(name)
    except (OSError, ValueError, RuntimeError):
        return None


def _value(block: gemmi.cif.Block | None, label: str) -> str | None:
    found = block.find_value(f'_{label}') if block is not None else None
    return gemmi.cif.as_string(found) if found else None


def _read_model(path: Path, found: Refinement) -> None:
    """Resolution and FSC, as the refinement itself measured them."""
    resolution = _value(_block(path, 'model_general'), 'rlnCurrentResolution')
    block = _block(path, 'model_class_1')
    columns = [block.find_loop(f'_{c}') for c in ('rlnResolution', 'rlnGoldStandardFsc')] if block is not None else []
    try:
        found.resolution = float(resolution) if resolution else None
        if columns and all(len(c) for c in columns):
            found.fsc = tuple(np.array(list(c), np.float64) for c in columns)  # type: ignore[assignment]
    except ValueError:
        found.said.append(f'{path.name} could not be read: what it says of the resolution is not shown')


def _find_mask(folder: Path, prefix: str, found: Refinement) -> None:
    """The solvent mask of the refinement, else of a post-processing job that took its half maps."""
    named = _value(_block(folder / f'{prefix}_optimiser.star', 'optimiser_general'), 'rlnSolventMaskName')
    named = named or _job_options(folder / 'job.star').get('fn_mask')
    found.mask = _in_project(folder, named)
    if found.mask:
        found.said.append(f'mask of the refinement: {found.mask}')
        return
    for job in sorted(folder.parent.parent.glob('PostProcess/job*/job.star'), reverse=True):
        options = _job_options(job)
        half = _in_project(job.parent, options.get('fn_in'))
        if half is not None and half.parent.resolve() == folder.resolve():
            found.mask = _in_project(job.parent, options.get('fn_mask'))
            if found.mask:
                found.said.append(f'mask of the post-processing {job.parent.name}: {found.mask}')
                return
    found.said.append('no mask was found: the solvent of the map stays in the references')


def _job_options(path: Path) -> dict[str, str]:
    """{option: value} of a job of RELION."""
    block = _block(path, 'joboptions_values')
    if block is None:
        return {}
    names, values = (block.find_loop(f'_rlnJobOption{c}') for c in ('Variable', 'Value'))
    return {gemmi.cif.as_string(n): gemmi.cif.as_string(v) for n, v in zip(names, values)}


def _in_project(folder: Path, name: str | None) -> Path | None:
    """A file that a job names: absolute, or relative to the project, which is a folder above."""
    if not name or name == 'None':
        return None
    bases = [Path(), folder, *folder.parents] if not folder.is_absolute() else [folder, *folder.parents]
    absolute = folder.resolve()
    return next((b / name for b in [*bases, *absolute.parents] if (b / name).is_file()), None)
