"""Gain and noise of particles told by references at wrong angles, on several shapes whose truth is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ..geometry import random_matrices
from ..imaging import phantom
from ..imaging.signal_model import fit_signal
from .blobs import Blobs

BOX, COUNT, GAIN, OFFSET = 48, 300, 2.5, 7.0


def claw(matrices, shifts):
    return phantom.claw(1)[0].project(BOX, matrices, shifts)


def ball(matrices, shifts):
    return Blobs.random(BOX, 80, 0.28, 3).projections(BOX, matrices, shifts)


def rod(matrices, shifts):
    blobs = Blobs.random(BOX, 60, 0.3, 5)
    return Blobs(blobs.centres * (0.25, 0.25, 1.0), blobs.sigmas, blobs.heights).projections(BOX, matrices, shifts)


@pytest.mark.parametrize('draw', [claw, ball, rod])
@pytest.mark.parametrize(('degrees', 'pixels'), [(0.0, 0.0), (2.0, 0.3), (3.0, 0.7)])
def test_gain_and_snr_are_right_at_wrong_angles(draw, degrees, pixels):
    rng = np.random.default_rng(0)
    matrices, shifts = random_matrices(COUNT, 1), rng.normal(0, 1, (COUNT, 2))
    truth = np.asarray(draw(matrices, shifts))
    wrong = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees), (COUNT, 3))).as_matrix() @ matrices
    references = np.asarray(draw(wrong, shifts + pixels * rng.normal(size=(COUNT, 2))))
    snr = 0.05
    sd = GAIN * (truth.var((1, 2)).mean() / snr) ** 0.5
    noisy = GAIN * truth + OFFSET + sd * rng.standard_normal(truth.shape)
    found = fit_signal(noisy.astype(np.float32), references.astype(np.float32))
    assert found.gain == pytest.approx(GAIN, rel=0.05)
    assert found.snr == pytest.approx(snr, rel=0.1)
    assert found.noise_variance == pytest.approx(sd**2, rel=0.02)
    np.testing.assert_allclose(found.power[3:], sd**2, rtol=0.1)
    assert found.offset == pytest.approx(OFFSET, abs=0.05 * sd)
    if pixels > 0.5:
        plain = np.polyfit(references.ravel(), noisy.ravel(), 1)[0]
        assert plain < 0.98 * GAIN
        assert abs(found.gain - GAIN) < abs(plain - GAIN)
