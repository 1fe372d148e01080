"""cryoSPARC's .cs files: read by its own formulas, written with uid kept, and refused in words."""

import json

import numpy as np
import pytest
from scipy.linalg import expm

from ..__main__ import main
from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable
from ..errors import InputError
from ..geometry import random_matrices
from ..imaging.projection import FourierProjector
from .blobs import Blobs
from .particles_of_blobs import write_map

COUNT, BOX, PIXEL = 24, 32, 3.0


@pytest.fixture
def data(tmp_path):
    """(folder, refinement's rows, passthrough's rows) of a job J7: images of blobs seen at the poses."""
    rng = np.random.default_rng(0)
    blobs = Blobs.random(BOX, count=12, radius=0.2, seed=3)
    pose = rng.uniform(-2, 2, (COUNT, 3)).astype(np.float32)
    shift = rng.uniform(-2, 2, (COUNT, 2)).astype(np.float32)
    matrices = np.stack([matrix_of(p).T for p in pose])
    images = FourierProjector(blobs.volume(BOX), 2.5, 'cubic').project(matrices, shift).numpy()
    images += 0.3 * images.std() * rng.standard_normal(images.shape).astype(np.float32)
    (tmp_path / 'J3' / 'extract').mkdir(parents=True)
    with StackWriter(tmp_path / 'J3' / 'extract' / 'batch 1.mrc', COUNT, BOX, PIXEL) as writer:
        writer.append(images)
    write_map(tmp_path / 'map.mrc', blobs.volume(BOX), PIXEL)
    uid = rng.permutation(np.arange(2**63, 2**63 + COUNT, dtype=np.uint64))
    rows = np.zeros(COUNT, [
        ('uid', '<u8'), ('blob/path', 'S60'), ('blob/idx', '<u4'), ('blob/shape', '<u4', (2,)), ('blob/psize_A', '<f4'),
        ('blob/sign', '<f4'), ('alignments3D/split', '<u4'), ('alignments3D/shift', '<f4', (2,)),
        ('alignments3D/pose', '<f4', (3,)), ('alignments3D/psize_A', '<f4'),
    ])  # fmt: skip
    rows['uid'], rows['blob/path'], rows['blob/idx'] = uid, b'>J3/extract/batch 1.mrc', np.arange(COUNT)
    rows['blob/shape'], rows['blob/psize_A'], rows['blob/sign'] = BOX, PIXEL, 1
    # The refinement was binned: its shifts are in larger pixels.
    rows['alignments3D/psize_A'], rows['alignments3D/shift'] = 2 * PIXEL, shift / 2
    rows['alignments3D/pose'], rows['alignments3D/split'] = pose, np.arange(COUNT) % 2
    through = np.zeros(COUNT, [
        ('uid', '<u8'), ('ctf/df1_A', '<f4'), ('ctf/df2_A', '<f4'), ('ctf/df_angle_rad', '<f4'),
        ('ctf/accel_kv', '<f4'), ('ctf/cs_mm', '<f4'), ('ctf/amp_contrast', '<f4'), ('ctf/phase_shift_rad', '<f4'),
        ('ctf/anisomag', '<f4', (4,)), ('ctf/tilt_A', '<f4', (2,)), ('location/micrograph_path', 'S20'),
        ('location/micrograph_shape', '<u4', (2,)), ('location/center_x_frac', '<f4'),
        ('location/center_y_frac', '<f4'),
    ])  # fmt: skip
    order = rng.permutation(COUNT)
    through['uid'] = uid[order]
    through['ctf/df1_A'], through['ctf/df2_A'] = 1000.0 * (order + 10), 1000.0 * (order + 10) - 200
    through['ctf/df_angle_rad'], through['ctf/accel_kv'], through['ctf/cs_mm'] = np.pi / 3, 300, 2.7
    through['ctf/amp_contrast'], through['location/micrograph_path'] = 0.1, b'J2/mics/m.mrc'
    through['location/micrograph_shape'] = 4000, 6000
    through['location/center_x_frac'], through['location/center_y_frac'] = order / 100, 0.5
    return tmp_path, rows, through


def matrix_of(vector):
    """By the matrix exponential, in double precision."""
    x, y, z = np.asarray(vector, np.float64)
    return expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))


def save(folder, rows, through=None, name='P1_J7_006_particles.cs'):
    np.save(open(folder / name, 'wb'), rows)  # noqa: SIM115
    if through is not None:
        np.save(open(folder / 'P1_J7_passthrough_particles.cs', 'wb'), through)  # noqa: SIM115
    return folder / name


def test_columns(data):
    folder, rows, through = data
    t = ParticleTable.read(save(folder, rows, through))
    np.testing.assert_allclose(
        t.rotations(), [matrix_of(p).T for p in rows['alignments3D/pose']], atol=2e-8
    )  # angles are kept in degrees with six digits
    np.testing.assert_allclose(t.shifts(), 2 * rows['alignments3D/shift'], atol=1e-6)
    assert t.half_sets().tolist() == [1, 2] * (COUNT // 2)
    assert t.floats('rlnDefocusU').tolist() == [1000.0 * (i + 10) for i in range(COUNT)]
    assert t.floats('rlnDefocusAngle')[0] == pytest.approx(60, abs=1e-4)
    assert (t.pixel_size, t.box, set(t.ctf()['voltage'])) == (PIXEL, BOX, {300.0})
    assert t.strings('rlnImageName')[2] == '000003@>J3/extract/batch 1.mrc'
    np.testing.assert_allclose(t.floats('rlnCoordinateX'), 60 * np.arange(COUNT))
    assert t.floats('rlnCoordinateY')[0] == 2000
    assert t.strings('cryosparcUid') == [str(u) for u in rows['uid']]


def test_microscope_and_images(data):
    folder, rows, through = data
    through['ctf/anisomag'] = 0.02, 0.01, -0.01, -0.03
    through['ctf/tilt_A'] = 2700.0, 0.0
    rows['blob/sign'] = -1
    t = ParticleTable.read(save(folder, rows, through))
    np.testing.assert_allclose(t.magnification()[0], [[1.02, 0.01], [-0.01, 0.97]], atol=1e-6)
    # Cs of 2.7e7 A times 0.1 mrad.
    np.testing.assert_allclose(t.floats('rlnBeamTiltX'), 0.1, rtol=1e-5)
    assert 'blob/sign is -1' in ' '.join(t.notes)
    assert 'trefoil' not in ' '.join(t.notes)
    rows['blob/sign'][3] = 1
    with pytest.raises(InputError, match='both contrasts'):
        ParticleTable.read(save(folder, rows, through))


def test_two_groups_of_optics(data):
    folder, rows, through = data
    through['ctf/amp_contrast'] = np.where(through['ctf/df1_A'] > 20000, 0.07, 0.1)
    t = ParticleTable.read(save(folder, rows, through))
    np.testing.assert_allclose(
        t.ctf()['amplitude_contrast'], np.where(t.floats('rlnDefocusU') > 20000, 0.07, 0.1), atol=1e-6
    )


def test_projections_agree_and_come_back(data):
    """The whole way: references of the map fit the images, and a .cs goes back with its uid."""
    folder, rows, _ = data
    out = folder / 'out'
    assert main(['project', '--particles', str(save(folder, rows)), '--volume', str(folder / 'map.mrc'),
                 '--ctf', 'none', '--interpolation', 'cubic', '--output', str(out), '--threads', '1']) == 0  # fmt: skip
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['correlation']['mean'] > 0.9
    assert not summary['warnings']
    back = np.load(out / 'references.cs', allow_pickle=False)
    assert back['uid'].tolist() == rows['uid'].tolist()
    np.testing.assert_array_equal(back['alignments3D/pose'], rows['alignments3D/pose'])
    assert (set(back['blob/path']), back['blob/idx'].tolist()) == ({b'references.mrcs'}, list(range(COUNT)))
    assert back['cryoemgan/correlation'].min() > 0.8
    # And by the STAR that stands beside it, as any table of this program.
    again = ParticleTable.read(out / 'references.cs')
    np.testing.assert_array_equal(
        again.images().read([5]), ParticleTable.read(out / 'references.star').images().read([5])
    )


def test_images_folder_and_pixel_size(data, tmp_path_factory):
    folder, rows, through = data
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    path = save(elsewhere, rows, through)
    with pytest.raises(InputError, match='--images-folder says where'):
        ParticleTable.read(path).images()
    for given in (folder, folder / 'J3' / 'extract'):
        t = ParticleTable.read(path, images_folder=given, pixel_size=1.5)
        assert len(t.images()) == COUNT
        assert t.pixel_size == 1.5
    star = ParticleTable.read(path)
    star.write(elsewhere / 'p.star')
    assert len(ParticleTable.read(elsewhere / 'p.star', images_folder=folder).images()) == COUNT
    t = ParticleTable.read(elsewhere / 'p.star', folder, pixel_size=4.0)
    assert t.derive('x.mrcs', pixel_size=8.0).pixel_size == pytest.approx(8.0)


def test_what_is_no_file_of_cryosparc(data):
    folder, rows, through = data
    plain = folder / 'x.cs'
    for content, message in ((b'hello', 'not a .cs file'), (b'\x93NUMPY', 'not a .cs file')):
        plain.write_bytes(content)
        with pytest.raises(InputError, match=message):
            ParticleTable.read(plain)
    np.save(open(plain, 'wb'), np.zeros(3))  # noqa: SIM115
    with pytest.raises(InputError, match='without the fields of cryoSPARC'):
        ParticleTable.read(plain)
    np.save(open(plain, 'wb'), np.array([{}], dtype=object), allow_pickle=True)  # noqa: SIM115
    with pytest.raises(InputError, match='not a .cs file'):
        ParticleTable.read(plain)
    with pytest.raises(InputError, match='without blob/path'):
        ParticleTable.read(save(folder, through, name='only.cs'))
    with pytest.raises(InputError, match='2 of 24 particles .* are not in it'):
        ParticleTable.read(save(folder, rows, through[:-2]))


def test_random_matrices_are_read_back():
    """Rotation vectors near pi, where they are not unique, too."""
    from scipy.spatial.transform import Rotation

    matrices = random_matrices(200, 1)
    vectors = Rotation.from_matrix(matrices.swapaxes(1, 2)).as_rotvec().astype(np.float32)
    found = np.stack([matrix_of(v).T for v in vectors])
    assert np.abs(found - matrices).max() < 2e-6
