"""The phantom's closed form against itself in three dimensions, and the projector against the phantom."""

import numpy as np
import pytest
from scipy.integrate import quad

from cryoemgan.engine.geometry import euler_to_matrix, random_matrices
from cryoemgan.engine.imaging.phantom import Phantom, claw


@pytest.fixture(scope='module')
def states():
    return claw(3)


@pytest.mark.parametrize('box', [48, 49])
def test_axis_views_are_sums_of_the_volume(states, box):
    volume = states[1].volume(box)
    along_z = states[1].project(box, euler_to_matrix(0, 0, 0)[None])[0]
    assert along_z == pytest.approx(volume.sum(0), abs=1e-4 * along_z.max())
    # psi = 90 turns the frame: the image's x axis is the volume's y axis, its y axis the volume's -x axis.
    turned = states[1].project(box, euler_to_matrix(0, 0, 90)[None])[0]
    first = 1 - box % 2
    expected = along_z.T[::-1]
    assert turned[first:] == pytest.approx((np.roll(expected, first, axis=0))[first:], abs=1e-4 * along_z.max())


def test_line_integral_at_a_random_view():
    """A projection's pixel is the integral of the density along its ray."""
    phantom, box, pixel = Phantom(np.array([[0.1, -0.05, 0.2]]), np.array([0.05]), np.array([2.0])), 40, (17, 25)
    matrix = random_matrices(1, seed=5)
    image = phantom.project(box, matrix)[0]

    def density(depth):
        # Row 17, column 25 of the image, ``depth`` along its axis, in the frame of the volume (A^T p).
        point = matrix[0].T @ np.array([pixel[1] - box // 2, pixel[0] - box // 2, depth])
        return 2.0 * np.exp(-np.sum((point - 40 * phantom.centres[0]) ** 2) / (2 * (40 * 0.05) ** 2))

    assert image[pixel] == pytest.approx(quad(density, -40, 40, limit=200)[0], rel=1e-5)


def test_shift_moves_by_minus_s(states):
    matrices = random_matrices(2, seed=1)
    still = states[0].project(48, matrices)
    moved = states[0].project(48, matrices, np.array([[3, -2], [0, 0]]))
    assert moved[0, 5:-5, 5:-5] == pytest.approx(np.roll(still[0], (2, -3), (0, 1))[5:-5, 5:-5], abs=1e-5)
    assert moved[1] == pytest.approx(still[1])


def test_states_differ_in_the_jaw_only_and_fit_the_box(states):
    assert len(claw(5)) == 5
    closed, middle, opened = states
    same = np.all(closed.centres == opened.centres, axis=1)
    assert 0.5 < same.mean() < 0.9
    distance = [np.linalg.norm(s.centres - closed.centres, axis=1).max() for s in (middle, opened)]
    assert 0.05 < distance[0] < distance[1] < 0.4
    for state in states:
        edge = state.project(64, random_matrices(20, seed=2))
        assert max(edge[:, 0].max(), edge[:, -1].max(), edge[:, :, 0].max()) < 1e-3 * edge.max()


def test_fourier_projector_reaches_the_closed_form(states):
    """Independent truth for the projector: error of cubic interpolation at most 5e-4."""
    from cryoemgan.engine.imaging.projection import FourierProjector

    matrices, shifts = random_matrices(8, seed=3), np.random.default_rng(0).normal(0, 2, (8, 2))
    exact = states[2].project(64, matrices, shifts)
    found = FourierProjector(states[2].volume(64), interpolation='cubic').project(matrices, shifts).numpy()
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 5e-4
