"""MRC files as others write them: byte orders, stamps, bytes without a sign, and what is no MRC file."""

import gzip
import shutil
import subprocess

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.data.stacks import StackReader, stack_info
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError

STAMP, MAP, MIN, MAX, IMOD = 212, 208, 76, 80, 152


def patched(path, *changes):
    """Bytes of a file replaced: (position, bytes)."""
    data = bytearray(path.read_bytes())
    for position, new in changes:
        data[position : position + len(new)] = new
    path.write_bytes(data)
    return path


def read(path, count):
    return StackReader([path], [0] * count, range(count)).read(range(count))


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize('stamp', [b'\x44\x44', b'\x44\x41', b'\x44\0', b'\0\0', b'\x11\x11', b'xx'])
@pytest.mark.parametrize('word', [b'MAP ', b'\0\0\0\0', b'MAP\0'])
def test_old_stamps_and_no_map_word(tmp_path, images, stamp, word):
    """The numbers say which byte order they are in, whatever the stamp says."""
    with mrcfile.new(tmp_path / 'a.mrcs', images):
        pass
    path = patched(tmp_path / 'a.mrcs', (STAMP, stamp), (MAP, word))
    np.testing.assert_array_equal(read(path, 3), images)


@pytest.mark.parametrize('kind', ['>f4', '>i2', '>u2'])
def test_big_endian(tmp_path, images, kind):
    """Written byte by byte, of a SGI workstation."""
    data = (100 * abs(images)).astype(kind)
    header = np.zeros(256, '>i4')
    header[:4] = 16, 16, 3, {'f4': 2, 'i2': 1, 'u2': 6}[kind[1:]]
    (tmp_path / 'a.mrcs').write_bytes(header.tobytes() + data.tobytes())
    np.testing.assert_array_equal(read(tmp_path / 'a.mrcs', 3), data.astype(np.float32))


def smooth(low, high):
    """Bytes of smooth images that span a range: float [2, 32, 32]."""
    x = np.sin(np.arange(32) / 5)
    wave = np.stack([np.add.outer(x, x), np.add.outer(x, -x)])
    return np.round((wave - wave.min()) / np.ptp(wave) * (high - low) + low)


@pytest.mark.parametrize('say', ['imod', 'maximum', 'nothing'])
@pytest.mark.parametrize('unsigned', [True, False])
def test_bytes_with_and_without_a_sign(tmp_path, say, unsigned):
    """By IMOD's flag, by the largest value in the header, or by the images alone."""
    data = smooth(70, 248) if unsigned else smooth(-100, 78)
    header = np.zeros(256, '<i4')
    header[:4] = 32, 32, 2, 0
    if say == 'imod':
        header[38:40] = 1146047817, 0 if unsigned else 1
    if say == 'maximum':
        header.view('<f4')[19:21] = data.min(), data.max()
    values = data.astype('u1' if unsigned else 'i1')
    (tmp_path / 'a.mrcs').write_bytes(header.tobytes() + values.tobytes())
    np.testing.assert_array_equal(read(tmp_path / 'a.mrcs', 2), data)


SPIDER = np.zeros(256, '>f4')
SPIDER[[0, 1, 4, 11]] = 1, 32, 1, 32


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('a.mrc.gz', gzip.compress(b'x' * 9000, mtime=0), 'gzip.*gunzip'),
        ('a.mrcs', gzip.compress(b'x' * 9000, mtime=0), 'gzip'),
        ('a.spi', SPIDER.tobytes(), 'Spider.*convert it to MRC'),
        ('a.stk', SPIDER.astype('<f4').tobytes(), 'Spider'),
        ('a.img', b'\0' * 2048, 'IMAGIC'),
        ('a.hdf', b'\x89HDF\r\n\x1a\n' + b'\0' * 2000, 'HDF5'),
        ('a.tif', b'II*\0' + b'\0' * 2000, 'TIFF'),
        ('a.mrcs', b'\ndata_particles\n\nloop_\n' * 100, 'STAR'),
        ('a.mrcs', b'\x93NUMPY' + b'\0' * 2000, 'cryoSPARC'),
    ],
)
def test_other_formats_are_named(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f'(?s){name}: this is .*{told}'):
        stack_info(tmp_path / name)


@pytest.mark.parametrize(('mode', 'told'), [(4, 'complex'), (101, '4 bits')])
def test_modes_without_real_values_are_refused(tmp_path, images, mode, told):
    with mrcfile.new(tmp_path / 'a.mrcs', images):
        pass
    with pytest.raises(InputError, match=told):
        stack_info(patched(tmp_path / 'a.mrcs', (12, np.int32(mode).tobytes())))


def test_impossible_pixels_are_named(tmp_path, images):
    images[1, 3, 3] = 3e38
    with mrcfile.new(tmp_path / 'a.mrcs', images):
        pass
    with pytest.raises(InputError, match=r'1: the image holds values .* beyond 1e\+12 \(1 such .*; leave it out'):
        read(tmp_path / 'a.mrcs', 3)


def table(folder, names):
    path = folder / 'p.star'
    ParticleTable.create(path, {'rlnImageName': names}, {'rlnOpticsGroup': [1]}).write(path)
    return ParticleTable.read(path)


def test_names_of_scipion_and_of_single_files(tmp_path, images):
    """``000001@p.mrc:mrcs`` is p.mrc; a name without @ is a file of one image; the identity is that of plain names."""
    with mrcfile.new(tmp_path / 'p.mrc', images):
        pass
    with mrcfile.new(tmp_path / 'one.mrc', images[0]):
        pass
    t = table(tmp_path, ['000002@p.mrc:mrcs', 'one.mrc', '1@one.mrc'])
    np.testing.assert_array_equal(t.images().read([0, 1, 2]), images[[1, 0, 0]])
    assert t.names() == ['2@p.mrc', '1@one.mrc', '1@one.mrc']
    (tmp_path / 'elsewhere').mkdir()
    part = t.subset([1, 0])
    part.write(tmp_path / 'elsewhere' / 'part.star')
    back = ParticleTable.read(tmp_path / 'elsewhere' / 'part.star')
    np.testing.assert_array_equal(back.images().read([0, 1]), images[[0, 1]])
    assert back.names() == ['1@one.mrc', '2@p.mrc']


def test_image_numbers_from_zero_are_explained(tmp_path):
    with pytest.raises(InputError, match='row 1 .*image numbers start at 1, this one is 0'):
        table(tmp_path, ['000000@p.mrcs', '000001@p.mrcs'])


@pytest.mark.skipif(not shutil.which('relion_image_handler'), reason='RELION is not installed')
@pytest.mark.parametrize('changes', [[(STAMP, b'\x44\0')], [(STAMP, b'\0\0'), (MAP, b'\0\0\0\0')]])
def test_relion_reads_the_same(tmp_path, images, changes):
    """Headers as RELION 3.1.3 takes them."""
    with mrcfile.new(tmp_path / 'a.mrc', images[0]):
        pass
    path = patched(tmp_path / 'a.mrc', *changes)
    words = ['relion_image_handler', '--i', path, '--o', tmp_path / 'b.mrc', '--multiply_constant', '1']
    subprocess.run([str(w) for w in words], check=True, capture_output=True)
    np.testing.assert_array_equal(np.squeeze(mrcfile.read(tmp_path / 'b.mrc')), read(path, 1)[0])


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / 'm.mrc').write_bytes(b'')
    with pytest.raises(InputError, match='the file is empty'):
        stack_info(tmp_path / 'm.mrc')
