"""STAR as RELION reads and writes it; RELION_READ is what RELION 3.1.3 (relion_star_handler) made of ROWS."""

import shutil
import subprocess

import numpy as np
import pytest

from ..data.star_cells import quoted, words_of
from ..data.table import ParticleTable
from ..errors import InputError

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
opticsGroup1 1 300.000000 2.700000 0.100000 5.000000 32 2

"""
LABELS = """
# version 30001

data_particles

loop_
_rlnMicrographName #1
_rlnImageName #2
_rlnCoordinateX #3
_rlnOpticsGroup #4
"""
NAMES = [
    'mic.mrc', 'data_x/m', '_x/m', '$x', "'a b'", "it's", '"q"', 'loop_x', 'é', ';x', '""', 'ab"c\'d', '[x]',
    'mic.mrc#1', 'µ/data_1', '  indented', '"a #b"', '.hidden', '"#m"',
]  # fmt: skip
RELION_READ = [
    'mic.mrc', 'data_x/m', '_x/m', '$x', 'a b', "it's", 'q', 'loop_x', 'é', ';x', '', 'ab"c\'d', '[x]', 'mic.mrc#1',
    'µ/data_1', 'indented', 'a #b', '.hidden', '#m',
]  # fmt: skip
ROWS = ''.join(f'{name} {i + 1:06d}@p.mrcs {i + 1} 1\n' for i, name in enumerate(NAMES))


def read(folder, text, name='p.star'):
    (folder / name).write_text(text, encoding='utf-8', newline='')
    return ParticleTable.read(folder / name)


def check(table, names=RELION_READ):
    assert table.strings('rlnMicrographName') == names
    assert table.floats('rlnCoordinateX').tolist() == list(range(1, len(names) + 1))
    assert table.floats('rlnVoltage').tolist() == [300] * len(names)


@pytest.mark.parametrize('change', [
    lambda t: t, lambda t: '\ufeff' + t, lambda t: t.replace('\n', '\r\n'), lambda t: t.replace('\n', '\r'),
    lambda t: t.replace(' ', '\t').replace('a\tb', 'a b').replace('a\t#b', 'a #b'),
    lambda t: t.replace('\n_', '\n   _').rstrip('\n'),
    lambda t: t.replace('data_optics', 'data_OPTICS').replace('loop_\n', 'LOOP_\n'),
])  # fmt: skip
def test_rows_are_read_as_relion_reads_them(tmp_path, change):
    check(read(tmp_path, change(OPTICS + LABELS + ROWS)))


def test_blocks_in_any_order(tmp_path):
    other = 'data_model_classes\n\nloop_\n_rlnImageName\n_rlnClassNumber\n1@other.mrcs 1\n\ndata_x\n\n'
    check(read(tmp_path, other + LABELS + ROWS + OPTICS + '\ndata_x\n\n'))
    # No empty line between the tables.
    check(read(tmp_path, LABELS + ROWS + OPTICS.lstrip('\n').replace('# version 30001\n\n', '')))


@pytest.mark.parametrize('group', ['001', '1.000000', '"1"', "'1'"])
def test_spelling_of_optics_groups(tmp_path, group):
    rows = ROWS.replace(' 1\n', f' {group}\n')
    check(read(tmp_path, OPTICS + LABELS + rows))
    check(read(tmp_path, OPTICS.replace('opticsGroup1 1 ', f'opticsGroup1 {group} ') + LABELS + ROWS))


def test_tables_of_pairs(tmp_path):
    labels = [line.split()[0] for line in OPTICS.splitlines() if line.startswith('_')]
    values = next(line for line in OPTICS.splitlines() if line.startswith('opticsGroup1')).split()
    pairs = 'data_optics\n\n' + ''.join(f'{a:40} {b}\n' for a, b in zip(labels, values)) + '\n'
    check(read(tmp_path, pairs + LABELS + ROWS))
    one = read(tmp_path, pairs + 'data_particles\n\n_rlnImageName 000003@"a b.mrcs"\n_rlnMicrographName "m 1.mrc"\n'
                                 .replace('@"a b.mrcs"', '@a.mrcs'))  # fmt: skip
    assert one.strings('rlnMicrographName') == ['m 1.mrc']
    assert one.strings('rlnImageName') == ['000003@a.mrcs']


def test_written_tables_hold_the_same(tmp_path):
    table = read(tmp_path, OPTICS + LABELS + ROWS)
    table.set('rlnGroupName', [n or 'none' for n in RELION_READ])
    table.set_provenance(verb='test', model='/home/josé/it\'s a "model" x', nothing='')
    table.write(tmp_path / 'q.star')
    check(again := ParticleTable.read(tmp_path / 'q.star'))
    assert again.strings('rlnGroupName') == [n or 'none' for n in RELION_READ]
    assert again.provenance == {'verb': 'test', 'model': '/home/josé/it\'s a "model" x', 'nothing': ''}
    # Names as they are, without quotes, where a row can be taken apart so.
    assert '\ndata_x/m 000002@p.mrcs' in (tmp_path / 'q.star').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', [*RELION_READ, 'a\' b" c', '"', "''", "a'", '" x', '.', '?', "d' e"])
def test_a_quoted_name_is_one_cell(name):
    assert words_of(f'1 {quoted(name)} 2') == ['1', name, '2']


def test_a_line_break_is_no_name():
    with pytest.raises(InputError, match='line break'):
        quoted('a\nb')


def test_the_row_with_a_stray_cell_is_named(tmp_path):
    rows = [f'm{i} {i + 1:06d}@p.mrcs {i} 1' for i in range(6000)]
    rows[5475] += ' 9'
    line = (OPTICS + LABELS).count('\n') + 5476
    with pytest.raises(InputError, match=rf'row 5476 .*line {line}\).* 5 values for 4 labels.*sed -i {line}d'):
        read(tmp_path, OPTICS + LABELS + '\n'.join(rows) + '\n')
    # A cell too many and one too few are not a table shifted by one.
    rows[5475], rows[5476] = rows[5475], '000000@p.mrcs 1 1'
    with pytest.raises(InputError, match='row 5476 '):
        read(tmp_path, OPTICS + LABELS + '\n'.join(rows) + '\n')


def test_what_relion_reads_without_looking(tmp_path):
    text = (
        'made by hand\n'
        + OPTICS
        + LABELS
        + '\n# rows:\n'
        + ROWS
        + '\n\nEND OF FILE\n'
        + LABELS
        + 'm 000099@p.mrcs 9 1\n'
    )
    table = read(tmp_path, text.replace('mic.mrc 000001', 'mic.mrc\f 000001'))
    check(table)
    assert ['2 lines belong to no table' in n or 'data_particles stands there twice' in n for n in table.notes] == [
        True
    ] * 2
    # A blank that does not break is part of a name.
    assert read(tmp_path, OPTICS + LABELS + 'a\u00a0b 1@p.mrcs 1 1\n').strings('rlnMicrographName') == ['a\u00a0b']


def test_an_optics_group_described_twice(tmp_path):
    with pytest.raises(InputError, match='optics group 1 is described twice'):
        read(tmp_path, OPTICS.rstrip() + '\nopticsGroup1 1 200.0 2.7 0.1 5.0 32 2\n' + LABELS + ROWS)


def test_what_relion_leaves_out_is_said(tmp_path):
    table = read(tmp_path, OPTICS + LABELS + '#m0 000001@p.mrcs 1 1\nm1 000002@p.mrcs 2 1\n\nm2 000003@p.mrcs 3 1\n')
    assert table.strings('rlnMicrographName') == ['m1', 'm2']
    assert ['1 rows begin with #' in note for note in table.notes] == [True, False]
    assert '1 rows stand behind an empty line' in table.notes[1]


@pytest.mark.parametrize(('data', 'message'), [
    (b'data_\nloop_\n_rlnImageName\n1@\xe9.mrcs\n', 'line 4 .*not UTF-8'),
    ('data_'.encode('utf-16'), 'byte order mark'),
    (b'\x1f\x8b\x08\0', 'gzip'), (b'\0' * 208 + b'MAP ' + b'\0' * 900, 'images'), (b'\x93NUMPY\x01\0', 'cryoSPARC'),
    (b'# XMIPP_STAR_1 *\n# \ndata_x\nloop_\n _image\n1@a.stk\n', 'Xmipp'), (b'#LST\n1 a.hdf', 'EMAN'),
    (b'hello\n', 'no STAR'), (b'a,b\n1,2\n', 'csv'), (b'{"a": 1}', 'JSON'), (b'\n\n', 'empty'),
    (b'data_x\nloop_\n_rlnMicrographName\nm.mrc\n', '_rlnMicrographName'),
    (b'data_\nloop_\n_rlnImageName\n_rlnAnglePsi\n\n', 'no particles'),
])  # fmt: skip
def test_files_that_are_no_table(tmp_path, data, message):
    (tmp_path / 'x.star').write_bytes(data)
    with pytest.raises(InputError, match=message):
        ParticleTable.read(tmp_path / 'x.star')


@pytest.mark.skipif(not shutil.which('relion_star_handler'), reason='RELION is not installed')
def test_relion_reads_what_we_write(tmp_path):
    table = read(tmp_path, OPTICS + LABELS + ROWS)
    table.set_provenance(verb='test')
    subset = table.derive('new.mrcs', box=64, pixel_size=2.5)
    subset.set('cryoemganFit', np.linspace(0, 1, len(table)))
    subset.write(tmp_path / 'ours.star')
    subprocess.run(['relion_star_handler', '--i', 'ours.star', '--o', 'theirs.star'], cwd=tmp_path, check=True,
                   capture_output=True, timeout=60)  # fmt: skip
    theirs = ParticleTable.read(tmp_path / 'theirs.star')
    # RELION reads "#m" and writes it without the quotes, so that its own reader takes the row for a comment.
    check(theirs, RELION_READ[:-1])
    assert theirs.strings('rlnImageOriginalName') == table.strings('rlnImageName')[:-1]
    assert theirs.floats('rlnImagePixelSize').tolist() == [2.5] * len(theirs)
