"""Another state that a part of the particles shows: stated where it is, not where there is none."""

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from cryoemgan.engine.clustering.variability import Slices
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.geometry import euler_to_matrix, matrix_to_euler
from cryoemgan.engine.imaging.maps import lowpass
from cryoemgan.engine.tests.particles_of_blobs import BOX, PIXEL, blobs_of, project, write_map
from cryoemgan.engine.trust.another_state import two_states

COUNT, SHARE, DEGREES = 1300, 0.15, 4.0


@pytest.fixture(scope='module')
def states():
    """(The map's state, another one: with a domain more, beside the first)."""
    first, domain = blobs_of(40, 0.22, seed=2, width=1.5), blobs_of(8, 0.06, seed=3, width=1.5)
    centres = domain.centres + np.array([0.0, 0.0, 0.27 * BOX * PIXEL])
    return first, type(first)(
        np.concatenate([first.centres, centres]), np.concatenate([first.sigmas, domain.sigmas]),
        np.concatenate([first.heights, domain.heights]),
    )  # fmt: skip


def run(folder, states, other):
    """(summary, table of the references) of particles of which ``other`` [n] are in the other state, at angles that
    are a little wrong."""
    rng = np.random.default_rng(4)
    angles = matrix_to_euler(Rotation.random(COUNT, random_state=5).as_matrix())
    true, images = euler_to_matrix(*angles), np.empty((COUNT, BOX, BOX), np.float32)
    for state, rows in zip(states, (~other, other)):
        images[rows] = state.projections(BOX, true[rows], pixel_size=PIXEL)
    images *= rng.normal(1, 0.1, COUNT)[:, None, None]
    images += 2.0 * images.std() * rng.normal(size=images.shape)
    with mrcfile.new(folder / 'particles.mrcs', data=images.astype(np.float32)) as mrc:
        mrc.voxel_size = PIXEL
    errors = Rotation.from_rotvec(np.deg2rad(rng.normal(0, DEGREES / 3**0.5, (COUNT, 3)))).as_matrix()
    rot, tilt, psi = matrix_to_euler(errors @ true)
    names = [f'{i + 1:06d}@particles.mrcs' for i in range(COUNT)]
    columns = {'rlnImageName': names, 'rlnAngleRot': rot, 'rlnAngleTilt': tilt, 'rlnAnglePsi': psi,
               'rlnOpticsGroup': np.ones(COUNT, int)}  # fmt: skip
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PIXEL], 'rlnImageSize': [BOX]}
    ParticleTable.create(folder / 'p.star', columns, optics).write(folder / 'p.star')
    volume = write_map(folder / 'map.mrc', states[0].volume(BOX, PIXEL))
    status, summary, _ = project(folder, folder / 'p.star', volume, '--ctf', 'none')
    assert status == 0
    return summary, ParticleTable.read(folder / 'out' / 'references.star')


def test_state_is_found_with_its_share_its_place_and_its_particles(states, tmp_path):
    other = np.random.default_rng(6).uniform(size=COUNT) < SHARE
    summary, table = run(tmp_path, states, other)
    found = summary['other_state']
    assert found['share'] == pytest.approx(other.mean(), abs=0.05)
    assert found['gained']
    assert np.hypot(*found['where'][:2]) < 4 * PIXEL
    assert found['where'][2] == pytest.approx(0.27 * BOX * PIXEL, abs=4 * PIXEL)
    score = table.floats('cryoemganStateScore')
    ranks = rankdata(score)[other].sum() - other.sum() * (other.sum() + 1) / 2
    assert ranks / (other.sum() * (~other).sum()) > 0.9
    difference = mrcfile.read(tmp_path / 'out' / 'another_state.mrc')
    truth = lowpass(states[1].volume(BOX, PIXEL) - states[0].volume(BOX, PIXEL), 1.0, 5.0)
    assert np.corrcoef(difference.ravel(), truth.ravel())[0, 1] > 0.7
    assert (difference * truth).sum() / (truth**2).sum() == pytest.approx(1, abs=0.35)
    assert (tmp_path / 'out' / 'another_state.png').exists()


def test_wrong_angles_are_no_state(states, tmp_path):
    summary, table = run(tmp_path, states, np.zeros(COUNT, bool))
    assert 'no other state' in summary['other_state']['statement']
    assert not table.has('cryoemganStateScore')
    assert not (tmp_path / 'out' / 'another_state.mrc').exists()


def test_one_distribution_is_one_state_however_broad_its_tails():
    rng = np.random.default_rng(7)
    sight = rng.uniform(0.7, 1.3, 3000)
    for measures in (rng.normal(0, 1.3, 3000), rng.standard_t(4, 3000)):
        assert not two_states(measures, sight, 1.0).stated
    there = rng.uniform(size=3000) < 0.1
    found = two_states(rng.normal(there * 3 * sight, 1), sight, 1.0)
    assert found.stated
    assert found.share == pytest.approx(there.mean(), abs=0.02)


def test_grid_of_a_map_has_its_slices(states):
    """Slices of the grid are the spectra of projections, but for what lies beyond the detail."""
    slices, turns = Slices(BOX, 9), Rotation.random(20, random_state=1).as_matrix()
    shown = slices.of(states[0].projections(BOX, turns, pixel_size=PIXEL), np.zeros((20, 2))) / PIXEL
    found = slices.through(slices.grid(states[0].volume(BOX, PIXEL))[None], turns)[:, 0]
    assert float((found - shown).abs().square().sum().sqrt() / shown.abs().square().sum().sqrt()) < 0.05
