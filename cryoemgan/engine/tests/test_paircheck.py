"""Planted mistakes in the pairs are named; half maps stay apart and set the resolution."""

import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import euler_to_matrix, matrix_to_euler
from cryoemgan.engine.job import Job
from cryoemgan.engine.metrics import fsc
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.tests.blobs import Blobs
from cryoemgan.engine.tests.test_project import BOX, PIXEL, project, write_map, write_particles
from cryoemgan.engine.training.pairs import AGREEMENT, open_pairs, outlying
from cryoemgan.engine.trust.geometry_hypotheses import MIRROR

COUNT = 40
ANGLES = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')


@pytest.fixture(scope='module')
def blobs():
    """Large enough to be told from its mirror image at 20 A."""
    found = Blobs.random(BOX, count=14, radius=0.36, seed=5)
    return Blobs(found.centres * PIXEL, found.sigmas * PIXEL * 1.4, found.heights)


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


# Half maps


def half_maps(folder, blobs, noise=0.3):
    rng = np.random.default_rng(1)
    clean = blobs.volume(BOX, PIXEL)
    noisy = [clean + noise * clean.std() * rng.normal(size=clean.shape) for _ in range(2)]
    return clean, noisy, [write_map(folder / f'half{i + 1}.mrc', v) for i, v in enumerate(noisy)]


def test_each_particle_is_projected_from_its_own_half_map(tmp_path, blobs, particles):
    _, _, paths = half_maps(tmp_path, blobs)
    out = tmp_path / 'halves'
    words = ['project', '--particles', particles, '--half1', paths[0], '--half2', paths[1], '--output', out,
             '--ctf', 'none', '--lowpass', '7', '--threads', '1', '--batch-size', '7']  # fmt: skip
    assert main([str(w) for w in words]) == 0
    table = ParticleTable.read(out / 'references.star')
    images = table.images().read(np.arange(COUNT))
    singles = []
    for i, path in enumerate(paths):
        (tmp_path / str(i)).mkdir()
        singles.append(project(tmp_path / str(i), particles, path, '--ctf', 'none', '--lowpass', 7)[2])
    halves = table.half_sets()
    for half in (1, 2):
        np.testing.assert_allclose(images[halves == half], singles[half - 1][halves == half], atol=1e-4)
    assert np.abs(singles[0] - singles[1]).max() > 0.1
    assert table.provenance['half_maps'] == 'yes'
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['lowpass'] == 7
    assert summary['half_map_resolution'] > 0


def test_half_maps_set_the_low_pass(tmp_path, blobs, particles):
    """References hold nothing beyond the FSC 0.143 of the half maps, which is that of the closed form."""
    _, _, paths = half_maps(tmp_path, blobs, noise=1.0)
    out = tmp_path / 'out'
    words = ['project', '--particles', particles, '--half1', paths[0], '--half2', paths[1], '--output', out,
             '--ctf', 'none', '--threads', '1']  # fmt: skip
    assert main([str(w) for w in words]) == 0
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['lowpass'] == summary['half_map_resolution'] > 2 * PIXEL
    table = ParticleTable.read(out / 'references.star')
    power = np.abs(np.fft.fft2(table.images().read(np.arange(COUNT)))) ** 2
    k = np.fft.fftfreq(BOX, PIXEL)
    beyond = np.hypot(k, k[:, None]) > 1.2 / summary['lowpass']
    assert power[:, beyond].sum() < 1e-3 * power.sum()


def test_fsc_of_known_signal_and_noise():
    """Equal white signal and noise in both halves: FSC = 1/2; identical maps 1; independent ones 0 within noise."""
    rng = np.random.default_rng(0)
    signal, a, b = rng.normal(size=(3, 24, 24, 24))
    found = fsc.shell_correlation(signal + a, signal + b)
    assert found[4:].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(fsc.shell_correlation(a, a)[1:], 1)
    assert abs(fsc.shell_correlation(a, b)[4:].mean()) < 0.03


def test_fsc_is_relions(shared_data):
    """RELION's postprocess-free curve: its refinement says 11.1 A within its mask, the unmasked maps a little less."""
    from cryoemgan.engine.imaging.maps import read_map

    halves = [read_map(shared_data / 'relion_refined' / f'run_half{i}_class001_unfil.mrc') for i in (1, 2)]
    found = fsc.half_map_resolution(halves[0].data, halves[1].data, halves[0].pixel_size)
    assert 11.0 < found < 12.5


@pytest.mark.parametrize(
    ('columns', 'options', 'why'),
    [
        ({'rlnRandomSubset': None}, ('half1', 'half2'), '_rlnRandomSubset'),
        ({'rlnRandomSubset': np.zeros(COUNT, int)}, ('half1', 'half2'), 'neither half set'),
        ({}, ('half1',), '--half2 is missing'),
        ({}, (), '--volume is missing'),
        ({}, ('half1', 'same'), 'same map'),
    ],
)
def test_wrong_half_maps(tmp_path, blobs, capsys, columns, options, why):
    particles = write_particles(
        tmp_path, blobs, **{'count': COUNT, 'rlnRandomSubset': 1 + np.arange(COUNT) % 2} | columns
    )
    _, _, paths = half_maps(tmp_path, blobs)
    paths = {'half1': paths[0], 'half2': paths[1], 'same': paths[0]}
    words = [x for o in options for x in ('--half2' if o == 'same' else f'--{o}', str(paths[o]))]
    assert (
        main(['project', '--particles', str(particles), '--output', str(tmp_path / 'o'), '--ctf', 'none', *words]) == 2
    )
    assert why in capsys.readouterr().err
    assert not (tmp_path / 'o').exists()
