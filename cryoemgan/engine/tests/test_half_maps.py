"""Half maps stay apart in ``project`` and set its resolution; the FSC is RELION's."""

import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics import frc
from cryoemgan.engine.tests.particles_of_blobs import BOX, PIXEL, blobs_of, project, write_map, write_particles

COUNT = 40


@pytest.fixture(scope='module')
def blobs():
    """Large enough to be told from its mirror image at 20 A."""
    return blobs_of(14, 0.36, 5, 1.4)


@pytest.fixture
def particles(tmp_path, blobs):
    return write_particles(tmp_path, blobs, count=COUNT, noise=2.0, rlnRandomSubset=1 + np.arange(COUNT) % 2)


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
    found = frc.shell_correlation(signal + a, signal + b)
    assert found[4:].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(frc.shell_correlation(a, a)[1:], 1)
    assert abs(frc.shell_correlation(a, b)[4:].mean()) < 0.03


def test_fsc_is_relions(shared_data):
    """RELION's postprocess-free curve: its refinement says 11.1 A within its mask, the unmasked maps a little less."""
    from cryoemgan.engine.imaging.maps import read_map

    halves = [read_map(shared_data / 'relion_refined' / f'run_half{i}_class001_unfil.mrc') for i in (1, 2)]
    found = frc.half_map_resolution(halves[0].data, halves[1].data, halves[0].pixel_size)
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
