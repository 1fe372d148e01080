"""audit: a second opinion on every particle, and real empty particles as the noise that goes in."""

import csv

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics import resemblance
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.trust import second_opinion

from . import toypairs
from .test_audit import BOX, COUNT, audit, toys

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]


@pytest.fixture(scope='module')
def data(made_once):
    folder = made_once('audited', toys)
    return folder, folder / 'particles.star', folder / 'references.star'


@pytest.fixture(scope='module')
def model(data):
    return data[0] / 'o' / 'model'


@pytest.mark.parametrize(('invented', 'added', 'expected'), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 2.0, 0.2)])
def test_weight_of_a_second_opinion(invented, added, expected):
    """First: signal and an invention of size i; second: signal and another one of size j. The best mean of the two
    gives the second the weight i^2 / (i^2 + j^2); noise of the copy that judges does not matter."""
    rng = np.random.default_rng(0)
    signal, fantasy, other = rng.normal(size=(3, 400, BOX, BOX))
    first, second = signal + invented * fantasy, signal + added * other
    target = signal + 3 * rng.normal(size=signal.shape)
    difference = second - first
    found, power = (resemblance.ring_covariance(difference, x) for x in (target - first, difference))
    made = second_opinion.Comparison(second, None, None, found, power)
    assert made.weight == pytest.approx(expected, abs=0.03)
    np.testing.assert_allclose(made.weights()[3:], expected, atol=0.15)


@pytest.fixture(scope='module')
def incomplete(tmp_path_factory):
    """Particles of three blobs, references of the first two: a map that lacks a part, everything else right. Its model
    and a second one without references."""
    folder = tmp_path_factory.mktemp('incomplete')
    _, centres = toypairs.blobs(COUNT, BOX, 0)
    part = toypairs.draw(centres[:, :2], BOX)
    # A part twice as wide as the others: a network can learn not to draw it.
    grid = np.arange(BOX) - BOX // 2
    y, x = (grid[None] - centres[:, 2, i, None] for i in (0, 1))
    whole = part + 0.5 * np.exp(-(y[:, :, None] ** 2 + x[:, None] ** 2) / (2 * (0.16 * BOX) ** 2)).astype(np.float32)
    noise = 1.0 * np.random.default_rng(1).standard_normal(whole.shape)
    names = [f'{i + 1:06d}@mic.mrcs' for i in range(COUNT)]
    images = (toypairs.GAIN * whole + toypairs.OFFSET + noise).astype(np.float32)
    particles = toypairs.write(folder / 'particles.star', images, names)
    paths = {'whole': toypairs.write(folder / 'whole.star', whole, names),
             'part': toypairs.write(folder / 'part.star', part, names)}  # fmt: skip
    options = dict(evaluations=2, batch_size=16, threads=1, precision='float32', particles=str(particles))
    for name, references in paths.items():
        learnt = dict(options, references=str(references), iterations=90, p=2, network='residual')
        run('train', Train(output=str(folder / f'm{name}'), **learnt))
    # The audit's limits were set with models of this kind.
    alone = dict(target='self', self_supervision='blind-spots', network='residual', iterations=130, cross_fit='none')
    run('train', Train(output=str(folder / 'self'), **alone, **options))
    return folder, particles, paths


def test_second_opinion_sees_what_the_map_lacks(incomplete, tmp_path):
    folder, particles, paths = incomplete
    second = str(folder / 'self' / 'model')
    found = {}
    for name, references in paths.items():
        found[name] = audit(tmp_path / name, particles, references, folder / f'm{name}' / 'model', second_model=second)
    weight = {name: f['judged']['opinion'] for name, f in found.items()}
    assert found['whole']['lights']['opinion'] == 'green', weight
    assert weight['part'] > weight['whole'] + 0.1
    # Nothing else sees it: particles and references agree, and the network draws what it was taught.
    others = {k: v for k, v in found['part']['lights'].items() if k != 'opinion'}
    assert set(others.values()) == {'green'}
    assert found['part']['lights']['opinion'] != 'green', weight
    with (tmp_path / 'part' / 'audit.csv').open(newline='') as f:
        assert 'second_opinion' in next(csv.DictReader(f))
    assert (tmp_path / 'part' / 'audit.html').read_text().count('src="data:image/png;base64,') == 7


def test_a_model_without_references_can_be_audited(incomplete, tmp_path):
    folder, particles, paths = incomplete
    found = audit(tmp_path / 'a', particles, paths['whole'], folder / 'self' / 'model')
    assert found['lights']['rank'] == found['lights']['fidelity'] == 'green'
    assert found['lights']['leakage'] == 'red'


def test_a_model_is_no_second_opinion_of_itself(data, model, tmp_path, capsys):
    words = ['--particles', data[1], '--references', data[2], '--model', model, '--second-model', model]
    assert main(['audit', *map(str, words), '--output', str(tmp_path / 'a')]) == 2
    assert 'the audited model itself' in capsys.readouterr().err


def test_empty_particles_go_in_as_noise(data, model, tmp_path):
    rng = np.random.default_rng(3)
    images = toypairs.OFFSET + 1.5 * rng.standard_normal((60, BOX, BOX)).astype(np.float32)
    empty = toypairs.write(tmp_path / 'empty.star', images, [f'{i + 1:06d}@empty.mrcs' for i in range(60)])
    found = audit(tmp_path / 'a', *data[1:], model, noise_particles=str(empty))
    assert found['empty_particles_in']['count'] == 60
    assert found['lights']['noise'] == 'green'
    assert found['empty_particles_in']['nearest']['mean'] == pytest.approx(
        found['noise_in']['nearest']['mean'], abs=0.15
    )
    assert 'What noise images become' in (tmp_path / 'a' / 'audit.html').read_text()


def test_empty_particles_that_are_not_empty_are_red(data, model, tmp_path):
    """Boxes that hold the molecule after all look as much like references as particles do."""
    images = ParticleTable.read(data[1]).images().read(np.arange(60))
    empty = toypairs.write(tmp_path / 'empty.star', images, [f'{i + 1:06d}@empty.mrcs' for i in range(60)])
    found = audit(tmp_path / 'a', *data[1:], model, noise_particles=str(empty))
    assert found['lights']['noise'] == 'red'


def test_particles_are_no_empty_particles(data, model, tmp_path, capsys):
    words = ['--particles', data[1], '--references', data[2], '--model', model, '--noise-particles', data[1]]
    assert main(['audit', *map(str, words), '--output', str(tmp_path / 'a')]) == 2
    assert 'not known to be empty' in capsys.readouterr().err
