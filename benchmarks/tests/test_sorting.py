"""Sets with planted junk hold what they say, and measures of sorting are what they are called."""

import numpy as np
import pytest

from benchmarks.sorting import __main__, measures, page, planted, volumes
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.ctf import with_ctf
from cryoemgan.engine.imaging.projection import FourierProjector


@pytest.fixture
def kinds():
    return np.repeat([planted.MAJOR, 'empty', planted.MINOR], [1000, 200, 100])


def test_a_score_that_parts_without_error_loses_and_leaves_nothing(kinds):
    rng = np.random.default_rng(1)
    values = np.where(kinds == 'empty', -10, 0) + rng.uniform(size=len(kinds))
    found = measures.measured(kinds, values)
    assert found['empty'] == {'auc': 1.0, 'lost_at_95': 0.0, 'left_at_5': 0.0}
    assert found[planted.MINOR]['auc'] == pytest.approx(0.5, abs=0.08)
    assert found[planted.MINOR]['left_at_5'] == pytest.approx(0.95, abs=0.05)
    assert found[measures.ALL] == found['empty']


def test_a_score_that_says_nothing_loses_as_much_as_it_rejects(kinds):
    for values in (np.zeros(len(kinds)), np.random.default_rng(2).uniform(size=len(kinds))):
        found = measures.measured(kinds, values)['empty']
        assert found['auc'] == pytest.approx(0.5, abs=0.06)
        assert found['lost_at_95'] == pytest.approx(0.95, abs=0.05)
        assert found['left_at_5'] == pytest.approx(0.95, abs=0.05)


def test_false_alarms_are_counted_by_kind(kinds):
    values = np.where(kinds == 'empty', 0.001, np.linspace(0, 1, len(kinds)))
    found = measures.flagged(kinds, values)
    assert found['empty'] == {'below_5': 1.0, 'below_1': 1.0}
    assert found[planted.MAJOR]['below_5'] == pytest.approx(0.065, abs=0.002)


def test_what_breaks_off_and_what_binds_is_as_much_as_it_says():
    axis = np.arange(32) - 16
    ball = (np.sqrt(axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2) < 8).astype(np.float32)
    assert volumes.broken(ball).sum() == pytest.approx((1 - volumes.LOST) * ball.sum(), rel=0.03)
    assert volumes.bound_domain(ball).sum() == pytest.approx((1 + volumes.BOUND) * ball.sum(), rel=0.01)


def test_images_of_a_set_show_what_their_kind_says(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv('CRYOEMGAN_SHARED_DATA', str(shared_data))
    recipe = planted.Recipe('emd1883', 'emd5625', 'tune', snr=1e4, share=0.04)
    planted.make(recipe, 1, tmp_path)
    table, kinds = ParticleTable.read(tmp_path / 'start.star'), planted.kinds_of(tmp_path)
    assert {k: int((kinds == k).sum()) for k in planted.KINDS} == recipe.kinds
    images = table.images().read(np.arange(len(table)))
    with np.load(tmp_path / 'truth.npz') as truth:
        rotations, shifts = planted.euler_to_matrix(*truth['angles'].T), truth['shifts']
    clean = FourierProjector(planted.objects(recipe).major).project(rotations, shifts).numpy()
    clean = planted.normalised(with_ctf(clean, table.pixel_size, table.ctf()))
    like = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, clean)])
    mean = {k: like[kinds == k].mean() for k in planted.KINDS}
    assert mean[planted.MAJOR] > 0.99
    assert mean['wrong-pose'] > 0.99
    assert 0.7 < mean['broken'] < 0.97
    assert 0.8 < mean[planted.MINOR] < 0.99
    assert max(mean[k] for k in ('empty', 'edge', 'other')) < 0.75
    # The table says the right angles, or about, of all but what has none.
    away = np.trace(table.rotations() @ rotations.transpose(0, 2, 1), axis1=1, axis2=2) > 2.9
    assert away[kinds == planted.MAJOR].all()
    assert not away[kinds == 'wrong-pose'].any()


@pytest.mark.parametrize('what', ['run', 'noise', 'maps'])
def test_table_of_what_is_finished_is_written_by_command(tmp_path, capsys, what):
    __main__.main([what, '--work', str(tmp_path), '--finished'])
    assert '0 rows' in capsys.readouterr().out


def test_page_of_the_table_is_made(tmp_path, monkeypatch):
    rows = [
        {'set': 'rnap-0.05', 'use': 'tune', 'seed': 1, 'score': score, 'kind': kind, 'auc': auc, 'lost_at_95': 0.1,
         'left_at_5': 0.2, 'ms': 3.0, 'date': 'today', 'commit': 'c', 'machine': 'm'}
        for score, auc in (('evidence', 0.9), ('NCC', 0.8)) for kind in (*planted.JUNK, measures.ALL, planted.MINOR)
    ]  # fmt: skip
    monkeypatch.setattr(page, 'TABLE', tmp_path / 'sorting.csv')
    page.write(page.TABLE, rows)
    monkeypatch.setattr(page, 'NOISE', tmp_path / 'sorting_noise.csv')
    noise = [{'set': 'rnap-0.05', 'seed': 1, 'score': 'NCC', 'kept': part, 'correlation': 0.7, 'chance': 0.4,
              'passed': 0.25, 'images': 10} for part in (1.0, 0.1)]  # fmt: skip
    page.write(page.NOISE, noise)
    (path,) = page.pages(tmp_path)
    text = path.read_text()
    assert '**0.90**' in text
    assert '     - 0.80' in text
    assert 'best 10%' in text
    assert '     - 0.70' in text
