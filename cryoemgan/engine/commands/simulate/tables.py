"""Tables of a simulated set: the same particles noisy, clean, spoilt and with estimated poses, sharing identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.table import ParticleTable
from ...imaging import simulation
from ...job import Job
from ...settings.simulate import Simulate
from ...shapes import AnyPath, CtfParameters, Floats

if TYPE_CHECKING:
    from . import SimulateInputs

CTF_COLUMNS = {
    'defocus_u': 'rlnDefocusU',
    'defocus_v': 'rlnDefocusV',
    'defocus_angle': 'rlnDefocusAngle',
    'phase_shift': 'rlnPhaseShift',
}
MICROSCOPE = {'voltage': 'rlnVoltage', 'cs': 'rlnSphericalAberration', 'amplitude_contrast': 'rlnAmplitudeContrast'}


def random_ctf(settings: Simulate, count: int, table: ParticleTable | None = None) -> CtfParameters:
    """CTF parameters as ParticleTable.ctf() gives them: from a range of defoci, or rows of a table."""
    rng = simulation.stream(settings.seed, simulation.CTF)
    if table is not None:
        rows = rng.integers(len(table), size=count)
        return {name: values[rows] for name, values in table.ctf().items()}
    defocus = rng.uniform(settings.defocus_min, settings.defocus_max, count)
    half = rng.uniform(0, settings.astigmatism, count)
    same = dict(
        voltage=settings.voltage,
        cs=settings.cs,
        amplitude_contrast=settings.amplitude_contrast,
        phase_shift=0.0,
        b_factor=0.0,
    )
    return {
        'defocus_u': defocus + half,
        'defocus_v': defocus - half,
        'defocus_angle': rng.uniform(0, 180, count),
        **{name: np.full(count, value) for name, value in same.items()},
    }


def write_tables(s: Simulate, job: Job, inputs: SimulateInputs, columns: dict[str, Any], sigma: Floats) -> None:
    """Write the tables of every stack, of its parts, and refined.star; one at a time, each is big in memory."""
    shared = _shared_columns(s, inputs, columns, sigma)
    optics = _optics(s, inputs, columns, shared)
    ends = np.cumsum(s.split, dtype=int)
    parts = {f'_{n}': slice(end - size, end) for n, (size, end) in enumerate(zip(s.split, ends), 1)}
    stacks = ['noisy', 'clean'] + ['references'] * (s.contaminate in ('references', 'both'))
    ctf = 'full' if 'ctf' in columns and s.clean_ctf == 'full' else 'none'
    for stack in stacks:
        provenance = {} if stack == 'noisy' else {'ctf': ctf}
        for suffix, rows in {'': slice(None), **parts}.items():
            _write(job.output(f'{stack}{suffix}.star'), stack, shared, optics, rows, provenance)
    if s.perturb_angles or s.perturb_shifts:
        estimated = {**shared, **_estimated_poses(s, columns, inputs.pixel_size)}
        _write(job.output('refined.star'), 'noisy', estimated, optics, slice(None), {})


def _write(
    path: AnyPath,
    stack: str,
    shared: Mapping[str, Any],
    optics: Mapping[str, Any],
    rows: slice,
    provenance: Mapping[str, str],
) -> None:
    """Write the table of some rows of a stack that lies beside it."""
    numbers = range(1, 1 + len(shared['rlnImageId']))[rows]
    columns = {'rlnImageName': [f'{i:06d}@{stack}.mrcs' for i in numbers]}
    if stack != 'noisy':
        columns['rlnImageOriginalName'] = [f'{i:06d}@noisy.mrcs' for i in numbers]
    columns |= {label: values[rows] for label, values in shared.items()}
    table = ParticleTable.create(path, columns, optics)
    # Last of all: a new block in gemmi's document moves the others.
    table.set_provenance(verb='simulate', **provenance)
    table.write(path)


def _optics(s: Simulate, inputs: SimulateInputs, columns: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The optics group; what differs from particle to particle goes to the shared columns."""
    optics = {
        'rlnOpticsGroup': [1],
        'rlnOpticsGroupName': ['opticsGroup1'],
        'rlnImagePixelSize': [inputs.pixel_size],
        'rlnImageSize': [s.box],
        'rlnImageDimensionality': [2],
    }
    for name, label in MICROSCOPE.items():
        values = columns['ctf'][name] if 'ctf' in columns else np.array([getattr(s, name)])
        if np.ptp(values):
            shared[label] = values
        else:
            optics[label] = values[:1]
    return optics


def _shared_columns(s: Simulate, inputs: SimulateInputs, columns: dict[str, Any], sigma: Floats) -> dict[str, Any]:
    total, (rot, tilt, psi) = len(sigma), columns['angles']
    shift = columns['shifts'] * inputs.pixel_size
    shared = {
        'rlnImageId': np.arange(1, total + 1),
        'rlnOpticsGroup': np.ones(total, int),
        'rlnAngleRot': rot,
        'rlnAngleTilt': tilt,
        'rlnAnglePsi': psi,
        'rlnOriginXAngst': shift[:, 0],
        'rlnOriginYAngst': shift[:, 1],
        'rlnClassNumber': columns['state'] + 1,
        'rlnRandomSubset': columns['half'],
        'cryoemganNoiseSd': sigma,
    }
    if 'ctf' in columns:
        shared |= {label: columns['ctf'][name] for name, label in CTF_COLUMNS.items()}
        if np.any(columns['ctf']['b_factor']):
            shared['rlnCtfBfactor'] = columns['ctf']['b_factor']
    if s.per_micrograph:
        shared |= simulation.micrographs(total, s.per_micrograph, s.box, s.seed)
    if s.contaminate != 'none':
        shared['cryoemganContaminated'] = columns['spoilt'].astype(int)
    return shared


def _estimated_poses(s: Simulate, columns: dict[str, Any], pixel_size: float) -> dict[str, Floats]:
    """Columns of poses as a refinement would leave them: wrong by a little."""
    wrong = simulation.perturbed_angles(columns['angles'], s.perturb_angles, s.seed)
    error = simulation.stream(s.seed, simulation.ERRORS, 1).normal(0, 1, columns['shifts'].shape)
    shift = (columns['shifts'] + s.perturb_shifts * error) * pixel_size
    labels = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst')
    return dict(zip(labels, (*wrong, *shift.T)))
