"""Simulated sets measured from their files: SNR, noise, clipping, geometry, identity."""

import json
import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
from scipy import fft

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import euler_to_matrix
from cryoemgan.engine.imaging import simulation
from cryoemgan.engine.imaging.ctf import ctf_rfft
from cryoemgan.engine.imaging.density import density, read_models
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.imaging.rings import ring_index, ring_sizes
from cryoemgan.engine.settings import Simulate


def simulate(folder, **options):
    """Run the verb; (folder, summary)."""
    settings = Simulate(output=str(folder), **{'phantom': 2, 'box': 32, 'count': 40, **options})
    settings.validate()
    run('simulate', settings)
    return folder, json.loads((folder / 'summary.json').read_text())


def images(folder, name):
    table = ParticleTable.read(folder / f'{name}.star')
    return table.images().read(np.arange(len(table))).astype(np.float64)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp('plain') / 'out', shift_sd=1.5, count=100)[0]


@pytest.mark.parametrize('snr', [0.05, 0.5])
@pytest.mark.parametrize('noise', ['white', 'coloured'])
def test_snr_of_the_set(tmp_path, snr, noise):
    folder, summary = simulate(tmp_path / 'out', snr=snr, noise=noise)
    clean, noisy = images(folder, 'clean'), images(folder, 'noisy')
    # 80 x 1024 pixels of noise: its variance is known to sqrt(2 / 81920) = 0.5 percent (more when coloured).
    assert clean.var((1, 2)).mean() / (noisy - clean).var() == pytest.approx(snr, rel=0.03)
    assert summary['noise_variance'] == pytest.approx((noisy - clean).var(), rel=1e-3)
    spread = (noisy - clean).std((1, 2))
    assert spread.std() / spread.mean() < 0.08


def test_snr_of_each_image(tmp_path):
    folder, _ = simulate(tmp_path / 'out', snr_per='image', snr=0.2)
    clean, noisy = images(folder, 'clean'), images(folder, 'noisy')
    snr = clean.var((1, 2)) / (noisy - clean).var((1, 2))
    assert snr == pytest.approx(0.2, rel=4 * np.sqrt(2 / 1024))
    assert np.corrcoef(clean.std((1, 2)), (noisy - clean).std((1, 2)))[0, 1] > 0.9


def test_noise_is_white_or_of_the_stated_spectrum():
    box, rows = 32, np.arange(600)
    ring, expected = ring_index(box).ravel(), simulation.noise_power(box)
    for coloured, truth in ((False, np.ones_like(expected)), (True, expected)):
        power = np.square(np.abs(fft.rfft2(simulation.unit_noise(rows, box, 1, coloured)))).mean(0) / box**2
        for r in range(1, box // 2):
            # Exponential powers: relative s.d. of a mean is 1 / sqrt(number); half the plane is independent.
            tolerance = 5 / np.sqrt(ring_sizes(box)[r] / 2 * len(rows))
            assert power.ravel()[ring == r].mean() == pytest.approx(truth.ravel()[ring == r].mean(), rel=tolerance)
    assert expected[0, 0] / expected[0, -1] == pytest.approx((0.25 + 1) / (0.25 + 1 / 26))


def test_nothing_is_clipped_unless_asked(tmp_path):
    folder, _ = simulate(tmp_path / 'free', scale='unit')
    clean, noisy = images(folder, 'clean'), images(folder, 'noisy')
    assert clean.min((1, 2)) == pytest.approx(0, abs=1e-6)
    assert clean.max((1, 2)) == pytest.approx(1, abs=1e-6)
    assert noisy.min() < -0.5
    assert abs((noisy - clean).mean()) < 5 * (noisy - clean).std() / np.sqrt(noisy.size)
    clipped = images(simulate(tmp_path / 'clipped', scale='unit', clip=True)[0], 'noisy')
    assert clipped == pytest.approx(noisy.clip(0, 1))
    # What the accident does: the background, 0, becomes positive on average.
    assert clipped[clean < 0.01].mean() > 0.1


def test_images_are_projections_at_the_angles_and_shifts_of_the_table(plain):
    table = ParticleTable.read(plain / 'clean.star')
    state = table.ints('rlnClassNumber')
    assert np.bincount(state)[1:].tolist() == [100, 100]
    got = images(plain, 'clean')
    for number, phantom in enumerate(claw(2), 1):
        here = np.flatnonzero(state == number)
        expected = phantom.project(32, table.rotations()[here], table.shifts()[here])
        assert got[here] == pytest.approx(expected, abs=2e-5 * expected.max())
    assert table.shifts().std(0) == pytest.approx(1.5, rel=0.25)


def test_orientations_are_uniform():
    rot, tilt, psi = simulation.random_angles(20000, seed=3)
    z = euler_to_matrix(rot, tilt, psi)[:, 2]
    # Second moments of a uniform direction are 1/3 with s.d. sqrt(4 / 45 / n).
    assert z.mean(0) == pytest.approx(0, abs=4 / np.sqrt(3 * 20000))
    assert (z**2).mean(0) == pytest.approx(1 / 3, abs=4 * np.sqrt(4 / 45 / 20000))
    assert np.std(psi) == pytest.approx(360 / np.sqrt(12), rel=0.02)


def test_one_side_only():
    matrices = euler_to_matrix(*simulation.random_angles(4000, seed=3, spread=8.0))
    mean = np.linalg.svd(matrices.mean(0))
    middle = mean[0] @ mean[2]
    angle = np.arccos(((matrices * middle).sum((1, 2)) - 1) / 2)
    # Three components of 8 degrees each: the angle has the mean square 3 * 64.
    assert np.sqrt(np.mean(np.rad2deg(angle) ** 2)) == pytest.approx(np.sqrt(3) * 8, rel=0.04)
    other = euler_to_matrix(*simulation.random_angles(1, seed=4, spread=8.0))[0]
    assert np.rad2deg(np.arccos(((other * middle).sum() - 1) / 2)) > 45


def test_same_seed_same_images_whatever_the_batch(plain, tmp_path):
    again, _ = simulate(tmp_path / 'again', shift_sd=1.5, count=100, batch_size=7)
    assert (again / 'noisy.mrcs').read_bytes()[1024:] == (plain / 'noisy.mrcs').read_bytes()[1024:]
    other, _ = simulate(tmp_path / 'other', shift_sd=1.5, count=100, seed=2)
    assert abs(np.corrcoef(images(other, 'noisy').ravel(), images(plain, 'noisy').ravel())[0, 1]) < 0.3


def test_noisy_and_clean_share_identity_and_halves_are_balanced(plain):
    noisy, clean = (ParticleTable.read(plain / f'{name}.star') for name in ('noisy', 'clean'))
    a, b = match(noisy, clean)
    assert a.tolist() == b.tolist() == list(range(200))
    assert noisy.names() == clean.names()
    assert np.bincount(noisy.half_sets())[1:].tolist() == [100, 100]
    assert clean.provenance['ctf'] == 'none'
    assert noisy.pixel_size == pytest.approx(4.0)


def test_parts_do_not_overlap(tmp_path):
    folder, _ = simulate(tmp_path / 'out', split=[50, 20])
    first, second = (ParticleTable.read(folder / f'noisy_{n}.star') for n in (1, 2))
    assert (len(first), len(second)) == (50, 20)
    assert not set(first.names()) & set(second.names())
    whole = images(folder, 'noisy')
    assert np.array_equal(images(folder, 'noisy_2'), whole[50:70])
    assert np.array_equal(images(folder, 'clean_1'), images(folder, 'clean')[:50])


def test_ctf_is_that_of_the_table(tmp_path):
    bare = images(simulate(tmp_path / 'bare')[0], 'clean')
    folder, _ = simulate(tmp_path / 'ctf', ctf=True)
    table = ParticleTable.read(folder / 'clean.star')
    defocus = table.ctf()
    assert 9800 <= defocus['defocus_v'].min() <= defocus['defocus_u'].max() <= 25200
    expected = fft.irfft2(fft.rfft2(bare) * ctf_rfft(32, 4.0, defocus).numpy(), s=(32, 32))
    assert images(folder, 'clean') == pytest.approx(expected, abs=1e-4 * bare.max())
    assert table.provenance['ctf'] == 'full'
    # The same noisy images, but the truth without CTF.
    without, _ = simulate(tmp_path / 'without', ctf=True, clean_ctf='none')
    assert images(without, 'clean') == pytest.approx(bare, abs=1e-4 * bare.max())
    assert images(without, 'noisy') == pytest.approx(images(folder, 'noisy'), abs=1e-4 * bare.max())


def test_defoci_from_a_table(tmp_path, shared_data):
    source = ParticleTable.read(shared_data / 'relion_refined' / 'run_data.star')
    folder, _ = simulate(tmp_path / 'out', ctf_table=str(source.path))
    got = ParticleTable.read(folder / 'noisy.star').ctf()
    assert set(got['defocus_u'].round(1)) <= set(source.ctf()['defocus_u'].round(1))
    assert len(set(got['defocus_u'])) > 50
    assert set(got['voltage']) == {300.0}


def test_contamination_spoils_the_stated_share(tmp_path):
    options = dict(contaminate='both', contaminate_fraction=0.25, snr=5.0)
    folder, summary = simulate(tmp_path / 'out', **options)
    table = ParticleTable.read(folder / 'references.star')
    spoilt = table.ints('cryoemganContaminated').astype(bool)
    assert spoilt.sum() == summary['contaminated'] == 20
    clean, noisy, references = (images(folder, name) for name in ('clean', 'noisy', 'references'))
    correlation = np.array(
        [[np.corrcoef(c.ravel(), x.ravel())[0, 1] for x in pair] for c, *pair in zip(clean, noisy, references)]
    )
    assert np.all(np.abs(correlation[spoilt]) < 0.2)
    assert np.all(correlation[~spoilt, 0] > 0.8)
    assert np.array_equal(references[~spoilt], clean[~spoilt])
    assert references[spoilt].std((1, 2)) == pytest.approx(clean[spoilt].std((1, 2)), rel=0.15)
    uniform = images(simulate(tmp_path / 'uniform', contaminate_kind='uniform', **options)[0], 'references')[spoilt]
    # Kurtosis of a uniform distribution is 1.8, of a Gaussian 3.
    z = (uniform - uniform.mean((1, 2), keepdims=True)) / uniform.std((1, 2), keepdims=True)
    assert (z**4).mean() == pytest.approx(1.8, abs=0.05)


def test_refined_poses_are_wrong_by_the_stated_amount(tmp_path):
    folder, _ = simulate(tmp_path / 'out', count=500, box=16, perturb_angles=3.0, perturb_shifts=0.5, shift_sd=2.0)
    truth, refined = (ParticleTable.read(folder / f'{name}.star') for name in ('noisy', 'refined'))
    relative = refined.rotations() @ truth.rotations().swapaxes(1, 2)
    angle = np.degrees(np.arccos((np.trace(relative, axis1=1, axis2=2) - 1).clip(-2, 2) / 2))
    # Root mean square of three components of 3 degrees.
    assert np.sqrt((angle**2).mean()) == pytest.approx(3 * np.sqrt(3), rel=0.06)
    assert (refined.shifts() - truth.shifts()).std() == pytest.approx(0.5, rel=0.06)
    assert np.array_equal(images(folder, 'refined'), images(folder, 'noisy'))


def test_map_at_another_box_and_pixel_size(tmp_path, plain):
    """A map goes in with 32 px of 4 A, particles come out with 16 px of 8 A: the same molecule."""
    folder, summary = simulate(
        tmp_path / 'out', phantom=None, volume=[str(plain / 'volume_1.mrc')], box=16, pixel_size=8.0, count=10
    )
    table = ParticleTable.read(folder / 'clean.star')
    fine = claw(2)[0].project(32, table.rotations())
    # Fourier crop of a projection; sums run over half as many voxels.
    expected = (
        np.stack(
            [fft.irfft2(np.delete(fft.rfft2(np.fft.ifftshift(f))[:, :9], np.s_[8:24], 0), s=(16, 16)) for f in fine]
        )
        / 8
    )
    expected = np.fft.fftshift(expected, (1, 2))
    for a, b in zip(images(folder, 'clean'), expected):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
        assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=0.05)
    assert summary['pixel_size'] == 8.0


@pytest.mark.skipif(not shutil.which('relion_reconstruct'), reason='RELION is not installed')
def test_relion_reconstructs_the_molecule(tmp_path):
    """RELION reads the table and puts its images together again: angles, shifts and CTF are what they say."""
    folder, _ = simulate(tmp_path / 'out', phantom=1, count=500, ctf=True, shift_sd=1.5)
    command = 'relion_reconstruct --i clean.star --o map.mrc --ctf --angpix 4 --maxres 12'
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    found, truth = (mrcfile.read(folder / name) for name in ('map.mrc', 'volume_1.mrc'))
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.99
    assert np.corrcoef(found[::-1].ravel(), truth.ravel())[0, 1] < 0.8


def test_density_of_an_atomic_model_is_where_others_put_it(shared_data):
    """The map of the same model by another program, in RELION's convention."""
    model = read_models([shared_data / 'rnap_4xln' / 'rnap_4xln_clamp_open00.pdb.gz'])[0]
    with mrcfile.open(shared_data / 'relion_golden' / 'rnap_open00_64.mrc') as mrc:
        expected, pixel_size = mrc.data, float(mrc.voxel_size.x)
    found = density(model, 64, pixel_size, 14 * pixel_size**2)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    assert np.corrcoef(found[::-1].ravel(), expected.ravel())[0, 1] < 0.9


def test_model_from_a_file(tmp_path):
    """Two atoms, far apart: two peaks where they are, centred by the first model."""
    atom = 'ATOM  {:>5}  C   ALA A{:>4}    {:8.3f}{:8.3f}{:8.3f}  1.00 20.00           C\n'
    (tmp_path / 'two.pdb').write_text(atom.format(1, 1, 10, 0, 0) + atom.format(2, 2, 30, 8, -12) + 'END\n')
    folder, _ = simulate(tmp_path / 'out', phantom=None, model=[str(tmp_path / 'two.pdb')], pixel_size=2.0, count=2)
    volume = mrcfile.read(folder / 'volume_1.mrc')
    # Centre (20, 4, -6): atoms at (-10, -4, 6) and (10, 4, -6) A, that is (-5, -2, 3) and (5, 2, -3) px from 16.
    peaks = np.argwhere(volume > 0.9 * volume.max())
    assert sorted(peaks.tolist()) == [[13, 18, 21], [19, 14, 11]]
    with pytest.raises(InputError, match='reaches 12 A from its centre, the box only 8 A'):
        simulate(tmp_path / 'small', phantom=None, model=[str(tmp_path / 'two.pdb')], pixel_size=0.5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(phantom=None), 'give one of --model, --volume and --phantom'),
        (dict(volume=['setup.py']), 'not volume and phantom'),
        (dict(clip=True), 'needs --scale unit'),
        (dict(defocus_min=3e4), 'is larger than'),
        (dict(split=[70, 20]), 'parts of 90 particles in all, but only 80.*--count 45'),
        (dict(snr=0.0), '--snr: 0.0 must be more than 0'),
    ],
)
def test_refuses(tmp_path, options, message, monkeypatch):
    (tmp_path / 'setup.py').write_text('')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('text', ['', 'hello\n', 'HEADER    nothing\nEND\n'])
def test_refuses_files_without_atoms(tmp_path, text):
    (tmp_path / 'bad.pdb').write_text(text)
    with pytest.raises(InputError, match='bad.pdb'):
        simulate(tmp_path / 'out', phantom=None, model=[str(tmp_path / 'bad.pdb')], pixel_size=2.0)
