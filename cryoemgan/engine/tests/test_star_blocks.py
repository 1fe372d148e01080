"""Tables in pieces: wherever a file or a column is cut, it reads and writes the same."""

import io
import tracemalloc

import numpy as np
import pytest

from cryoemgan.engine.data import star_blocks, star_lines
from cryoemgan.engine.data.star import decoded, read_star
from cryoemgan.engine.data.star_blocks import Column, Document
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError

from .test_star import LABELS, OPTICS

ROWS = ''.join(f'"m {i}.mrc" {i}@ä.mrcs {i} 1\n' if i % 7 == 3 else f'm{i} {i}@p.mrcs {i} 1\n' for i in range(1, 300))


@pytest.fixture(params=[1, 3, 64, 2**19])
def pieces(request, monkeypatch):
    """Files and columns that are cut everywhere."""
    monkeypatch.setattr(star_lines, 'PIECE', request.param)
    monkeypatch.setattr(star_blocks, 'PIECE_ROWS', max(2, request.param // 8))


@pytest.mark.parametrize('end', ['', '\n', '\n\n', '\n\n# a comment\n', '\n   \nm400 400@p.mrcs 400 1\n'])
def test_a_file_reads_the_same_wherever_it_is_cut(tmp_path, pieces, end):
    path = tmp_path / 'p.star'
    path.write_text(OPTICS + LABELS + ROWS.rstrip('\n') + end + '\n# the end\n\ndata_more\n\nloop_\n_a\n_b\n1 x\n2 y\n')
    table = ParticleTable.read(path)
    last = 'm400' in end
    assert table.floats('rlnCoordinateX').tolist() == [*range(1, 300), *[400] * last]
    assert table.strings('rlnMicrographName')[1:4] == ['m2', 'm 3.mrc', 'm4']
    assert len(table.notes) == last
    assert list(read_star(path).document.block('more').column('_b')) == ['x', 'y']
    table.write(tmp_path / 'q.star')
    again = ParticleTable.read(tmp_path / 'q.star')
    for label in table.labels():
        assert again.strings(label) == table.strings(label)


def test_errors_name_the_line_wherever_the_file_is_cut(tmp_path, pieces):
    path = tmp_path / 'p.star'
    path.write_text(OPTICS + LABELS + ROWS + 'm300 300@p.mrcs 300\n')
    number = (OPTICS + LABELS + ROWS).count('\n') + 1
    with pytest.raises(InputError, match=rf'row 300 of data_\w* \(line {number}\) has 3 values for 4'):
        ParticleTable.read(path)
    path.write_bytes((OPTICS + LABELS + ROWS).encode() + b'm\xe9 300@p.mrcs 300 1\n')
    with pytest.raises(InputError, match=f'line {number} holds bytes'):
        ParticleTable.read(path)


@pytest.mark.parametrize('size', [1, 2, 5, 4096])
def test_text_is_decoded_the_same_in_any_chunks(size):
    """Line ends and letters of several bytes that a chunk ends in."""

    class Few(io.BytesIO):
        def read(self, _):
            return super().read(size)

    text = '\ufeffä\r\nb\rc\n\rü€\r\n'
    assert ''.join(decoded(Few(text.encode()), 'x')) == 'ä\nb\nc\n\nü€\n'


@pytest.mark.parametrize('count', [0, 1, 7, 8, 9, 30])
def test_columns_are_sequences(monkeypatch, count):
    monkeypatch.setattr(star_blocks, 'PIECE_ROWS', 8)
    cells = [f'{k / 4:.6f}' for k in range(count)]
    column = Column.of(cells)
    assert (list(column), len(column)) == (cells, count)
    assert [column[k] for k in range(count)] == cells
    assert column.numbers().tolist() == [k / 4 for k in range(count)]
    rng = np.random.default_rng(count)
    for rows in (np.arange(count)[::3], rng.permutation(count), np.sort(rng.integers(0, max(count, 1), count))):
        assert list(column.take(rows)) == [cells[r] for r in rows]
    assert list(Column.filled('x', count)) == ['x'] * count


def test_what_is_no_number_is_a_value_error():
    with pytest.raises(ValueError, match='x'):
        Column.of(['1', 'x']).numbers()
    assert Column.of(['1', '"2"', "'3'"]).numbers().tolist() == [1, 2, 3]


def test_copies_share_columns_and_change_alone():
    document = Document.of({'a': {'x': ['1', '2']}})
    other = document.copy()
    other.block('a').set_column('_x', Column.filled('7', 2))
    assert list(document.block('a').column('_x')) == ['1', '2']


def test_memory_of_a_row(tmp_path):
    """A table of 25 columns at most 300 bytes a row, read, derived from and written."""
    rng, count = np.random.default_rng(0), 40_000
    columns = {f'rlnColumn{k}': rng.uniform(0, 1e4, count) for k in range(24)}
    path = tmp_path / 'p.star'
    ParticleTable.create(path, {'rlnImageName': (f'{i + 1:06d}@p.mrcs' for i in range(count)), **columns}).write(path)
    del columns
    ParticleTable.read(path)
    tracemalloc.start()
    table = ParticleTable.read(path)
    made = table.derive('d.mrcs')
    made.set('cryoemganFit', np.zeros(count))
    assert tracemalloc.get_traced_memory()[0] < 200 * count
    made.write(tmp_path / 'd.star')
    most = tracemalloc.get_traced_memory()[1]
    # Neither do a few rows of it, in any order.
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    rows = [count - 1, 3, 3, 20_000]
    assert list(made.names_of(rows)) == [f'{r + 1}@p.mrcs' for r in rows]
    assert tracemalloc.get_traced_memory()[1] - before < 3e6
    tracemalloc.stop()
    # What is in work at any time does not grow with the table.
    assert most < 300 * count + 50e6
