"""What README and documents promise of every set, in the tables of results: against the truth that the sets have."""

import pytest

from benchmarks import report

TABLES = ('suite', 'relion', 'guided')
ROWS = [
    pytest.param(row, id=f'{name}-{row["set"]}-{row["method"]}-{row["seed"]}')
    for name in TABLES
    if (report.RESULTS / f'{name}.csv').exists()
    for row in report.read(name)
    if row['cut'] and row['method'] != 'recommended-short'
]


@pytest.mark.parametrize('name', TABLES[:2])
@pytest.mark.parametrize('method', ['recommended', 'recommended-short'])
def test_the_preset_is_nowhere_worse_than_the_covariance_wiener_filter(name, method):
    """On every set, with every seed, on every machine; after a quarter of a minute, too."""
    errors = {(r['set'], r['seed'], r['method']): float(r['error']) for r in report.read(name) if r['error']}
    for (of, seed, found), error in errors.items():
        if found == method:
            assert error <= errors.get((of, seed, 'cwf'), 1.0), (of, seed)


@pytest.mark.parametrize('row', ROWS)
def test_the_stated_cut_is_where_the_frc_with_the_truth_falls_below_its_limit(row):
    assert float(row['cut']) == pytest.approx(float(row.get('frc_cut') or row['frc_half']), rel=0.1)


@pytest.mark.parametrize('row', [p for p in ROWS if p.values[0]['gain']])
def test_the_amplitude_is_that_of_the_truth(row, request):
    if row['set'] == 'emd1883-30000':
        too_weak = 'by 7 %, nobody knows why yet, and README says so'
        request.applymarker(pytest.mark.xfail(reason=too_weak, strict=True))
    assert float(row['gain']) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('row', [p for p in ROWS if p.values[0]['expected_ratio']])
def test_the_expected_error_is_the_error(row):
    assert float(row['expected_ratio']) == pytest.approx(1, abs=0.15)
