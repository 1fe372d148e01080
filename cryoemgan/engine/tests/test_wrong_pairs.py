"""Pairs that do not belong together, on simulated particles of which it is known."""

import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.training import wrong_pairs
from cryoemgan.engine.training.pairs import Contaminated, ReferencePairs

pytestmark = pytest.mark.usefixtures('one_thread')
COUNT = 400


def made(folder, snr, *more):
    words = f'simulate --phantom 1 --count {COUNT} --box 32 --pixel-size 6 --snr {snr} --output {folder} --threads 1'
    assert main([*words.split(), *more]) == 0
    return folder


@pytest.fixture(scope='module', params=[(), ('--ctf',)], ids=['plain', 'ctf'])
def data(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp('made') / 'set', 0.3, *request.param)


def pairs_of(folder):
    pairs = ReferencePairs(*(ParticleTable.read(folder / name) for name in ('noisy.star', 'clean.star')))
    pairs.fit_grey_scale(force=True)
    return pairs


def spoilt(pairs, kind, part):
    """Make some of the pairs wrong: the reference of another particle, noise as the reference, or as the particle."""
    wrong = np.sort(np.random.default_rng(5).choice(COUNT, round(part * COUNT), replace=False))
    if kind == 'exchanged':
        pairs.reference_rows[wrong] = np.roll(pairs.reference_rows[wrong], 7)
    else:
        pairs.contaminate(Contaminated(kind, 'gaussian', wrong, 3))
    return np.isin(np.arange(COUNT), wrong)


@pytest.mark.parametrize('kind', ['exchanged', 'references', 'particles'])
def test_wrong_pairs_are_found_and_right_ones_stay(data, kind):
    pairs = pairs_of(data)
    wrong = spoilt(pairs, kind, 0.3)
    found = wrong_pairs.find(pairs, 1)
    assert (~found.kept[wrong]).mean() > 0.75
    assert found.kept[~wrong].mean() > 0.97
    assert found.part == pytest.approx(0.3, abs=0.08)


def test_none_is_left_out_of_a_right_set(data):
    assert wrong_pairs.find(pairs_of(data), 1).kept.all()


def test_where_nothing_can_be_told_nothing_is_left_out(tmp_path):
    pairs = pairs_of(made(tmp_path / 'set', 0.0005))
    spoilt(pairs, 'exchanged', 0.3)
    assert wrong_pairs.find(pairs, 1).kept.all()


@pytest.mark.slow
def test_training_leaves_them_out_and_says_so(data, tmp_path, capsys):
    """As the experiment on robustness does it; a preset of the paper keeps them."""
    common = dict(
        particles=str(data / 'noisy.star'), references=str(data / 'clean.star'), contaminate='references',
        contaminate_fraction=0.3, iterations=2, evaluations=1, batch_size=8, threads=1, cross_fit='none',
    )  # fmt: skip
    counts = {}
    for preset in ('recommended', 'paper'):
        network = 'equivariant' if preset == 'recommended' else 'plain'
        found = run('train', Train(output=str(tmp_path / preset), preset=preset, network=network, **common))
        counts[preset] = found['training_pairs']
        said = capsys.readouterr().out
        assert ('of the pairs are wrong' in said) == (preset == 'recommended')
    assert counts['paper'] == 360
    assert 0.65 * 360 < counts['recommended'] < 0.8 * 360
    identity = json.loads((tmp_path / 'recommended' / 'summary.json').read_text())
    assert any('no-leave-out-wrong' in warning for warning in identity['warnings'])
