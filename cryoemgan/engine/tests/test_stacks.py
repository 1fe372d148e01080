"""Image stacks: independent reading by mrcfile, and the damage that files of others come with."""

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.data import stacks
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.errors import InputError


@pytest.fixture
def stack(tmp_path):
    data = np.random.default_rng(0).normal(size=(7, 16, 16)).astype(np.float32)
    path = tmp_path / 'a.mrcs'
    with mrcfile.new(path, data) as mrc:
        mrc.voxel_size = 2.5
    return path, data


def test_rows_in_any_order_come_from_the_right_file(stack, tmp_path):
    path, data = stack
    other = tmp_path / 'b.mrcs'
    with mrcfile.new(other, (100 * data).astype(np.int16)):
        pass
    images = StackReader([path, other], [0, 1, 0, 1, 0], [3, 0, 4, 6, 5])
    got = images.read([4, 1, 0, 2, 3, 0])
    truth = [
        data[5],
        (100 * data).astype(np.int16)[0],
        data[3],
        data[4],
        (100 * data).astype(np.int16)[6],
        data[3],
    ]
    np.testing.assert_array_equal(got, np.stack(truth))


def test_more_files_than_may_be_open(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, 'OPEN_FILES', 2)
    paths = []
    for i in range(5):
        paths.append(tmp_path / f'{i}.mrcs')
        with mrcfile.new(paths[-1], np.full((1, 8, 8), i, np.float32)):
            pass
    images = StackReader(paths, range(5), [0] * 5)
    assert images.read([4, 0, 3, 1, 2, 4])[:, 0, 0].tolist() == [4, 0, 3, 1, 2, 4]
    assert len(images._handles) == 2


@pytest.mark.parametrize('mode', [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_every_real_mode_is_read(tmp_path, mode):
    data = np.arange(2 * 8 * 8).reshape(2, 8, 8).astype(mode)
    with mrcfile.new(tmp_path / 'm.mrcs', data):
        pass
    np.testing.assert_array_equal(
        StackReader([tmp_path / 'm.mrcs'], [0, 0], [1, 0]).read([1, 0]), data.astype(np.float32)
    )


def test_extended_header_is_skipped(tmp_path, stack):
    _, data = stack
    with mrcfile.new(tmp_path / 'x.mrcs', data) as mrc:
        mrc.set_extended_header(np.zeros(100, 'V8'))
    np.testing.assert_array_equal(StackReader([tmp_path / 'x.mrcs'], [0], [2]).read([0])[0], data[2])


def test_truncated_stack_says_how_many_are_left(stack):
    path, _ = stack
    with open(path, 'r+b') as f:
        f.truncate(1024 + 4 * 16 * 16 * 3 + 17)
    with pytest.raises(InputError, match=r'a\.mrcs: truncated: .* 7 images .* holds 3'):
        StackReader([path], [0], [0])


def test_header_that_claims_terabytes(stack):
    path, _ = stack
    with open(path, 'r+b') as f:
        f.write(np.array([60000, 60000, 60000], '<i4').tobytes())
    with pytest.raises(InputError, match='header'):
        StackReader([path], [0], [0])


@pytest.mark.parametrize('content', [b'', b'x' * 100, b'PK\x03\x04' + b'\0' * 2000])
def test_not_an_mrc_file(tmp_path, content):
    (tmp_path / 'n.mrcs').write_bytes(content)
    with pytest.raises(InputError, match=r'n\.mrcs'):
        StackReader([tmp_path / 'n.mrcs'], [0], [0])


def test_missing_stack(tmp_path):
    with pytest.raises(InputError, match='no such image stack'):
        StackReader([tmp_path / 'gone.mrcs'], [0], [0])


def test_mixed_boxes_name_both_files(stack, tmp_path):
    with mrcfile.new(tmp_path / 'b.mrcs', np.zeros((1, 8, 8), np.float32)):
        pass
    with pytest.raises(InputError, match=r'(?s)b\.mrcs has 8 px.*a\.mrcs 16 px'):
        StackReader([stack[0], tmp_path / 'b.mrcs'], [0, 1], [0, 0])


def test_particle_outside_its_stack(stack):
    with pytest.raises(InputError, match='particle nine'):
        StackReader([stack[0]], [0, 0], [0, 7], lambda row: 'particle ' + ['one', 'nine'][row])


def test_nan_image_is_named(tmp_path):
    data = np.zeros((3, 8, 8), np.float32)
    data[1, 2, 2] = np.nan
    with mrcfile.new(tmp_path / 'n.mrcs', data):
        pass
    images = StackReader([tmp_path / 'n.mrcs'], [0] * 3, [2, 1, 0], lambda row: f'row {row}')
    images.read([0, 2])
    with pytest.raises(InputError, match='row 1'):
        images.read([0, 1, 2])


def test_written_stack_as_mrcfile_sees_it(tmp_path):
    data = np.random.default_rng(1).normal(3, 2, size=(5, 9, 9)).astype(np.float32)
    with StackWriter(tmp_path / 'w.mrcs', 5, 9, 1.7) as out:
        out.append(data[:2])
        out.append(data[2:])
    with mrcfile.open(tmp_path / 'w.mrcs') as mrc:
        np.testing.assert_array_equal(mrc.data, data)
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == pytest.approx(1.7)
        assert mrc.header.dmean == pytest.approx(data.mean(), rel=1e-5)
        assert mrc.header.rms == pytest.approx(data.std(), rel=1e-4)
    assert mrcfile.validate(tmp_path / 'w.mrcs')


def test_interrupted_stack_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError), StackWriter(tmp_path / 'w.mrcs', 5, 9, 1.0) as out:
        out.append(np.zeros((2, 9, 9)))
        raise RuntimeError
    with pytest.raises(ValueError, match='2 of 5'), StackWriter(tmp_path / 'w.mrcs', 5, 9, 1.0) as out:
        out.append(np.zeros((2, 9, 9)))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_noticed_before_writing(tmp_path):
    with pytest.raises(OSError, match='GB free'), StackWriter(tmp_path / 'w.mrcs', 10**9, 4096, 1.0):
        pass
    assert list(tmp_path.iterdir()) == []
