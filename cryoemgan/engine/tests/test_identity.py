"""A particle is not the spelling of its name: matching, splits, and models that know what they were trained on."""

import numpy as np
import pytest

from ..data.identity import Who, kin, who
from ..data.matching import match
from ..data.table import ParticleTable
from ..errors import InputError
from ..inference.known_particles import hashes_of, known
from ..inference.model import Model
from ..inference.model_writer import save_model
from ..inference.routing import route
from ..training import folds, sampling
from .test_model import card, trained

COUNT = 12


def table(path, stack='s.mrcs', coordinates=0.0, micrograph='Mic/m{}.mrc', **columns):
    rng = np.random.default_rng(5)
    given = {
        'rlnImageName': [f'{i + 1:06d}@{stack}' for i in range(COUNT)],
        'rlnMicrographName': [micrograph.format(i % 3) for i in range(COUNT)],
        'rlnCoordinateX': rng.uniform(0, 4000, COUNT) + coordinates,
        'rlnCoordinateY': rng.uniform(0, 4000, COUNT),
        **columns,
    }
    return ParticleTable.create(path, {k: v for k, v in given.items() if v is not None})


NO_WITNESS = dict(rlnMicrographName=None, rlnCoordinateX=None, rlnCoordinateY=None)


@pytest.mark.parametrize('witnesses', [{}, NO_WITNESS])
@pytest.mark.parametrize('stack', ['/data/project/s.mrcs', '../moved/s.mrcs', './s.mrcs', '>s.mrcs'])
def test_the_same_stack_however_it_is_spelled(tmp_path, stack, witnesses):
    a, b = table(tmp_path / 'a.star', **witnesses), table(tmp_path / 'b.star', stack, **witnesses)
    assert [rows.tolist() for rows in match(a, b)] == [list(range(COUNT))] * 2
    assert known(who(b), hashes_of(who(a))).all()


def test_another_spelling_of_micrograph_and_stack(tmp_path):
    a = table(tmp_path / 'a.star')
    b = table(tmp_path / 'b.star', '/job9/other_name.mrcs', micrograph='/scratch/m{}.mrcs')
    assert len(match(a, b)[0]) == COUNT
    assert known(who(b), hashes_of(who(a))).all()


def test_particles_picked_anew_under_old_names(tmp_path):
    a, b = table(tmp_path / 'a.star'), table(tmp_path / 'b.star', coordinates=50.0)
    with pytest.raises(InputError, match='equal names differ in _rlnCoordinateX'):
        match(a, b)
    assert not known(who(b), hashes_of(who(a))).any()
    assert known(Who(who(b).names), hashes_of(who(a))).all(), 'names alone cannot tell'


def test_a_few_picked_anew_are_left_out(tmp_path):
    moved = np.zeros(COUNT)
    moved[3] = 300.0
    a, b = table(tmp_path / 'a.star'), table(tmp_path / 'b.star', coordinates=moved)
    assert match(a, b)[0].tolist() == [i for i in range(COUNT) if i != 3]


def test_coordinates_that_a_program_filled_are_no_places(tmp_path):
    zero = np.zeros(COUNT)
    a = table(tmp_path / 'a.star', rlnCoordinateX=zero, rlnCoordinateY=zero)
    assert kin(a).alone
    assert known(who(a), hashes_of(who(a))).all()


def test_refined_defocus_is_no_other_particle(tmp_path):
    witness = {**NO_WITNESS, 'rlnDefocusU': np.linspace(9000, 20000, COUNT)}
    a = table(tmp_path / 'a.star', **witness)
    b = table(tmp_path / 'b.star', **{**witness, 'rlnDefocusU': np.linspace(9000, 20000, COUNT) + 200})
    assert len(match(a, b)[0]) == COUNT
    c = table(tmp_path / 'c.star', **{**witness, 'rlnDefocusU': np.linspace(20000, 9000, COUNT)})
    with pytest.raises(InputError, match='equal names differ in _rlnDefocusU'):
        match(a, c)


def test_rows_of_one_image_are_told_apart_by_their_angles(tmp_path):
    twice = np.repeat(np.arange(COUNT // 2), 2)
    names = [f'{i + 1:06d}@s.mrcs' for i in twice]
    rot = np.tile([10.0, 190.0], COUNT // 2)
    angles = dict(rlnAngleTilt=np.full(COUNT, 50.0), rlnAnglePsi=np.full(COUNT, 7.0), **NO_WITNESS)
    a = table(tmp_path / 'a.star', rlnImageName=names, rlnAngleRot=rot, **angles)
    order = np.random.default_rng(0).permutation(COUNT)
    b = table(tmp_path / 'b.star', rlnImageName=[names[i] for i in order], rlnAngleRot=rot[order], **angles)
    rows_a, rows_b = match(a, b)
    assert len(rows_a) == COUNT
    np.testing.assert_array_equal(order[rows_b], rows_a)
    # Rows that are equal in everything: by their order.
    same = table(tmp_path / 'c.star', rlnImageName=names, rlnAngleRot=np.full(COUNT, 1.0), **angles)
    assert [r.tolist() for r in match(same, same)] == [list(range(COUNT))] * 2


def test_kin(tmp_path):
    copies = [f'{i + 1:06d}@s.mrcs' for i in [0, 1, 2, 3, 0, 1, *range(6, COUNT)]]
    found = kin(table(tmp_path / 'a.star', rlnImageName=copies, **NO_WITNESS))
    assert (found.copies, found.filaments, found.alone) == (2, 0, False)
    assert found.group[0] == found.group[4] != found.group[1] == found.group[5]
    # Tube 1 of micrograph 0 is another one than tube 1 of micrograph 1; an image in two tubes joins them.
    tubes = kin(table(tmp_path / 'b.star', rlnHelicalTubeID=[1, 1] * (COUNT // 2)))
    assert tubes.filaments == 3
    assert [len(np.unique(tubes.group[i::3])) for i in range(3)] == [1, 1, 1]
    assert len(np.unique(tubes.group)) == 3
    assert kin(table(tmp_path / 'c.star')).alone


@pytest.mark.parametrize('number', [2, 3])
def test_splits_keep_groups_whole(number):
    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, 300)
    fold = sampling.folds(300, number, 1, group)
    training, validation = sampling.split(300, 0.1, 1, group)
    assert all(len(set(fold[group == g])) == 1 for g in set(group))
    assert not set(group[training]) & set(group[validation])
    assert sorted([*training, *validation]) == list(range(300))
    assert np.bincount(fold).min() > 300 / number - 12
    assert 15 <= len(validation) <= 45
    # Alone, each position is split as it always was: resumed runs of earlier versions go on.
    np.testing.assert_array_equal(sampling.folds(300, number, 1, np.arange(300)), sampling.folds(300, number, 1))
    np.testing.assert_array_equal(sampling.split(300, 0.1, 1, np.arange(300))[1], sampling.split(300, 0.1, 1)[1])


def test_copies_in_both_half_sets_train_nobody():
    group = np.array([0, 1, 2, 3, 0, 4, 5, 6, 7, 8])
    halves = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
    parts = folds.make_folds('halves', 10, halves, 2, 0.25, 0, group)
    assert [p.touched.tolist() for p in parts] == [[1, 2, 3], [5, 6, 7]]


def test_a_model_knows_its_particles_in_a_moved_project(tmp_path):
    """Only the folders of the names change: routing stays, nothing is denoised by the mean of both fold models."""
    here = table(tmp_path / 'a.star', **NO_WITNESS)
    there = table(tmp_path / 'b.star', '/moved/to/another disk/s.mrcs', **NO_WITNESS)
    everyone, first = who(here), np.arange(COUNT // 2)
    weights = {name: trained() for name in ('without1', 'without2')}
    saw = {'without1': everyone.at(first + COUNT // 2), 'without2': everyone.at(first)}
    save_model(tmp_path / 'm', card(), weights, saw)
    model = Model.load(tmp_path / 'm')
    for particles in (here, there):
        assert route(model, particles).labels() == ['without1'] * 6 + ['without2'] * 6
    strangers = table(tmp_path / 'c.star', 'other.mrcs', **NO_WITNESS)
    assert route(model, strangers).labels() == ['mean'] * COUNT
