"""Projections against closed forms, RELION's images and xmippLib."""

from functools import cache

import numpy as np
import pytest
import torch

from cryoemgan.engine import geometry
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging import ctf, maps
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.tests.blobs import Blobs, relative_error

GOLDEN = {'rnap_closed': 'rnap_open00_64', 'rnap_open20': 'rnap_open20_64', 'emd1883': 'emd_1883_crop64'}
# Measured: linear 1.57e-2 at pad 2 and 0.99e-2 at 2.5, cubic 1.1e-4.
ERRORS = [('linear', 2.0, 0.017), ('linear', 2.5, 0.011), ('cubic', 2.0, 2e-4)]


@pytest.fixture(scope='module')
def views():
    return geometry.random_matrices(12, seed=1), np.random.default_rng(2).uniform(-3, 3, (12, 2))


@cache
def density(box):
    """(blobs, their volume): made once a box."""
    blobs = Blobs.random(box)
    return blobs, blobs.volume(box)


def correlations(images, others):
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(np.asarray(images), others)])


@pytest.mark.parametrize('box', [48, 49])
@pytest.mark.parametrize(('interpolation', 'pad', 'error'), ERRORS)
def test_projections_are_line_integrals_in_place_and_in_grey_value(box, interpolation, pad, error, views):
    blobs, volume = density(box)
    matrices, shifts = views
    images = FourierProjector(volume, pad, interpolation).project(matrices, shifts)
    assert images.shape == (12, box, box)
    assert relative_error(images, blobs.projections(box, matrices, shifts)) < error


def test_one_gaussian_has_its_exact_amplitude_in_every_pixel():
    blob = Blobs(np.array([[5.0, -3.0, 2.0]]), np.array([2.5]), np.array([0.7]))
    matrix = geometry.euler_to_matrix([30.0], 65.0, 110.0)
    image = FourierProjector(blob.volume(48), 2, 'cubic').project(matrix)
    truth = blob.projections(48, matrix)
    np.testing.assert_allclose(image.numpy(), truth, rtol=0, atol=2e-4 * truth.max())


@pytest.mark.parametrize('box', [48, 49])
def test_the_axes_see_sums_along_the_axes(box):
    volume = Blobs.random(box, count=30).volume(box)
    matrices = geometry.euler_to_matrix([0.0, 0.0], [0.0, 90.0], 0.0)
    along_z, along_x = FourierProjector(volume, 2, 'cubic').project(matrices)
    assert relative_error(along_z, volume.sum(0)) < 1e-3
    # rot 0, tilt 90: z_img = x, x_img = -z, y_img = y; -z of an even box is a flip and a roll.
    turned = np.roll(volume.sum(2).T[:, ::-1], 1 - box % 2, axis=1)
    assert relative_error(along_x, turned) < 1e-3


def test_whole_pixel_shift_is_a_roll():
    volume = Blobs.random(40, count=50).volume(40)
    matrices = geometry.random_matrices(3, seed=5)
    projector = FourierProjector(volume)
    still, moved = projector.project(matrices), projector.project(matrices, np.full((3, 2), (4.0, -7.0)))
    torch.testing.assert_close(moved, torch.roll(still, (7, -4), (1, 2)), rtol=0, atol=2e-5 * float(still.max()))


def test_two_pixel_sizes_show_the_same_particle(views):
    """The same density sampled finer and coarser than the map, values unchanged; no shift is lost on the way."""
    box, (matrices, shifts) = 64, views
    blobs = Blobs.random(box, radius=0.2)
    projector = FourierProjector(blobs.volume(box), 2, 'cubic')
    scale = np.linspace(0.9, 1.1, len(matrices))
    images = projector.project(matrices, shifts, scale)
    truth = np.concatenate(
        [blobs.projections(box, matrices[i : i + 1], shifts[i : i + 1], pixel_size=s) for i, s in enumerate(scale)]
    )
    assert relative_error(images, truth) < 2e-3
    assert relative_error(projector.project(matrices, shifts), truth) > 0.1


def test_threads_and_batches_do_not_change_the_result(views):
    matrices, shifts = views
    projector = FourierProjector(Blobs.random(32, count=20).volume(32))
    whole = projector.project(matrices, shifts)
    single = torch.cat([projector.project(matrices[i : i + 1], shifts[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize('bad', [np.zeros((4, 4)), np.zeros((4, 4, 5))])
def test_a_volume_must_be_a_cube(bad):
    with pytest.raises(ValueError, match='cube'):
        FourierProjector(bad)
    with pytest.raises(ValueError, match='interpolation'):
        FourierProjector(np.zeros((8, 8, 8)), interpolation='nearest')


# RELION's own images


def golden(folder, name, kind):
    """(table, images, matrices, shifts, projector's volume) of a set that relion_project made."""
    table = ParticleTable.read(folder / 'relion_golden' / f'rln_{name}_{kind}.star')
    volume = maps.read_map(folder / 'relion_golden' / f'{GOLDEN[name]}.mrc').data
    return table, table.images().read(np.arange(len(table))), table.rotations(), table.shifts(), volume


@pytest.mark.parametrize('interpolation', ['linear', 'cubic'])
@pytest.mark.parametrize('name', GOLDEN)
def test_relion_without_ctf(shared_data, name, interpolation):
    _, images, matrices, shifts, volume = golden(shared_data, name, 'noctf')
    ours = FourierProjector(volume, 2, interpolation).project(matrices, shifts).numpy()
    assert correlations(ours, images).min() > (0.99999 if interpolation == 'linear' else 0.999)
    # RELION has a real oracle for grey values too: the same units to a part in a thousand (linear).
    assert abs(np.linalg.norm(images) / np.linalg.norm(ours) - 1) < (1e-3 if interpolation == 'linear' else 0.02)


@pytest.mark.parametrize('interpolation', ['linear', 'cubic'])
@pytest.mark.parametrize('name', GOLDEN)
def test_relion_with_ctf(shared_data, name, interpolation):
    table, images, matrices, shifts, volume = golden(shared_data, name, 'ctf')
    spectra = FourierProjector(volume, 2, interpolation).project_rfft(matrices, shifts)
    transfer = ctf.ctf_rfft(table.box, table.pixel_size, table.ctf())
    ours = torch.fft.irfft2(ctf.apply_ctf(spectra, transfer))
    assert correlations(ours, images).min() > (0.9999 if interpolation == 'linear' else 0.998)


@pytest.mark.parametrize('name', GOLDEN)
def test_wrong_conventions_are_told_apart(shared_data, name):
    table, images, matrices, shifts, volume = golden(shared_data, name, 'ctf')
    projector = FourierProjector(volume)
    params = table.ctf()

    def agreement(matrices=matrices, shifts=shifts, flip=False, **changed):
        transfer = ctf.ctf_rfft(table.box, table.pixel_size, {**params, **changed})
        ours = torch.fft.irfft2(projector.project_rfft(matrices, shifts) * transfer)
        ours = torch.roll(ours.flip(1), 1, 1) if flip else ours
        return correlations(ours, images)

    # The first four views are canonical: some of them cannot tell.
    right = agreement()[4:]
    assert np.median(agreement(matrices=matrices.swapaxes(1, 2))[4:]) < 0.5
    assert np.median(agreement(shifts=-shifts)[4:]) < 0.5
    assert np.median(agreement(flip=True)[4:]) < 0.5
    assert (
        agreement(
            defocus_u=-params['defocus_u'],
            defocus_v=-params['defocus_v'],
            cs=-params['cs'],
            amplitude_contrast=-params['amplitude_contrast'],
        )[4:].max()
        < -0.99
    )
    # 300 A of astigmatism at this pixel size change little, but never for the better.
    for angle in (-params['defocus_angle'], 90 - params['defocus_angle'], params['defocus_angle'] + 90):
        wrong = agreement(defocus_angle=angle)[4:]
        assert (right - wrong).min() > -1e-6
        assert 1 - wrong.min() > 10 * (1 - right.min())


# Xmipp


@pytest.mark.parametrize('box', [48, 49])
@pytest.mark.parametrize(('degree', 'interpolation', 'least'), [(1, 'linear', 0.999), (3, 'cubic', 0.99999)])
def test_xmipp_agrees(box, degree, interpolation, least):
    xmippLib = pytest.importorskip('xmippLib')
    volume = Blobs.random(box, count=14).volume(box)
    matrices = geometry.random_matrices(6, seed=9)
    theirs = xmipp_projections(xmippLib, volume, matrices, degree)
    ours = FourierProjector(volume, 2, interpolation).project(matrices).numpy()
    assert correlations(ours, theirs).min() > least
    assert relative_error(ours, theirs) < (0.05 if degree == 1 else 1e-3)


def xmipp_projections(xmippLib, volume, matrices, degree):
    """float64[B, N, N] by xmippLib.FourierProjector at pad 2 up to the Nyquist frequency."""
    image = xmippLib.Image()
    image.setData(np.ascontiguousarray(volume, np.float64))
    projector = xmippLib.FourierProjector(image, 2.0, 0.5, degree)
    out, images = xmippLib.Image(), []
    # Without a data type xmippLib ends with a segmentation fault.
    out.setDataType(xmippLib.DT_DOUBLE)
    for angles in np.stack(geometry.matrix_to_euler(matrices), axis=1):
        projector.projectVolume(out, *map(float, angles))
        images.append(np.array(out.getData()))
    return np.array(images)
