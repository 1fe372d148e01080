"""``project`` after a 3D classification: each particle is seen from the map of its class."""

import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.tests.particles_of_blobs import BOX, PIXEL, blobs_of, project, write_map, write_particles


@pytest.fixture(scope='module')
def blobs():
    """A dozen blobs, in A."""
    return blobs_of(12, 0.2, 3, 1.5)


@pytest.fixture
def volume(tmp_path, blobs):
    return write_map(tmp_path / 'map.mrc', blobs.volume(BOX, PIXEL))


def test_each_particle_is_seen_from_the_map_of_its_class(tmp_path, blobs, volume):
    """Two maps, classes 2 and 5: every row is that of a run with its own map alone."""
    other = write_map(tmp_path / 'other.mrc', np.roll(blobs.volume(BOX, PIXEL), 3, axis=2)[:, ::-1])
    numbers = np.random.default_rng(1).choice((2, 5), 24)
    particles = write_particles(tmp_path, blobs, rlnClassNumber=numbers)
    alone = []
    for path in (volume, other):
        (tmp_path / path.stem).mkdir()
        alone.append(project(tmp_path / path.stem, particles, path, '--ctf', 'none')[2])
    out = tmp_path / 'classes'
    options = ('--class-volume', f'5={other}', '--class-volume', f'2={volume}', '--ctf', 'none', '--threads', '1')
    assert main(['project', '--particles', str(particles), '--output', str(out), *options]) == 0
    table = ParticleTable.read(out / 'references.star')
    images = table.images().read(np.arange(24))
    expected = np.where((numbers == 2)[:, None, None], *alone)
    np.testing.assert_allclose(images, expected, atol=1e-5 * np.abs(expected).max())
    assert not np.allclose(*alone, atol=0.1 * np.abs(expected).max())
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['per_map'] == [(numbers == 5).sum(), (numbers == 2).sum()]
    assert (table.provenance['class5'], table.provenance['class2']) == ('other.mrc', 'map.mrc')


@pytest.mark.parametrize(
    ('columns', 'options', 'said'),
    [
        ({}, ['--class-volume', '1={map}'], 'without class'),
        ({'rlnClassNumber': np.arange(24) % 3 + 1}, ['--class-volume', '{map}', '--class-volume', '{map}'], '8 part'),
        ({}, ['--class-volume', '1={map}', '--class-volume', '1={map}'], 'two maps'),
        ({}, ['--class-volume', '1={map}', '--half1', '{map}', '--half2', '{map}'], 'exclude'),
        ({}, ['--class-volume', '1=/nowhere.mrc'], 'does not exist'),
    ],
)
def test_classes_that_do_not_fit(tmp_path, blobs, volume, capsys, columns, options, said):
    particles = write_particles(tmp_path, blobs, **columns)
    options = [o.replace('{map}', str(volume)) for o in options]
    status = main(['project', '--particles', str(particles), '--output', str(tmp_path / 'out'), *options])
    assert status == 2
    assert said in capsys.readouterr().err
