"""The forward model against closed forms: Gaussian blobs, whose images are known exactly at every pose."""

import numpy as np
import pytest
import torch

from ..errors import InputError
from ..geometry import random_matrices
from ..imaging.ctf import ctf_rfft
from ..imaging.forward_model import ForwardModel
from ..imaging.phantom import claw
from ..metrics.pair_agreement import LEAST_CORRELATION, best_map

BOX, PIXEL = 48, 3.0
CTF = {
    'defocus_u': [15000.0, 9000.0], 'defocus_v': [14000.0, 9500.0], 'defocus_angle': [20.0, 70.0],
    'phase_shift': [0.0, 0.0], 'voltage': [300.0, 300.0], 'cs': [2.7, 2.7], 'amplitude_contrast': [0.1, 0.1],
}  # fmt: skip


@pytest.fixture(scope='module')
def phantoms():
    return claw(2)


@pytest.mark.parametrize('finer', [1, 2])
def test_images_are_those_of_the_molecule(phantoms, finer):
    """Maps of the images' own pixel size, and of half of it: the same images, in line integrals of their voxels."""
    model = ForwardModel(
        [p.volume(finer * BOX) for p in phantoms], PIXEL / finer, BOX, PIXEL, pad=2.5, interpolation='cubic'
    )
    assert len(model) == 2
    matrices, shifts = random_matrices(6, 1), np.random.default_rng(2).normal(0, 2, (6, 2))
    which = np.array([0, 1, 0, 1, 1, 0])
    expected = np.stack([phantoms[k].project(BOX, m[None], s[None])[0] for k, m, s in zip(which, matrices, shifts)])
    found = model.images(matrices, shifts, which).numpy()
    # A line integral in voxels half as large has twice as many.
    np.testing.assert_allclose(found, finer * expected, atol=2e-3 * finer * expected.max())


def test_pixel_size_of_single_images(phantoms):
    """Larger pixels show a smaller molecule: the projection of one made of smaller blobs."""
    model = ForwardModel([phantoms[0].volume(BOX)], PIXEL, BOX, PIXEL, pad=2.5, interpolation='cubic')
    matrices, sizes = random_matrices(2, 3), np.array([PIXEL, 1.04 * PIXEL])
    found = model.images(matrices, pixel_sizes=sizes).numpy()
    small = type(phantoms[0])(phantoms[0].centres / 1.04, phantoms[0].sigmas / 1.04, phantoms[0].heights)
    expected = [phantoms[0].project(BOX, matrices[:1])[0], 1.04 * small.project(BOX, matrices[1:])[0]]
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.max(expected))


@pytest.mark.parametrize('mode', ['none', 'phase-flip', 'full'])
def test_ctf_multiplies_the_spectrum(phantoms, mode):
    model = ForwardModel([phantoms[0].volume(BOX)], PIXEL, BOX, PIXEL)
    matrices, params = random_matrices(2, 4), {k: np.array(v) for k, v in CTF.items()}
    ctf = ctf_rfft(BOX, PIXEL, params)
    factor = {'none': torch.ones_like(ctf), 'phase-flip': ctf.abs(), 'full': ctf}[mode]
    found = torch.fft.rfft2(model.images(matrices, ctf=params, mode=mode))
    expected = model.spectra(matrices) * factor
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (found - expected).abs().max() < 1e-2 * (model.spectra(matrices) - expected).abs().max() or mode == 'none'


def test_maps_that_cannot_meet_the_images(phantoms):
    with pytest.raises(InputError, match='cannot meet'):
        ForwardModel([phantoms[0].volume(BOX)], 5 * PIXEL, BOX, PIXEL)


def test_the_map_behind_references_is_found(phantoms):
    """References of two conformations: each is the projection of its own; another molecule is not taken for them."""
    matrices, which = random_matrices(8, 5), np.arange(8) % 2
    projections = np.stack([p.project(BOX, matrices) for p in phantoms])
    references = 4 * projections[which, np.arange(8)] - 3
    found, agreed = best_map(projections, references, PIXEL)
    assert np.array_equal(found, which)
    assert agreed == pytest.approx(1, abs=1e-5)
    elsewhere = np.stack([p.project(BOX, random_matrices(8, 6)) for p in phantoms])
    assert np.median(best_map(elsewhere, references, PIXEL)[1]) < LEAST_CORRELATION
