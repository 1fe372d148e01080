"""Particles of cryoSPARC: a .cs file (a NumPy structured array) with its passthrough, as columns of RELION, and back.

Nothing is unpickled. Poses are rotation vectors: A of p_img = A p_vol is the transpose of their matrix. Checked against
2,019 rows of a public file and RELION's angles of the same particles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..geometry import matrix_to_euler
from ..shapes import AnyPath, RowsLike
from .star_cells import value_of

SUFFIX = '.cs'
MAGIC = b'\x93NUMPY'
# Column of a table that keeps cryoSPARC's name of a particle.
UID = 'cryosparcUid'
ALIGNMENTS = ('alignments3D', 'alignments_class3D_0', 'alignments_class_0')
ABERRATIONS = ('ctf/trefoil_A', 'ctf/tetra_A')
# What is one for a whole optics group, and its label in RELION.
OPTICS = {
    'ctf/accel_kv': 'rlnVoltage',
    'ctf/cs_mm': 'rlnSphericalAberration',
    'ctf/amp_contrast': 'rlnAmplitudeContrast',
}
CTF = {'ctf/df1_A': ('rlnDefocusU', 1.0), 'ctf/df2_A': ('rlnDefocusV', 1.0),
       'ctf/df_angle_rad': ('rlnDefocusAngle', 180 / np.pi), 'ctf/phase_shift_rad': ('rlnPhaseShift', 180 / np.pi),
       'ctf/bfactor': ('rlnCtfBfactor', 1.0)}  # fmt: skip


@dataclass(frozen=True)
class CsFile:
    """columns, optics: {label: values}, as ParticleTable.create takes them. array: the rows of the file with those of
    its passthrough. notes: what is not applied."""

    columns: dict[str, Any]
    optics: dict[str, Any]
    array: np.ndarray
    notes: list[str]


def is_cs(path: AnyPath) -> bool:
    """Whether a file is a .cs file: by its name, or by how it begins."""
    if Path(path).suffix.lower() == SUFFIX:
        return True
    try:
        with open(path, 'rb') as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_cs(path: AnyPath, passthrough: AnyPath | None = None, pixel_size: float | None = None) -> CsFile:
    """Read a .cs file; passthrough: the file of its job's untouched fields, default the one beside it.

    Raises
    ------
    InputError
        No such file, not one of cryoSPARC, or a field is missing that nobody else knows.
    """
    path = Path(path)
    array = _load(path)
    other = Path(passthrough) if passthrough else _passthrough_beside(path)
    if other is not None:
        array = _with(array, _load(other), path, other)
    if 'blob/path' not in array.dtype.names:
        raise InputError(
            f'{path}: a file of cryoSPARC without blob/path, so that it does not say where the images are: give the '
            'passthrough file of the job, too (--passthrough)'
        )
    notes: list[str] = []
    columns: dict[str, Any] = {
        'rlnImageName': [f'{i + 1:06d}@{_text(p)}' for i, p in zip(array['blob/idx'], array['blob/path'])],
        UID: [str(u) for u in array['uid']],
    }
    size = _pixel_size(path, array, pixel_size)
    columns |= _alignment(array, size) | _ctf(array) | _place(array)
    columns['rlnOpticsGroup'], optics = _optics(array, size)
    notes += _notes(path, array)
    return CsFile(columns, optics, array, notes)


def write_cs(path: AnyPath, array: np.ndarray, table: Any) -> None:
    """Write the rows of a table beside it as a .cs file: the fields that its particles came with, ``uid`` kept, where
    their images are now, and this program's own columns as ``cryoemgan/...``.

    array: structured array, a row a particle of the table. table: ParticleTable.
    """
    index, stacks = table.places()
    own = {f'cryoemgan/{label.removeprefix("cryoemgan").lower()}': _values(table, label) for label in table.labels()
           if label.startswith('cryoemgan')}  # fmt: skip
    # Not the images themselves: a table may be written before they are where it says.
    box = table.ints('rlnImageSize')[0] if table.has('rlnImageSize') else table.box
    shape = np.full((len(array), 2), box, np.uint32)
    changed = {
        'blob/path': np.array([s.encode() for s in stacks]), 'blob/idx': index.astype(np.uint32), 'blob/shape': shape,
        'blob/psize_A': table.pixel_sizes.astype(np.float32), **own}  # fmt: skip
    kept = [name for name in array.dtype.names if name not in changed]
    fields = [(name, array.dtype[name].base, array.dtype[name].shape) for name in kept]
    fields += [(name, values.dtype, values.shape[1:]) for name, values in changed.items()]
    out = np.empty(len(array), fields)
    for name in kept:
        out[name] = array[name]
    for name, values in changed.items():
        out[name] = values
    with open(path, 'wb') as file:
        np.save(file, out, allow_pickle=False)


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as e:
        raise InputError(f'{path}: no such file') from e
    except (OSError, ValueError, EOFError, SyntaxError) as e:
        raise InputError(f'{path}: not a .cs file of cryoSPARC ({str(e)[:100]})') from e
    if not isinstance(array, np.ndarray) or array.dtype.names is None or 'uid' not in array.dtype.names:
        raise InputError(f'{path}: an array without the fields of cryoSPARC (uid, blob/path, ...)')
    if array.ndim != 1 or not len(array):
        raise InputError(f'{path}: no particles in it')
    if len(np.unique(array['uid'])) < len(array) and array['uid'].any():
        raise InputError(f'{path}: a uid stands in two rows')
    return array


def _passthrough_beside(path: Path) -> Path | None:
    """The passthrough file of the same job in the same folder, as cryoSPARC names them; None when not exactly one."""
    job = re.search(r'J\d+', path.name)
    beside = path.resolve().parent.glob(f'*{job[0]}_passthrough_particles*.cs') if job else ()
    found = [p for p in beside if p.name != path.name]
    return found[0] if len(found) == 1 else None


def _with(array: np.ndarray, more: np.ndarray, path: Path, other: Path) -> np.ndarray:
    """Rows of ``array`` with the fields that only ``more`` has, by uid."""
    order = np.argsort(more['uid'])
    at = np.searchsorted(more['uid'], array['uid'], sorter=order).clip(max=len(more) - 1)
    rows = order[at]
    missing = more['uid'][rows] != array['uid']
    if missing.any():
        raise InputError(
            f'{other}: {missing.sum()} of {len(array)} particles of {path} are not in it: the passthrough file of '
            'another job?'
        )
    new = [name for name in more.dtype.names if name not in array.dtype.names]
    kept = [(n, array.dtype[n].base, array.dtype[n].shape) for n in array.dtype.names]
    out = np.empty(len(array), kept + [(n, more.dtype[n].base, more.dtype[n].shape) for n in new])
    for name in array.dtype.names:
        out[name] = array[name]
    for name in new:
        out[name] = more[name][rows]
    return out


def _pixel_size(path: Path, array: np.ndarray, given: float | None) -> np.ndarray:
    """A/px of each image, float64 [n]."""
    if given:
        return np.full(len(array), float(given))
    for name in ('blob/psize_A', *(f'{a}/psize_A' for a in ALIGNMENTS)):
        if name in array.dtype.names:
            return array[name].astype(np.float64)
    raise InputError(
        f'{path}: a file of cryoSPARC without pixel size (blob/psize_A): give --pixel-size or --passthrough, or a STAR '
        'file made by csparc2star.py'
    )


def _alignment(array: np.ndarray, size: np.ndarray) -> dict[str, Any]:
    """Angles, shifts (A) and half sets of a 3D refinement; nothing where there was none."""
    prefix = next((p for p in ALIGNMENTS if f'{p}/pose' in array.dtype.names), None)
    if prefix is None:
        return {}
    matrices = Rotation.from_rotvec(array[f'{prefix}/pose'].astype(np.float64)).as_matrix().swapaxes(1, 2)
    found: dict[str, Any] = dict(zip(('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'), matrix_to_euler(matrices)))
    # In px of the refinement, which may have been binned.
    of_pixel = array[f'{prefix}/psize_A'].astype(np.float64) if f'{prefix}/psize_A' in array.dtype.names else size
    if f'{prefix}/shift' in array.dtype.names:
        shifts = array[f'{prefix}/shift'].astype(np.float64) * of_pixel[:, None]
        found |= {'rlnOriginXAngst': shifts[:, 0], 'rlnOriginYAngst': shifts[:, 1]}
    if f'{prefix}/split' in array.dtype.names:
        found['rlnRandomSubset'] = array[f'{prefix}/split'].astype(int) + 1
    return found


def _ctf(array: np.ndarray) -> dict[str, Any]:
    return {
        label: array[name].astype(np.float64) * factor
        for name, (label, factor) in CTF.items()
        if name in array.dtype.names and (label.startswith('rlnDefocus') or array[name].any())
    }


def _place(array: np.ndarray) -> dict[str, Any]:
    """Micrograph and position, px of the micrograph; nothing where they are unknown."""
    needed = (
        'location/micrograph_path',
        'location/center_x_frac',
        'location/center_y_frac',
        'location/micrograph_shape',
    )
    if any(name not in array.dtype.names for name in needed):
        return {}
    shape = array['location/micrograph_shape'].astype(np.float64)
    return {
        'rlnMicrographName': [_text(p).lstrip('>') for p in array['location/micrograph_path']],
        'rlnCoordinateX': np.round(array['location/center_x_frac'] * shape[:, 1]),
        'rlnCoordinateY': np.round(array['location/center_y_frac'] * shape[:, 0]),
    }


def _optics(array: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """(number of the optics group of each row, from 1; the groups)."""
    parts = {'rlnImagePixelSize': size}
    parts |= {label: array[name].astype(np.float64) for name, label in OPTICS.items() if name in array.dtype.names}
    if 'ctf/anisomag' in array.dtype.names and array['ctf/anisomag'].any():
        # cryoSPARC keeps the difference from 1.
        stretch = array['ctf/anisomag'].astype(np.float64) + np.array([1.0, 0.0, 0.0, 1.0])
        parts |= {f'rlnMagMat{i}{j}': stretch[:, 2 * i + j] for i in (0, 1) for j in (0, 1)}
    if 'ctf/tilt_A' in array.dtype.names and array['ctf/tilt_A'].any() and 'ctf/cs_mm' in array.dtype.names:
        # Cs times the tilt; to mrad.
        tilt = 1e3 * array['ctf/tilt_A'].astype(np.float64) / (1e7 * np.maximum(array['ctf/cs_mm'], 1e-3))[:, None]
        parts |= {'rlnBeamTiltX': tilt[:, 0], 'rlnBeamTiltY': tilt[:, 1]}
    values, group = np.unique(np.stack(list(parts.values()), 1), axis=0, return_inverse=True)
    optics: dict[str, Any] = {
        'rlnOpticsGroupName': [f'opticsGroup{i + 1}' for i in range(len(values))],
        'rlnOpticsGroup': np.arange(1, len(values) + 1),
        **{label: values[:, k] for k, label in enumerate(parts)},
        'rlnImageDimensionality': [2] * len(values),
    }
    if 'blob/shape' in array.dtype.names:
        optics['rlnImageSize'] = [int(array['blob/shape'][0].max())] * len(values)
    return group.ravel() + 1, optics


def _notes(path: Path, array: np.ndarray) -> list[str]:
    notes = []
    for name in ABERRATIONS:
        if name in array.dtype.names and array[name].any():
            notes.append(f'{path}: {name} is not applied: aberrations move the phase at high resolution')
    if 'blob/sign' in array.dtype.names:
        negative = array['blob/sign'] < 0
        if negative.any() != negative.all():
            raise InputError(
                f'{path}: blob/sign is -1 for {negative.sum()} of {len(array)} particles: images of both contrasts in '
                'one set; take one of the two'
            )
        if negative.all():
            notes.append(
                f'{path}: blob/sign is -1: cryoSPARC turns the contrast of these images when it reads them, and this '
                'program does not. Against a map of cryoSPARC give --invert to project'
            )
    return notes


def _values(table: Any, label: str) -> np.ndarray:
    """A column as an array of numbers where it holds numbers, else of text."""
    text = table.strings(label)
    try:
        return np.array(text, np.float32)
    except ValueError:
        return np.array([value_of(t).encode() for t in text])


def _text(value: bytes | str) -> str:
    return value.decode('utf-8', 'surrogateescape') if isinstance(value, bytes) else str(value)


def rows_of(array: np.ndarray | None, rows: RowsLike | None) -> np.ndarray | None:
    """Some rows of what a table came with, if it came from cryoSPARC."""
    return array if array is None or rows is None else array[np.asarray(rows)]
