"""Poses that a map prior finds, against those of independent images; and whether their spread is true."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import chi

from cryoemgan.engine.geometry import angles_between, random_matrices
from cryoemgan.engine.imaging import phantom
from cryoemgan.engine.imaging.flips import turned
from cryoemgan.engine.posterior import pose
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.pose_columns import SHARE, numbers_of
from cryoemgan.engine.tests.claw_templates import BOX, guide_of, noisy, project

PIXEL, DEFOCUS, COUNT = 4.0, 12000.0, 120


@pytest.fixture(scope='module')
def library():
    """Of the claw's volume."""
    return TemplateLibrary.from_maps([torch.as_tensor(phantom.claw(2)[0].volume(BOX), dtype=torch.float32)], 600)


@pytest.fixture(scope='module')
def truth():
    """(poses, shifts in px, images behind their CTF): line integrals, and the textbook's CTF."""
    matrices, shifts = random_matrices(COUNT, 21), np.random.default_rng(3).normal(0, 1.0, (COUNT, 2))
    return matrices, shifts, behind_ctf(project(0, matrices, shifts))


def behind_ctf(images):
    """Of 300 kV, Cs 2.7 mm, amplitude contrast 0.1: white particles stay white at low frequency."""
    wavelength, cs, amplitude = 0.0196875, 2.7e7, 0.1
    k2 = np.fft.rfftfreq(BOX, PIXEL) ** 2 + np.fft.fftfreq(BOX, PIXEL)[:, None] ** 2
    chi_ = np.pi * wavelength * DEFOCUS * k2 - np.pi / 2 * cs * wavelength**3 * k2**2
    ctf = np.sin(chi_ + np.arcsin(amplitude))
    return torch.as_tensor(np.fft.irfft2(np.fft.rfft2(images.numpy()) * ctf, (BOX, BOX)), dtype=torch.float32)


def context_of(**poses):
    one = np.ones(COUNT)
    ctf = dict(defocus_u=DEFOCUS * one, defocus_v=DEFOCUS * one, defocus_angle=0 * one, voltage=300 * one,
               cs=2.7 * one, amplitude_contrast=0.1 * one, phase_shift=0 * one, b_factor=0 * one)  # fmt: skip
    return Context(PIXEL, ctf, **poses)


@pytest.mark.parametrize('snr', [0.3, 0.12])
def test_true_pose_is_found_and_lies_within_the_spread_as_often_as_it_should(library, truth, snr):
    matrices, shifts, clean = truth
    images, sd = noisy(clean, snr)
    guide = guide_of(library, sd, ctf='none', shift_range=3.0, shift_sd=1.0)
    columns = numbers_of(guide(images, context_of()), PIXEL)
    # The columns are read as RELION reads them: rows of the matrix are the axes of the image.
    found = Rotation.from_euler('ZYZ', columns[:, :3], degrees=True).as_matrix().swapaxes(1, 2)
    away = angles_between(found, matrices)
    off = np.hypot(*(columns[:, 3:5] - PIXEL * shifts).T)
    assert np.median(away) < {0.3: 5.0, 0.12: 8.0}[snr]
    assert np.median(off) < {0.3: 1.5, 0.12: 2.5}[snr]
    assert np.mean(away < columns[:, 5]) == pytest.approx(SHARE, abs=0.1)
    assert np.mean(off < columns[:, 6]) == pytest.approx(SHARE, abs=0.1)


def test_shifts_are_the_tables_where_the_refinement_is_trusted(library, truth):
    """The particles are centred as the refinement says before they are asked about."""
    matrices, shifts, clean = truth
    images, sd = noisy(clean, 2.0)
    guide = guide_of(library, sd, pose_prior=5.0)
    wrong = shifts + np.random.default_rng(4).normal(0, 0.3, shifts.shape)
    found = guide(images, context_of(matrices=matrices, shifts=wrong))
    assert np.median(np.hypot(*(found.shifts.numpy() - shifts).T)) < 0.2


def test_pose_turns_with_its_particle(library, truth):
    _, _, clean = truth
    guide = guide_of(library, noisy(clean, 2.0)[1], shift_range=3.0, shift_sd=1.0)
    asked = guide(torch.from_numpy(turned(clean.numpy()).copy()), context_of())
    wanted = guide(clean, context_of()).turned()
    assert np.median(angles_between(asked.matrices.numpy(), wanted.matrices.numpy())) < 1.0
    assert float((asked.shifts - wanted.shifts).abs().median()) < 0.1


def test_spread_is_a_quantile_of_a_normal_and_of_other_views():
    cube, flat = torch.eye(3)[None], torch.diag(torch.tensor([1.0, 0.0, 0.0]))[None]
    distance, weight = torch.tensor([[0.0, 90.0]]), torch.tensor([[1.0, 0.0]])
    for covariance, freedom in ((cube, 3), (flat, 1)):
        found = float(pose._spread(covariance, torch.ones(1), distance, weight))
        assert found == pytest.approx(chi(freedom).ppf(SHARE), rel=0.03)
    half = torch.tensor([[0.6, 0.4]])
    assert float(pose._spread(cube, torch.tensor([0.6]), distance, half)) == 90.0


def test_rotation_vectors_are_scipys():
    vectors = np.random.default_rng(0).normal(0, 0.8, (50, 3)).astype(np.float32)
    matrices = Rotation.from_rotvec(vectors).as_matrix().astype(np.float32)
    np.testing.assert_allclose(pose.rotations(torch.from_numpy(vectors)).numpy(), matrices, atol=1e-6)
    np.testing.assert_allclose(pose.rotation_vectors(torch.from_numpy(matrices)).numpy(), vectors, atol=1e-5)
