"""Euler angles against closed forms and xmippLib."""

import numpy as np
import pytest

from cryoemgan.engine import geometry


def closed_form(rot, tilt, psi):
    """Euler_angles2matrix as Xmipp and RELION document it: A = Rz(psi) Ry(tilt) Rz(rot) of frame rotations."""
    a, b, c = np.deg2rad([rot, tilt, psi])

    def z(t):
        return np.array([[np.cos(t), np.sin(t), 0], [-np.sin(t), np.cos(t), 0], [0, 0, 1]])

    y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    return z(c) @ y @ z(a)


ANGLES = [
    (0, 0, 0),
    (30, 65, 110),
    (200, 170, -33),
    (-75, 0, 20),
    (40, 180, -10),
    (10, -20, 30),
    (359, 90, -180),
    (12, 1e-5, 50),
    (12, 180 - 1e-5, 50),
]


@pytest.mark.parametrize('angles', ANGLES)
def test_matrix_is_the_closed_form(angles):
    np.testing.assert_allclose(geometry.euler_to_matrix(*angles), closed_form(*angles), rtol=0, atol=1e-12)


def test_matrix_equals_xmipp():
    xmippLib = pytest.importorskip('xmippLib')
    for angles in ANGLES:
        # Xmipp's function gives a 3x3 array of the same convention.
        theirs = np.asarray(xmippLib.Euler_angles2matrix(*map(float, angles)))
        np.testing.assert_allclose(geometry.euler_to_matrix(*angles), theirs[:3, :3], rtol=0, atol=1e-6)


def test_angles_give_the_matrix_back_everywhere():
    rng = np.random.default_rng(3)
    angles = np.concatenate([np.array(ANGLES, float), rng.uniform(-360, 360, (2000, 3))])
    matrices = geometry.euler_to_matrix(*angles.T)
    rot, tilt, psi = geometry.matrix_to_euler(matrices)
    assert np.all((tilt >= 0) & (tilt <= 180))
    np.testing.assert_allclose(geometry.euler_to_matrix(rot, tilt, psi), matrices, rtol=0, atol=1e-12)


def test_regular_angles_come_back_as_they_were():
    rng = np.random.default_rng(4)
    angles = np.stack([rng.uniform(-179, 179, 500), rng.uniform(1, 179, 500), rng.uniform(-179, 179, 500)])
    np.testing.assert_allclose(geometry.matrix_to_euler(geometry.euler_to_matrix(*angles)), angles, atol=1e-9)


def test_shapes_follow_the_input():
    assert geometry.euler_to_matrix(1, 2, 3).shape == (3, 3)
    assert geometry.euler_to_matrix(np.zeros((4, 5)), 2, 3).shape == (4, 5, 3, 3)
    assert geometry.matrix_to_euler(np.eye(3))[0].shape == ()


def test_random_rotations_are_uniform_and_repeatable():
    matrices = geometry.random_matrices(20000, seed=7)
    np.testing.assert_array_equal(matrices, geometry.random_matrices(20000, seed=7))
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)
    # Haar measure: every entry has mean 0 and variance 1/3; the angle's mean is pi/2 + 2/pi.
    np.testing.assert_allclose(matrices.mean(0), 0, atol=0.02)
    np.testing.assert_allclose((matrices**2).mean(0), 1 / 3, atol=0.01)
    angle = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert abs(angle.mean() - (np.pi / 2 + 2 / np.pi)) < 0.02
