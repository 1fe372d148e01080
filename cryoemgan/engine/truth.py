"""Tables of a simulated set: the same particles noisy, clean, spoilt and with estimated poses, sharing identity."""

import numpy as np

from . import simulation
from .table import ParticleTable

CTF_COLUMNS = {
    'defocus_u': 'rlnDefocusU',
    'defocus_v': 'rlnDefocusV',
    'defocus_angle': 'rlnDefocusAngle',
    'phase_shift': 'rlnPhaseShift',
}
MICROSCOPE = {'voltage': 'rlnVoltage', 'cs': 'rlnSphericalAberration', 'amplitude_contrast': 'rlnAmplitudeContrast'}


def make_tables(s, job, prepared, columns, sigma):
    """{name: ParticleTable} of noisy, clean, and spoilt references and estimated poses if asked for."""
    total = len(sigma)
    shared = _shared_columns(s, prepared, columns, sigma)
    optics = {
        'rlnOpticsGroup': [1],
        'rlnOpticsGroupName': ['opticsGroup1'],
        'rlnImagePixelSize': [prepared.pixel_size],
        'rlnImageSize': [s.box],
        'rlnImageDimensionality': [2],
    }
    for name, label in MICROSCOPE.items():
        values = columns['ctf'][name] if 'ctf' in columns else np.array([getattr(s, name)])
        # One microscope belongs into the optics group; a table of defoci may hold several.
        (shared if np.ptp(values) else optics)[label] = values if np.ptp(values) else values[:1]
    names = ['noisy', 'clean'] + ['references'] * (s.contaminate in ('references', 'both'))
    original = [f'{i + 1:06d}@noisy.mrcs' for i in range(total)]
    tables = {}
    for name in names:
        own = {'rlnImageName': [f'{i + 1:06d}@{name}.mrcs' for i in range(total)]}
        if name != 'noisy':
            own['rlnImageOriginalName'] = original
        tables[name] = ParticleTable.create(job.output(f'{name}.star'), {**own, **shared}, optics)
    return tables


def _shared_columns(s, prepared, columns, sigma):
    total, (rot, tilt, psi) = len(sigma), columns['angles']
    shift = columns['shifts'] * prepared.pixel_size
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


def write_tables(s, job, tables, columns, prepared):
    """Write refined.star, the parts of every table and the tables."""
    if s.perturb_angles or s.perturb_shifts:
        refined = _part(tables['noisy'], range(len(tables['noisy'])))
        _perturb(s, refined, columns, prepared.pixel_size)
        _write(refined, job.output('refined.star'), {})
    ends = np.cumsum(s.split, dtype=int)
    for name, table in tables.items():
        ctf = 'full' if 'ctf' in columns and s.clean_ctf == 'full' else 'none'
        provenance = {} if name == 'noisy' else {'ctf': ctf}
        for number, (start, end) in enumerate(zip(ends - s.split, ends), 1):
            _write(_part(table, range(start, end)), job.output(f'{name}_{number}.star'), provenance)
        _write(table, job.output(f'{name}.star'), provenance)


def _perturb(s, table, columns, pixel_size):
    """Give a table estimated instead of true poses."""
    wrong = simulation.perturbed_angles(columns['angles'], s.perturb_angles, s.seed)
    error = simulation.stream(s.seed, simulation.ERRORS, 1).normal(0, 1, columns['shifts'].shape)
    shift = (columns['shifts'] + s.perturb_shifts * error) * pixel_size
    labels = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst')
    for label, values in zip(labels, (*wrong, *shift.T)):
        table.set(label, values)


def _write(table, path, provenance):
    # Last of all: a new block in gemmi's document moves the others.
    table.set_provenance(verb='simulate', **provenance)
    table.write(path)


def _part(table, rows):
    """Some rows of a table, its images where they were."""
    part = table.derive(table.path.name, rows=rows)
    names = part.strings('rlnImageOriginalName')
    part.set('rlnImageName', names)
    originals = table.strings('rlnImageOriginalName' if table.has('rlnImageOriginalName') else 'rlnImageName')
    part.set('rlnImageOriginalName', [originals[row] for row in rows])
    return part
