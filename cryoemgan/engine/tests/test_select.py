"""``select``: what is rejected, what that costs, and that the originals come out."""

import csv
import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.scores import BY_NAME
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.posterior.p_value import PValueCalibration
from cryoemgan.engine.settings import Select
from cryoemgan.engine.trust.selection import choose_limit

GOOD, JUNK = 900, 300


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """900 particles of the map and 300 others, shuffled; their fits are those of the product's own calibration, made
    of 5,000 other particles of the map."""
    folder, rng = tmp_path_factory.mktemp('select'), np.random.default_rng(4)
    calibration = PValueCalibration.of(20 + rng.normal(size=5000), *rng.normal(size=(2, 5000)))
    match, misfit = rng.normal(size=(2, GOOD + JUNK))
    match[GOOD:] -= 5
    good, order = np.arange(GOOD + JUNK) < GOOD, rng.permutation(GOOD + JUNK)
    fit = calibration.fit(np.ones(GOOD + JUNK), match, misfit)
    with StackWriter(folder / 'particles.mrcs', GOOD + JUNK, 8, 3.0) as writer:
        writer.append(np.zeros((GOOD + JUNK, 8, 8), np.float32))
    source = {
        'rlnImageName': [f'{i + 1:06d}@particles.mrcs' for i in range(GOOD + JUNK)],
        'rlnRandomSubset': [1 + i % 2 for i in range(GOOD + JUNK)],
        'rlnAngleRot': np.arange(GOOD + JUNK) / 7,
    }
    table = ParticleTable.create(folder / 'source.star', source)
    table.write(folder / 'source.star')
    scored = table.derive('particles.mrcs')
    scored.set('cryoemganFit', fit)
    scored.set('cryoemganEvidence', np.where(good, 20, 2) + rng.normal(size=GOOD + JUNK))
    scored.set('cryoemganUncertainty', 0.5 + 0.01 * rng.normal(size=GOOD + JUNK))
    scored.set_provenance(verb='denoise', evidence_threshold='18.355')
    scored = scored.subset(order)
    scored.write(folder / 'denoised.star')
    return folder, good


def select(folder, tmp_path, particles=None, **options):
    settings = Select(
        output=str(tmp_path / 'out'), particles=str(particles or folder / 'denoised.star'),
        source=str(folder / 'source.star'), **options,
    )  # fmt: skip
    settings.validate()
    run('select', settings)
    return tmp_path / 'out', json.loads((tmp_path / 'out' / 'summary.json').read_text())


def rows_of(path):
    """Rows of the source, from the angle that names them."""
    return np.round(ParticleTable.read(path).floats('rlnAngleRot') * 7).astype(int)


def test_the_proposed_limit_costs_what_it_says(sets, tmp_path):
    folder, good = sets
    out, summary = select(folder, tmp_path)
    kept, rejected = rows_of(out / 'kept.star'), rows_of(out / 'rejected.star')
    assert sorted([*kept, *rejected]) == list(range(GOOD + JUNK))
    lost = (~np.isin(np.flatnonzero(good), kept)).mean()
    assert summary['expected_loss'] == 0.05
    # Three standard errors of 900 particles.
    assert lost == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / GOOD) ** 0.5)
    assert np.isin(np.flatnonzero(~good), rejected).mean() > 0.9
    assert summary['good_particles'] == pytest.approx(GOOD / (GOOD + JUNK), abs=0.05)
    assert list(kept) == sorted(kept)
    assert (out / 'fit.png').exists()


def test_limits_fractions_and_table_of_reasons(sets, tmp_path):
    folder, good = sets
    out, summary = select(folder, tmp_path, evidence='proposed', uncertainty='10%')
    evidence, uncertainty = summary['limits']
    assert evidence['limit'] == pytest.approx(18.355)
    assert (good[rows_of(out / 'rejected.star')] == 0).sum() == JUNK
    assert evidence['expected_loss'] == 0.05
    assert uncertainty['rejected'] == pytest.approx(0.1 * (GOOD + JUNK), abs=1)
    # One of the two has no calibration: nothing is said of both.
    assert summary['expected_loss'] is None
    assert 'has no calibration' in uncertainty['sentence']
    with (out / 'selection.csv').open() as f:
        rows = list(csv.DictReader(f))
    assert sum(r['kept'] == '1' for r in rows) == summary['kept'] == sum(summary['half_sets'])


def test_scores_of_another_table_by_identity(sets, tmp_path):
    folder, good = sets
    references = ParticleTable.read(folder / 'source.star').subset(np.arange(GOOD + JUNK)[::-1])
    references.set('cryoemganCorrelation', np.where(good, 0.3, 0.1)[::-1])
    references.set('cryoemganPoseFit', np.where(good, 0.5, 0.01)[::-1])
    references.set('cryoemganReason', np.where(good, 'fits', 'empty')[::-1])
    references.write(tmp_path / 'references.star')
    scored = [str(tmp_path / 'references.star')]
    assert select(folder, tmp_path / 'fit', scores=scored)[1]['reasons'] == {'empty': JUNK}
    out, _ = select(folder, tmp_path, scores=scored, correlation='0.2', denoised=True)
    assert list(rows_of(out / 'kept.star')) == list(np.flatnonzero(good))
    assert good[rows_of(out / 'kept_denoised.star')].all()


def test_a_set_of_noise_is_called_noise_however_it_was_calibrated(sets, tmp_path):
    """The threshold of a model that was calibrated on noise lets 95 % of noise pass."""
    folder, _ = sets
    table, rng = ParticleTable.read(folder / 'denoised.star'), np.random.default_rng(1)
    for name, right in (('noise', 0), ('few', 200)):
        evidence = np.where(np.arange(len(table)) < right, 20, -5) + 2.5 * rng.normal(size=len(table))
        table.set('cryoemganEvidence', evidence)
        table.set_provenance(verb='denoise', evidence_threshold=f'{np.quantile(evidence, 0.05):.6f}')
        (tmp_path / name).mkdir()
        table.write(tmp_path / name / 'denoised.star')
        summary = select(folder, tmp_path / name, particles=tmp_path / name / 'denoised.star', evidence='proposed')[1]
        assert any('explained better by noise alone' in w for w in summary['warnings']) == (name == 'noise')


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'fit': 'abc'}, 'neither a number'),
        ({'fit': '120%'}, 'neither a number'),
        ({'correlation': '0.1'}, 'has no column _cryoemganCorrelation'),
        ({'fit': '2'}, 'reject every particle'),
        ({'source': 'denoised.star'}, 'holds denoised particles'),
    ],
)
def test_refusals(sets, tmp_path, options, words):
    folder, _ = sets
    if 'source' in options:
        options = {'source': str(folder / 'denoised.star')}
    settings = Select(**{'output': str(tmp_path / 'out'), 'particles': str(folder / 'denoised.star'),
                         'source': str(folder / 'source.star'), **options})  # fmt: skip
    with pytest.raises(InputError, match=words):
        settings.validate()
        run('select', settings)
    assert not (tmp_path / 'out').exists()


def test_a_part_takes_all_that_are_as_bad():
    """Fits of junk are all 0 as a table prints them."""
    values = np.r_[np.zeros(30), np.linspace(0.1, 1, 70)]
    limit = choose_limit(BY_NAME['fit'], '10%', values, None)
    assert limit.rejects(values).sum() == 30
    assert choose_limit(BY_NAME['uncertainty'], '10%', values, None).rejects(values).sum() == 10
