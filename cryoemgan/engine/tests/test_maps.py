"""Maps and masks: what is refused, and the filter."""

import itertools

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.errors import InputError
from cryoemgan.engine.imaging import maps


def write(path, data, voxel_size=2.0):
    with mrcfile.new(path, data=np.asarray(data, np.float32), overwrite=True) as mrc:
        mrc.set_volume()
        mrc.voxel_size = voxel_size
    return path


@pytest.fixture
def density():
    return np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)


def test_reads_values_and_pixel_size(tmp_path, density):
    found = maps.read_map(write(tmp_path / 'v.mrc', density))
    np.testing.assert_array_equal(found.data, density)
    assert (found.box, found.pixel_size) == (16, 2.0)
    assert maps.read_map(tmp_path / 'v.mrc', 3.0).pixel_size == 3.0


def test_every_deposited_map_is_read(shared_data):
    boxes = {p.name: maps.read_map(p).box for p in (shared_data / 'maps').iterdir()}
    assert boxes == {'emd_1883.map.mrc': 70, 'emd_5625.map': 56, 'EMD-3197.map': 20}


def nan(data):
    data[3, 4, 5] = np.nan
    return data


@pytest.mark.parametrize(
    ('change', 'voxel_size', 'why'),
    [
        (lambda d: d[:8], 2.0, 'cubic'),
        (lambda d: d[0][None], 2.0, 'cubic'),
        (nan, 2.0, 'NaN'),
        (lambda d: d * 0, 2.0, 'constant'),
        (lambda d: d, 0.0, '--volume-pixel-size'),
    ],
)
def test_refuses(tmp_path, density, change, voxel_size, why):
    with pytest.raises(InputError, match=why):
        maps.read_map(write(tmp_path / 'v.mrc', change(density), voxel_size))


def test_refuses_truncated_missing_and_foreign_files(tmp_path, density):
    path = write(tmp_path / 'v.mrc', density)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match='truncated'):
        maps.read_map(path)
    with pytest.raises(InputError, match='missing.mrc'):
        maps.read_map(tmp_path / 'missing.mrc')
    path.write_text('not a map' * 200)
    with pytest.raises(InputError, match=r'v\.mrc'):
        maps.read_map(path)


@pytest.mark.parametrize('order', list(itertools.permutations((1, 2, 3))))
def test_axes_in_any_order_are_put_right(tmp_path, density, order):
    """order: mapc, mapr, maps: the axis (1 = x) that columns, rows and sections go along."""
    # density[z, y, x]: section, row, column of the file go along axes order[2], order[1], order[0].
    stored = density.transpose([3 - axis for axis in reversed(order)])
    path = write(tmp_path / 'v.mrc', stored)
    with mrcfile.open(path, 'r+') as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = order
    np.testing.assert_array_equal(maps.read_map(path).data, density)


def test_refuses_axes_that_are_no_order(tmp_path, density):
    path = write(tmp_path / 'v.mrc', density)
    with mrcfile.open(path, 'r+') as mrc:
        mrc.header.mapc = 2
    with pytest.raises(InputError, match='no order of axes'):
        maps.read_map(path)


@pytest.mark.parametrize('swapped', [False, True])
@pytest.mark.parametrize('centred', [False, True])
def test_a_part_of_a_map_is_put_back_to_its_place(tmp_path, density, centred, swapped):
    """Starts count from the corner of the unit cell, or from its middle, as maps centred at the origin have it."""
    whole = np.zeros((24, 24, 24), np.float32)
    corner = np.array([2, 5, 7])
    whole[2:18, 5:21, 7:23] = density
    path = write(tmp_path / 'v.mrc', density.transpose(2, 1, 0) if swapped else density)
    with mrcfile.open(path, 'r+') as mrc:
        h = mrc.header
        h.mx = h.my = h.mz = 24
        h.cella.x = h.cella.y = h.cella.z = 48.0
        start = corner - 12 * centred
        if swapped:
            h.mapc, h.maps = 3, 1
            start = start[::-1]
        h.nzstart, h.nystart, h.nxstart = start
    found = maps.read_map(path)
    np.testing.assert_array_equal(found.data, whole)
    assert found.pixel_size == 2.0


def test_a_part_that_lies_outside_its_cell_is_refused(tmp_path, density):
    path = write(tmp_path / 'v.mrc', density)
    with mrcfile.open(path, 'r+') as mrc:
        mrc.header.mx = mrc.header.my = mrc.header.mz = 20
        mrc.header.nxstart = 9
    with pytest.raises(InputError, match=r'part of a larger one: it starts at .*= \(9, 0, 0\)'):
        maps.read_map(path)


def test_voxels_that_are_not_cubes_are_refused(tmp_path, density):
    path = write(tmp_path / 'v.mrc', density, (2.0, 2.0, 2.4))
    with pytest.raises(InputError, match='voxels of 2 x 2 x 2.4 A are not isotropic'):
        maps.read_map(path)
    assert maps.read_map(path, 2.0).pixel_size == 2.0


def test_a_voxel_in_nanometres_is_named(tmp_path, density):
    with pytest.raises(InputError, match='0.02 A'):
        maps.read_map(write(tmp_path / 'v.mrc', density, 0.02))
    with pytest.raises(InputError, match='looks like pm: write 2 A'):
        maps.read_map(write(tmp_path / 'v.mrc', density, 200.0))


def test_mask(tmp_path, density):
    volume = maps.read_map(write(tmp_path / 'v.mrc', density))
    soft = np.linspace(0, 1, 16**3).reshape(16, 16, 16)
    np.testing.assert_allclose(maps.read_mask(write(tmp_path / 'm.mrc', soft), volume), soft, atol=1e-6)
    for bad, why in ((soft[:8, :8, :8], '8 px'), (soft * 2, 'between 0 and 1'), (soft * 0, 'empty')):
        with pytest.raises(InputError, match=why):
            maps.read_mask(write(tmp_path / 'm.mrc', bad), volume)


@pytest.mark.parametrize('box', [40, 41])
def test_lowpass_passes_halves_and_stops(box):
    x = np.arange(box)
    for cycles, factor in ((4, 1.0), (8, 0.5), (12, 0.0)):
        wave = np.cos(2 * np.pi * cycles * x / box)[:, None, None] * np.ones((1, box, box)) + 5
        filtered = maps.lowpass(wave, 2.0, resolution=2.0 * box / 8)
        np.testing.assert_allclose(filtered, (wave - 5) * factor + 5, atol=1e-5)


def test_lowpass_of_a_batch_mixes_no_images(density):
    batch = maps.lowpass(density, 2.0, 10.0, axes=(-2, -1))
    np.testing.assert_allclose(batch[3], maps.lowpass(density[3], 2.0, 10.0), atol=1e-5)
