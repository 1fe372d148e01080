"""Particle tables: RELION's own files, identity, and files that were damaged or made up."""

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError

V31 = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
7 300.0 2.7 0.1 2.0 8
9 200.0 0.01 0.07 2.0005 8

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnOpticsGroup #8
_rlnMicrographName #9
000001@s.mrcs 10 20 30 4.0 -2.0 15000 9 'my mic 1.mrc'
000003@s.mrcs 11 21 31 1.0 0.5 16000 7 m2.mrc
000002@./s.mrcs 12 22 32 0 0 17000 7 m2.mrc
"""

V30 = """
data_

loop_
_rlnImageName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMagnification #5
_rlnDetectorPixelSize #6
_rlnOriginX #7
_rlnOriginY #8
_rlnDefocusU #9
000002@s.mrcs\t300 2.7 0.1 50000 14 2.0 -1.0 12000
000001@s.mrcs 300 2.7 0.1 50000 14 0.5 0.25 13000
"""


@pytest.fixture
def folder(tmp_path):
    with mrcfile.new(tmp_path / 's.mrcs', np.arange(3 * 64, dtype=np.float32).reshape(3, 8, 8)):
        pass
    return tmp_path


def table(folder, text, name='p.star'):
    (folder / name).write_text(text)
    return ParticleTable.read(folder / name)


def test_optics_groups_reach_their_particles(folder):
    t = table(folder, V31)
    assert t.ctf()['voltage'].tolist() == [200, 300, 300]
    assert t.ctf()['amplitude_contrast'].tolist() == [0.07, 0.1, 0.1]
    np.testing.assert_allclose(t.shifts(), [[4 / 2.0005, -2 / 2.0005], [0.5, 0.25], [0, 0]])
    assert t.pixel_size == 2.0
    assert t.strings('rlnMicrographName') == ['my mic 1.mrc', 'm2.mrc', 'm2.mrc']
    np.testing.assert_array_equal(t.images().read([0, 1, 2])[:, 0, 0], [0, 128, 64])


def test_relion_30_pixels_and_shifts(folder):
    t = table(folder, V30)
    assert t.pixel_size == pytest.approx(2.8)
    np.testing.assert_allclose(t.shifts(), [[2, -1], [0.5, 0.25]])
    assert t.ctf()['defocus_v'].tolist() == [12000, 13000]
    assert t.half_sets() is None


def test_relions_refinement(shared_data):
    t = ParticleTable.read(shared_data / 'relion_refined' / 'run_data.star')
    assert (len(t), t.box, t.pixel_size) == (1500, 64, 4.5)
    np.testing.assert_allclose(t.shifts()[0], [4.663412 / 4.5, 8.191412 / 4.5])
    assert set(t.half_sets()) == {1, 2}
    truth = ParticleTable.read(shared_data / 'relion_refined' / 'truth.star')
    rows, rows_truth = match(t, truth)
    np.testing.assert_array_equal(rows, rows_truth)


@pytest.mark.parametrize('text', [V31, V30])
def test_derived_table_is_read_back_and_matches(folder, text):
    t = table(folder, text)
    out = t.derive('d.mrcs', box=4, pixel_size=2 * t.pixel_size)
    out.set('rlnImageId', np.arange(len(t)) + 5)
    out.set_provenance(ctf='full', model='a b.c')
    out.write(folder / 'd.star')
    back = ParticleTable.read(folder / 'd.star')
    assert back.pixel_size == pytest.approx(2 * t.pixel_size, rel=1e-4)
    np.testing.assert_allclose(back.shifts(), t.shifts() / 2, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(back.floats('rlnDefocusU'), t.floats('rlnDefocusU'))
    assert back.names() == t.names()
    assert back.provenance == {'ctf': 'full', 'model': 'a b.c'}
    assert [a.tolist() for a in match(t, back)] == [list(range(len(t)))] * 2


def test_original_names_that_stand_there_are_kept(folder):
    """RELION reverts a subtraction of signal by them."""
    t = table(folder, V31)
    before = [f'{k + 1:06d}@Extract/job004/mic.mrcs' for k in range(len(t))]
    t.set('rlnImageOriginalName', before)
    t.write(folder / 'subtracted.star')
    first = t.derive('d.mrcs', rows=[2, 0])
    first.write(folder / 'd.star')
    first = ParticleTable.read(folder / 'd.star')
    second = first.derive('e.mrcs')
    for made, source, rows in ((first, t, [2, 0]), (second, first, [0, 1])):
        assert made.strings('rlnImageOriginalName') == [before[2], before[0]]
        assert match(made, source)[1].tolist() == rows
        assert list(made.names_of([1])) == [made.names()[1]] == [source.strings('rlnImageName')[rows[1]].lstrip('0')]


def test_subset_and_order(folder):
    t = table(folder, V31)
    part = t.derive('d.mrcs', rows=[2, 0])
    assert part.floats('rlnDefocusU').tolist() == [17000, 15000]
    part.write(folder / 'd.star')
    rows_a, rows_b = match(ParticleTable.read(folder / 'd.star'), t)
    assert (rows_a.tolist(), rows_b.tolist()) == ([0, 1], [2, 0])


def test_subset_keeps_its_images_where_another_stack_has_the_same_name(folder, tmp_path_factory, monkeypatch):
    """Run from a folder with an s.mrcs of its own, a subset written elsewhere once named that one."""
    here, elsewhere = (tmp_path_factory.mktemp(name) for name in ('here', 'elsewhere'))
    with mrcfile.new(here / 's.mrcs', np.full((3, 8, 8), -1, dtype=np.float32)):
        pass
    monkeypatch.chdir(here)
    table(folder, V31).subset([2, 0]).write(elsewhere / 'part.star')
    expected = np.arange(3 * 64, dtype=np.float32).reshape(3, 8, 8)[[1, 0]]  # rows 2 and 0
    np.testing.assert_array_equal(ParticleTable.read(elsewhere / 'part.star').images().read([0, 1]), expected)


def test_equal_ids_of_other_particles_do_not_match(folder):
    """Every Scipion set counts from 1: ids alone once paired references with another set's particles."""

    def with_ids(name, stack, defocus):
        t = ParticleTable.create(
            folder / name,
            {
                'rlnImageName': [f'{i}@{stack}' for i in (1, 2, 3)],
                'rlnImageId': np.array([1, 2, 3]),
                'rlnDefocusU': np.array(defocus, float),
            },
        )
        return t

    a, b = with_ids('a', 'a.mrcs', [1e4, 2e4, 3e4]), with_ids('b', 'b.mrcs', [1.5e4, 2.5e4, 3.5e4])
    with pytest.raises(InputError, match='rlnDefocusU'):
        match(a, b)
    c = with_ids('c', 'c.mrcs', [1e4, 2e4, 3e4])
    assert match(a, c)[1].tolist() == [0, 1, 2]


def test_rows_are_paired_by_id_not_by_position(folder):
    a = ParticleTable.create('a', {'rlnImageName': ['1@a', '2@a', '3@a'], 'rlnImageId': np.array([4, 7, 9])})
    b = ParticleTable.create('b', {'rlnImageName': ['1@b', '2@b'], 'rlnImageId': np.array([9, 4])})
    rows_a, rows_b = match(a, b)
    assert (rows_a.tolist(), rows_b.tolist()) == ([0, 2], [1, 0])


def test_names_that_stand_twice_pair_nothing(folder):
    a = ParticleTable.create('a', {'rlnImageName': ['1@s', '1@s', '2@s']})
    b = ParticleTable.create('b', {'rlnImageName': ['1@s', '2@s']})
    assert match(a, b)[0].tolist() == [2]


def test_no_common_particle(folder):
    a = ParticleTable.create('a.star', {'rlnImageName': ['1@s']})
    b = ParticleTable.create('b.star', {'rlnImageName': ['1@t']})
    with pytest.raises(InputError, match=r'a\.star and b\.star share no particle'):
        match(a, b)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'empty'),
        ('data_x\n_a 1\n', 'no table'),
        ('data_\nloop_\n_rlnImageName\n_rlnX\n1@a\n', 'row 1 .*1 values for 2 labels'),
        ('\x00\x01\x02', 'binary'),
        ('data_\nloop_\n_rlnImageName\nx@particle.mrc\n', 'row 1 .*must look like'),
        ('data_\nloop_\n_rlnImageName\n0@a.mrcs\n', 'row 1 .*numbers start at 1'),
        ('data_\nloop_\n_rlnImageName\n99999999999999999999@a.mrcs\n', 'row 1 .*must look like'),
    ],
)
def test_damaged_tables(folder, text, message):
    with pytest.raises(InputError, match=message):
        table(folder, text)


def test_missing_file_and_columns(folder):
    with pytest.raises(InputError, match='no such file'):
        ParticleTable.read(folder / 'gone.star')
    with pytest.raises(InputError, match='is a folder: give the table'):
        ParticleTable.read(folder)
    t = table(folder, V30)
    with pytest.raises(InputError, match='without projection angles'):
        t.rotations()
    without = table(folder, V30.replace('rlnDefocusU', 'rlnOther'), 'without.star')
    with pytest.raises(InputError, match='project --ctf none'):
        without.ctf()
    bad = table(folder, V30.replace('12000', 'abc'), 'bad.star')
    with pytest.raises(InputError, match="rlnDefocusU: row 1: 'abc'"):
        bad.ctf()
    nan = table(folder, V30.replace('13000', 'nan'), 'nan.star')
    with pytest.raises(InputError, match='row 2'):
        nan.ctf()


def test_unknown_optics_group_and_mixed_pixel_sizes(folder):
    with pytest.raises(InputError, match='optics group 8'):
        table(folder, V31.replace('15000 9', '15000 8')).ctf()
    with pytest.raises(InputError, match='pixel sizes from 2 to 2.5'):
        _ = table(folder, V31.replace('2.0005', '2.5')).pixel_size


def test_stack_is_found_from_the_project_folder(folder):
    """RELION writes image names relative to the project, and its tables two folders below."""
    (folder / 'Refine3D' / 'job007').mkdir(parents=True)
    t = table(folder, V31, 'Refine3D/job007/run_data.star')
    assert len(t.images().read([0])) == 1
    with pytest.raises(InputError, match='image stack t.mrcs not found'):
        table(folder, V31.replace('s.mrcs', 't.mrcs')).images()


def test_names_stand_in_the_file_as_relion_reads_them(folder):
    """RELION takes quotes as part of a name; only what would break the table is quoted."""
    names = ['000001@./my_stack.mrcs', '2@/abs/x.mrcs', '3@a b.mrcs', 'data_x', '#1@y', '5@plain.mrcs']
    ParticleTable.create('x', {'rlnMicrographName': names, 'rlnImageName': ['1@s.mrcs'] * 6}).write(folder / 'x.star')
    text = (folder / 'x.star').read_text()
    assert '\n000001@./my_stack.mrcs ' in text
    assert '\n2@/abs/x.mrcs ' in text
    assert ParticleTable.read(folder / 'x.star').strings('rlnMicrographName') == names


def test_provenance_may_be_set_first(folder):
    """A block added to the file moved the others: columns set afterwards were lost, or the program crashed."""
    t = ParticleTable.create(folder / 'x', {'rlnImageName': ['1@s.mrcs']}, {'rlnOpticsGroup': np.array([1])})
    t.set_provenance(ctf='none')
    t.set('rlnDefocusU', [15000.5])
    t.write(folder / 'x.star')
    back = ParticleTable.read(folder / 'x.star')
    assert (back.floats('rlnDefocusU').tolist(), back.provenance) == ([15000.5], {'ctf': 'none'})
