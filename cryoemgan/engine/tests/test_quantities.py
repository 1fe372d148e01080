"""Numbers of a table are possible, or refused by column, row, value and likely unit."""

import numpy as np
import pytest

from cryoemgan.engine.data.quantities import QUANTITIES, require_possible
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError

NAMES = [f'{i + 1:06d}@p.mrcs' for i in range(30)]


def table(**columns):
    """A table of 30 particles; a column of one number is an optics column."""
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': [5.0], 'rlnVoltage': [300.0]}
    optics |= {k: [v] for k, v in columns.items() if np.ndim(v) == 0}
    rows = {'rlnImageName': NAMES, **{k: v for k, v in columns.items() if np.ndim(v)}}
    return ParticleTable.create('p.star', rows, optics)


@pytest.mark.parametrize(
    ('label', 'value', 'unit'),
    [
        ('rlnVoltage', 300000.0, 'looks like V: write 300 kV'),
        ('rlnVoltage', 0.0, '1 to 5000 kV'),
        ('rlnAmplitudeContrast', 10.0, 'looks like percent: write 0.1'),
        ('rlnSphericalAberration', 2700.0, 'looks like um: write 2.7 mm'),
        ('rlnImagePixelSize', 5e6, '0.05 to 100 A'),
        ('rlnImagePixelSize', 150.0, 'looks like pm: write 1.5 A'),
        ('rlnDefocusU', 1.5e9, '-1e+06 to 1e+06 A'),
        ('rlnCtfBfactor', -1e5, '-300 to 100000'),
        ('rlnMagnification', 0.0, 'is not a possible magnification'),
    ],
)
def test_what_cannot_be_is_named_with_its_likely_unit(label, value, unit):
    """Of the optics group or of a row."""
    with pytest.raises(InputError, match=f'_{label}, optics row 1: ') as refused:
        table(**{label: value}).floats(label)
    assert unit in str(refused.value)
    good = sum(QUANTITIES[label].usual) / 2 if np.isfinite(QUANTITIES[label].usual[0]) else 50.0
    values = np.full(30, good)
    values[6] = value
    with pytest.raises(InputError, match=f'_{label}, row 7: .*1 of 30 rows'):
        table(**{label: values}).floats(label)


@pytest.mark.parametrize(('factor', 'unit'), [(1e-4, 'um'), (1e-10, 'm')])
def test_a_column_of_defocus_in_another_unit(factor, unit):
    """Single small values are possible (a phase plate in focus), a whole column is not."""
    values = np.linspace(9000, 21000, 30)
    with pytest.raises(InputError, match=f'row 30: .*looks like {unit}: write 21000 A'):
        require_possible('p.star', 'rlnDefocusU', values * factor)
    values[3] = 1.5
    require_possible('p.star', 'rlnDefocusU', values)
    require_possible('p.star', 'rlnDefocusU', np.zeros(30))


def test_angles_in_radians_are_refused():
    """Degrees of few or of tilted particles are not."""
    rng = np.random.default_rng(1)
    degrees = rng.uniform(-180, 180, (3, 30))
    names = 'rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'
    table(**dict(zip(names, degrees))).rotations()
    with pytest.raises(InputError, match='look like radians'):
        table(**dict(zip(names, np.deg2rad(degrees)))).rotations()


def test_a_pixel_size_from_detector_and_magnification_is_checked():
    """14 um at a magnification of 59 is 2373 A."""
    columns = {'rlnMagnification': np.full(30, 59.0), 'rlnDetectorPixelSize': np.full(30, 14.0)}
    with pytest.raises(InputError, match='row 1: 2372.88.* is not a possible pixel size'):
        _ = ParticleTable.create('p.star', {'rlnImageName': NAMES, **columns}).pixel_sizes


def test_counts_are_whole():
    """A class of 1.5 was class 1 without a word."""
    with pytest.raises(InputError, match='row 2: 1.5 is not a possible number .a whole number'):
        require_possible('p.star', 'rlnClassNumber', [1, 1.5])
