"""Mistakes planted in tables and maps are named by ``project``, and training refuses the pairs."""

import numpy as np
import pytest

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import euler_to_matrix, matrix_to_euler
from cryoemgan.engine.job import Job
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.tests.blobs import Blobs
from cryoemgan.engine.tests.particles_of_blobs import BOX, PIXEL, blobs_of, project, write_map, write_particles
from cryoemgan.engine.training.pairs import AGREEMENT, open_pairs, outlying
from cryoemgan.engine.trust.geometry_hypotheses import MIRROR
from cryoemgan.engine.trust.pose_fit import PairModel

COUNT = 40
ANGLES = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')


@pytest.fixture(scope='module')
def blobs():
    """Large enough to be told from its mirror image at 20 A."""
    return blobs_of(14, 0.36, 5, 1.4)


@pytest.fixture
def particles(tmp_path, blobs):
    return write_particles(tmp_path, blobs, count=COUNT, noise=2.0, rlnRandomSubset=1 + np.arange(COUNT) % 2)


def edited(path, change):
    table = ParticleTable.read(path)
    change(table)
    table.write(path)
    return path


def transposed(table):
    angles = matrix_to_euler(euler_to_matrix(*(table.floats(a) for a in ANGLES)).transpose(0, 2, 1))
    for label, values in zip(ANGLES, angles):
        table.set(label, np.asarray(values))


def opposite_shifts(table):
    for label in ('rlnOriginXAngst', 'rlnOriginYAngst'):
        table.set(label, -table.floats(label))


@pytest.mark.parametrize(
    ('change', 'volume', 'options', 'named'),
    [
        (None, None, (), 'given'),
        (transposed, None, (), 'the inverse rotations (another convention of angles)'),
        (opposite_shifts, None, (), 'shifts of the opposite sign'),
        (None, 'mirrored', (), 'the mirrored map (the other hand)'),
        (None, None, ('--volume-pixel-size', PIXEL / 1.1), 'a pixel size of the map 10 % larger'),
        (None, None, ('--volume-pixel-size', PIXEL / 0.95), 'a pixel size of the map 5 % smaller'),
        (None, None, ('--invert',), 'inverted contrast'),
        (transposed, None, ('--invert',), 'inverted contrast and the inverse rotations (another convention of angles)'),
    ],
)
def test_the_mistake_is_named_and_training_refuses(tmp_path, blobs, particles, change, volume, options, named):
    seen = blobs if volume is None else Blobs(blobs.centres @ MIRROR, blobs.sigmas, blobs.heights)
    path = write_map(tmp_path / 'map.mrc', seen.volume(BOX, PIXEL))
    if change:
        edited(particles, change)
    _, summary, _ = project(tmp_path, particles, path, '--ctf', 'none', *options)
    assert summary['alternatives']['best'] == named
    references = tmp_path / 'out' / 'references.star'
    provenance = ParticleTable.read(references).provenance
    assert provenance['pair_check'] == named
    settings = Train(particles=str(particles), references=str(references), output='x', threads=1)
    if named == 'given':
        assert summary['warnings'] == []
        assert len(open_pairs(settings, Job('train', settings))) == COUNT
        return
    assert summary['warnings']
    if named.startswith('a pixel size'):
        # Explains a little more than the table: likely, not certain.
        assert provenance['pair_check_certain'] == 'no'
        job = Job('train', settings)
        open_pairs(settings, job)
        assert 'fit their particles better with' in ' '.join(job.warnings)
        return
    with pytest.raises(InputError, match='fit their particles better with'):
        open_pairs(settings, Job('train', settings))


def test_a_map_with_the_box_of_the_particles_and_other_pixels(tmp_path, blobs, capsys, monkeypatch):
    """Far beyond the few percent that are tried of any map: named, and the particles are not called noisy for it."""
    particles = write_particles(tmp_path, blobs, count=60, noise=4.0)
    monkeypatch.setattr(PairModel, 'power_against_nothing', lambda *_: 0.1)
    path = write_map(tmp_path / 'map.mrc', blobs.volume(BOX, PIXEL), 0.7 * PIXEL)
    _, summary, _ = project(tmp_path, particles, path, '--ctf', 'none')
    assert summary['alternatives']['best'] == 'a map of 3 A/px, like the particles, whose box it has'
    said = capsys.readouterr().out
    assert 'The particles agree better with a map of 3 A/px' in said
    assert 'too noisy' not in said
    assert 'do not belong together as they are (see above)' in summary['pose_fit']


def test_wrong_ctf_is_named(tmp_path, blobs):
    """Particles without CTF whose table has one: references with CTF are the wrong ones."""
    ctf = {'rlnDefocusU': np.linspace(1.5e4, 3e4, COUNT), 'rlnDefocusV': np.linspace(1.5e4, 3e4, COUNT),
           'rlnDefocusAngle': np.zeros(COUNT), 'rlnVoltage': np.full(COUNT, 300.0),
           'rlnSphericalAberration': np.full(COUNT, 2.7), 'rlnAmplitudeContrast': np.full(COUNT, 0.1)}  # fmt: skip
    particles = write_particles(tmp_path, blobs, count=COUNT, **ctf)
    path = write_map(tmp_path / 'map.mrc', blobs.volume(BOX, PIXEL))
    assert project(tmp_path, particles, path, '--ctf', 'full')[1]['alternatives']['best'] == 'no CTF'


def test_column_of_agreement_finds_the_misaligned(tmp_path, blobs, particles):
    bad = [4, 17]

    def spoil(table):
        tilt, psi = table.floats('rlnAngleTilt'), table.floats('rlnAnglePsi')
        tilt[bad], psi[bad] = (tilt[bad] + 90) % 180, psi[bad] + 120
        table.set('rlnAngleTilt', tilt)
        table.set('rlnAnglePsi', psi)

    edited(particles, spoil)
    project(tmp_path, particles, write_map(tmp_path / 'map.mrc', blobs.volume(BOX, PIXEL)), '--ctf', 'none')
    found = ParticleTable.read(tmp_path / 'out' / 'references.star').floats(AGREEMENT)
    assert set(np.argsort(found)[:2]) == set(bad)
    np.testing.assert_array_equal(np.flatnonzero(outlying(found, 4.0)), bad)


def test_pose_fit_finds_the_misaligned_where_particles_are_enough(tmp_path, blobs):
    many, bad = write_particles(tmp_path, blobs, count=3 * COUNT, noise=2.0), [4, 17, 60]

    def spoil(table):
        tilt, psi = table.floats('rlnAngleTilt'), table.floats('rlnAnglePsi')
        tilt[bad], psi[bad] = (tilt[bad] + 90) % 180, psi[bad] + 120
        table.set('rlnAngleTilt', tilt)
        table.set('rlnAnglePsi', psi)

    edited(many, spoil)
    path = write_map(tmp_path / 'map.mrc', blobs.volume(BOX, PIXEL))
    summary = project(tmp_path, many, path, '--ctf', 'none')[1]
    table = ParticleTable.read(tmp_path / 'out' / 'references.star')
    found = table.floats('cryoemganPoseFit')
    assert set(np.argsort(found)[:3]) == set(bad)
    assert (found < 0.05).mean() < 0.15
    assert (np.asarray(table.strings('cryoemganReason'))[bad] != 'fits').all()
    assert 'cryoemganPoseFit' in summary['pose_fit']


# Half maps
