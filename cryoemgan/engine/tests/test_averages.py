"""Class averages: the right turn and shift, against projections at psi = 0."""

import numpy as np
import pytest

from cryoemgan.engine import geometry
from cryoemgan.engine.clustering.averages import class_averages
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.phantom import claw

BOX, PIXEL, COUNT = 48, 2.0, 40


def particles(folder, **columns):
    """Two views in all in-plane angles, with shifts; (table, view of each, images of both views at psi = 0)."""
    rng = np.random.default_rng(0)
    view = np.arange(COUNT) % 2
    rot, tilt = np.array([20.0, 130.0])[view], np.array([40.0, 80.0])[view]
    psi, shifts = rng.uniform(-180, 180, COUNT), rng.uniform(-3, 3, (COUNT, 2))
    molecule = claw(1)[0]
    with StackWriter(folder / 'p.mrcs', COUNT, BOX, PIXEL) as stack:
        stack.append(molecule.project(BOX, geometry.euler_to_matrix(rot, tilt, psi), shifts).astype(np.float32))
    upright = molecule.project(BOX, geometry.euler_to_matrix(rot[:2], tilt[:2], 0 * psi[:2]), np.zeros((2, 2)))
    names = [f'{i + 1:06d}@p.mrcs' for i in range(COUNT)]
    angles = {'rlnAngleRot': rot, 'rlnAngleTilt': tilt, 'rlnAnglePsi': psi}
    move = {'rlnOriginXAngst': shifts[:, 0] * PIXEL, 'rlnOriginYAngst': shifts[:, 1] * PIXEL}
    every = {'rlnImageName': names, 'rlnOpticsGroup': np.ones(COUNT, int), **angles, **move}
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PIXEL]}
    ParticleTable.create(folder / 'p.star', {**every, **columns}, optics).write(folder / 'p.star')
    return ParticleTable.read(folder / 'p.star'), view, upright


def agreement(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_average_is_the_view_at_psi_zero(tmp_path):
    table, view, upright = particles(tmp_path)
    numbers, averages, sizes = class_averages(table, 3 + view, batch=7)
    assert numbers.tolist() == [3, 4]
    assert sizes.tolist() == [20, 20]
    for average, truth in zip(averages, upright):
        assert agreement(average, truth) > 0.995


@pytest.mark.parametrize('wrong', ['rlnAnglePsi', 'rlnOriginXAngst'])
def test_wrong_sign_shows(tmp_path, wrong):
    table, view, upright = particles(tmp_path)
    table.set(wrong, -table.floats(wrong))
    averages = class_averages(table, view)[1]
    assert agreement(averages[0], upright[0]) < 0.98
