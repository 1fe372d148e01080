"""The error against its definition, recipes that can be made, experiments that can be run."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from benchmarks import datasets, methods, molecules, report, runner, score
from cryoemgan.engine.__main__ import build_parser
from cryoemgan.engine.imaging.rings import ring_index, ring_sums


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20, 24, 24)).astype(np.float32)
    return truth, truth + 0.5 * rng.normal(size=truth.shape).astype(np.float32)


def test_error_is_the_residual_of_a_line_fitted_to_each_image(images):
    truth, noisy = images
    left = 0.0
    for x, y in zip(noisy, truth):
        line = np.polyfit(x.ravel(), y.ravel(), 1)
        left += np.mean((np.polyval(line, x) - y) ** 2)
    expected = left / sum(y.var() for y in truth)
    assert score.error(noisy, truth) == pytest.approx(expected, rel=1e-4)
    # Signal 1, noise 1/4: the best gain leaves 1 - 1 / (1 + 1/4).
    assert score.error(noisy, truth) == pytest.approx(0.2, abs=0.01)


def test_error_forgives_gain_and_offset_and_raw_error_does_not(images):
    truth, _ = images
    assert score.error(3 * truth + 7, truth) == pytest.approx(0, abs=1e-6)
    assert score.raw_error(3 * truth + 7, truth) == pytest.approx(4, rel=1e-3)
    assert score.gain(2 * truth, truth) == pytest.approx(0.5, rel=1e-4)
    assert score.error(np.zeros_like(truth), truth) == pytest.approx(1)


def test_expected_error_of_known_noise_is_calibrated(images):
    truth, noisy = images
    relative = 0.5 / noisy.std((1, 2), dtype=np.float64)
    assert score.expected_ratio(relative, noisy, truth) == pytest.approx(1, abs=0.05)


def test_sharpened_map_falls_off_as_asked():
    box, pixel_size = 48, 4.0
    (soft,), _ = molecules.synthetic('rod', box)
    sharp = molecules.sharpened(soft, pixel_size)
    count = ring_sums(np.ones((box, box, box // 2 + 1)), 3)
    soft_rms, rms = (np.sqrt(ring_sums(np.abs(np.fft.rfftn(v)) ** 2, 3) / count) for v in (soft, sharp))
    s = np.arange(len(rms)) / (box * pixel_size)
    start, end = round(box * pixel_size / molecules.START), 15
    assert ring_index(box, 3).max() > end
    assert rms[:start] == pytest.approx(soft_rms[:start], rel=1e-3)
    wanted = np.exp(-molecules.SHARP_B * (s[end] ** 2 - s[start] ** 2) / 4)
    assert rms[end] / rms[start] == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize('shape', ['claw', *molecules.SHAPES])
def test_synthetic_molecules_lie_inside_the_box(shape):
    for volume in molecules.synthetic(shape, 32)[0]:
        axis = np.arange(32) - 16
        far = np.sqrt(axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2) > 16
        assert volume[far].sum() < 0.02 * volume.sum()


def test_ring_has_seven_turns():
    (volume,), _ = molecules.synthetic('ring', 48)
    plane = volume.sum(0)
    angles = np.linspace(0, 2 * np.pi, 84, endpoint=False)
    from scipy.ndimage import map_coordinates

    around = map_coordinates(plane, [24 + 12 * np.sin(angles), 24 + 12 * np.cos(angles)])
    assert np.argmax(np.abs(np.fft.rfft(around))[1:]) + 1 == 7


def test_every_experiment_names_sets_and_methods_that_exist():
    for path in runner.EXPERIMENTS.glob('*.toml'):
        experiment = runner.Experiment.read(path.stem)
        assert set(experiment.sets) <= set(datasets.RECIPES)
        assert {m['kind'] for m in experiment.methods.values()} <= set(methods.KINDS)


def test_suite_is_wide_and_judged_on_others_than_tuned_on():
    judged = [r for r in datasets.RECIPES.values() if r.use == 'judge']
    assert len({r.molecule for r in judged}) >= 8
    assert {r.box for r in judged} >= {48, 160}
    assert min(r.snr for r in judged) == 0.01
    assert max(r.particles for r in judged) == 30000


def test_cell_is_computed_once_and_keeps_what_it_cost(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv('CRYOEMGAN_SHARED_DATA', str(shared_data))
    experiment = runner.Experiment(
        'small', 'small', '', ['emd5625-coloured'], [1], {'wiener': {'kind': 'filter', 'method': 'wiener'}}, 40
    )
    (row,) = runner.run(experiment, tmp_path)
    assert not row.get('failed')
    assert 0 < row['error'] < 1
    assert row['cpu_seconds'] > 0
    again = runner.cell(experiment, tmp_path, 'emd5625-coloured', 1, 'wiener')
    assert again == row
    runner.write(tmp_path / 'small.csv', [row])
    assert (tmp_path / 'small.csv').read_text().count('\n') == 2


ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / 'README.rst', *sorted((ROOT / 'docs').glob('*.rst'))]


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.name)
def test_numbers_in_documents_are_those_of_their_cells(path):
    text = path.read_text(encoding='utf-8')
    shown = report.PAGE.sub('', report.CELL.sub('', text))
    for number in report.quoted(text):
        assert number.is_right(), number
        assert number.text in shown, f'{number.text} is not on the page'
    assert text.count('.. cell:') == len(report.quoted(text)), 'a cell is written wrongly'
    assert not report.not_on_their_page(text)
    assert text.count('.. page:') == len(report.PAGE.findall(text)), 'a page is written wrongly'
    for number in ' '.join(numbers for _, numbers in report.PAGE.findall(text)).split():
        assert number in shown, f'{number} is not in the document'


def _commands(text):
    """Commands of this program in the literal blocks of a page, continuation lines joined."""
    for line in text.replace('\\\n', ' ').splitlines():
        if line.startswith('    cryoemgan ') and '...' not in line:
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.name)
def test_commands_in_documents_are_understood(path):
    for words in _commands(path.read_text(encoding='utf-8')):
        # Ends the program at a command or an option that does not exist.
        build_parser().parse_args(words)


def test_commands_are_found_in_documents():
    assert sum(len(list(_commands(path.read_text(encoding='utf-8')))) for path in DOCUMENTS) > 10


@pytest.mark.parametrize('name', ['README.rst', 'CHANGES.rst'])
def test_pages_outside_the_documentation_are_well_formed(name):
    """They are shown by PyPI and the forge, not by sphinx."""
    publish = pytest.importorskip('docutils.core').publish_doctree
    publish((ROOT / name).read_text(encoding='utf-8'), settings_overrides={'halt_level': 2, 'report_level': 5})


# Riddles that were in these pages once, and words that the glossary has another one for.
CLUMSY = (
    r'\ba (row|line) a (particle|image)\b', r'\bmarks? their own\b', r'\bas it comes\b', r'\bdo(es)? not tell it\b',
    r'\bsorted out\b', r'\bcome to its end\b', r'\breal empty particles\b', r'\bare told from\b',
)  # fmt: skip


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.name)
def test_documents_are_plain(path):
    text = ' '.join(path.read_text(encoding='utf-8').split())
    assert not [m[0] for word in CLUMSY for m in re.finditer(word, text)]


def test_readme_quotes_measurements():
    assert len(report.quoted(DOCUMENTS[0].read_text(encoding='utf-8'))) >= 5


def test_what_is_on_no_page_is_named():
    assert report.not_on_their_page('.. page: downstream 15.8 15.9\n\n.. page: downstream 0.97531\n') == [
        'downstream 15.9',
        'downstream 0.97531',
    ]


@pytest.mark.parametrize('name', ['trust', 'choosing'])
def test_pages_for_users_say_where_their_numbers_are(name):
    numbers = report.PAGE.findall((ROOT / 'docs' / f'{name}.rst').read_text(encoding='utf-8'))
    assert sum(len(found.split()) for _, found in numbers) >= 15


ROWS = [
    {'set': name, 'use': 'judge', 'method': method, 'seed': seed, 'error': error, 'failed': ''}
    for name, method, seed, error in (
        ('a', 'cwf', '1', '0.2'), ('a', 'cwf', '2', '0.4'), ('b', 'cwf', '1', '0.5'), ('c', 'cwf', '1', ''),
        ('a', 'new', '1', '0.1'), ('b', 'new', '1', '0.5'),
    )
]  # fmt: skip


def test_sets_count_alike_however_many_seeds_they_have():
    assert report.value(ROWS, 'error', {'method': 'cwf'}) == pytest.approx((0.3 + 0.5) / 2)
    assert report.value(ROWS, 'error', {'method': 'cwf'}, 'worst') == 0.5
    assert report.value(ROWS, 'error', {'method': 'new', 'against': 'cwf'}, 'worst') == pytest.approx(1.0)
    assert report.value(ROWS, 'error', {'method': 'new', 'against': 'cwf'}, 'median') == pytest.approx(
        (0.1 / 0.2 + 1) / 2
    )
    with pytest.raises(LookupError):
        report.value(ROWS, 'error', {'method': 'none'})


def test_quoted_numbers_are_found():
    (found,) = report.quoted('text\n\n.. cell: suite error method=cwf use=judge median = 0.33\n')
    assert (found.table, found.column, found.how, found.text) == ('suite', 'error', 'median', '0.33')
    assert found.wanted == {'method': 'cwf', 'use': 'judge'}


def modules(package):
    return sorted(p.stem for p in (ROOT / 'benchmarks' / package).glob('*.py') if not p.stem.startswith('__'))


@pytest.mark.parametrize('name', [f'{p}.{m}' for p in ('studies', 'paper') for m in modules(p)])
def test_every_script_still_finds_what_it_imports(name):
    importlib.import_module(f'benchmarks.{name}')


def test_every_study_has_a_page():
    pages = ''.join(p.read_text(encoding='utf-8') for p in runner.RESULTS.glob('*.md'))
    without = {name for name in modules('studies') if f'studies.{name}' not in pages}
    # No GPU has been at hand.
    assert without <= {'common', 'family_members', 'gpu'}
