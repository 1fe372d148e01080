"""Every member of the family trains: presets, adversaries, growing; what the card says; models that show nothing."""

import itertools
import json

import numpy as np
import pytest
import torch

from .. import networks
from ..__main__ import run
from ..data.table import ParticleTable
from ..inference.collapse import CollapseCheck, best_at, images_warning, warning
from ..inference.model import Model
from ..networks import Networks
from ..settings.denoise import Denoise
from ..training.step import Training
from . import toypairs
from .test_train import data, train  # noqa: F401  the first is a fixture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]


def card(folder):
    return json.loads((folder / 'model' / 'card.json').read_text())


def warnings(folder):
    return json.loads((folder / 'summary.json').read_text())['warnings']


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('recommended', {}),
        ('paper', {}),
        ('authors', {}),
        ('paper', {'gan': 'wgan-gp'}),
        ('recommended', {'gan': 'wgan-gp', 'critic_scale': 'literal', 'network': 'plain'}),
    ],
)
def test_preset_runs_end_to_end(tmp_path, data, name, options):  # noqa: F811
    found = train(tmp_path / 'o', data, preset=name, iterations=2, evaluations=1, **options)
    assert np.isfinite(found['best']['mse'])
    saved = card(tmp_path / 'o')
    gan = options.get('gan') or {'recommended': 'none'}.get(name, 'beta')
    assert saved['settings']['gan'] == gan
    assert saved['network']['options'] == networks.options(saved['network']['name'], gan)
    images = Model.load(tmp_path / 'o' / 'model').denoise(np.zeros((2, 32, 32), np.float32))
    assert np.isfinite(images).all()


@pytest.mark.parametrize('name', networks.names())
def test_critic_of_wgan_does_not_couple_the_images_of_a_batch(name):
    """Whatever network is chosen: what train builds for it scores an image alone as among others."""
    options = {**networks.options(name, 'wgan-gp'), 'width': 4}
    torch.manual_seed(0)
    critic = networks.create(name, 64, **options).discriminator
    images = torch.randn(3, 1, 64, 64)
    torch.testing.assert_close(critic(images)[:1], critic(images[:1]), rtol=1e-4, atol=1e-5)


def test_other_adversaries_keep_the_discriminator_of_the_paper():
    assert networks.options('paper128', 'beta')['norm_discriminator'] == 'batch'
    assert networks.options('paper128', 'wgan-gp')['norm_discriminator'] == 'group'


def test_pure_gan_runs_without_a_pull_to_the_references(tmp_path, data, monkeypatch):  # noqa: F811
    """lambda = 0: the reconstruction term is told but does not act: other references, the same generator gradients."""
    found = train(tmp_path / 'o', data, gan='beta', reconstruction_weight=0.0)
    assert found['iterations'] == 6
    assert np.isfinite(found['best']['mse'])
    loss = []
    descend = Training._descend

    def spy(self, side, optimiser, terms):
        if side == 'generator':
            loss.append((float(terms['loss'].detach()), float(terms['adversary'].detach())))
        descend(self, side, optimiser, terms)

    monkeypatch.setattr(Training, '_descend', spy)
    train(tmp_path / 'p', data, gan='beta', reconstruction_weight=0.0, iterations=2, evaluations=1)
    assert loss
    assert all(total == adversary for total, adversary in loss)


def test_growing_network_grows_and_ends_denoising(tmp_path, monkeypatch):
    particles, references = toypairs.pairs(tmp_path, count=400, noise=0.5)
    stages = []
    set_stage = Networks.set_stage

    def spy(self, stage, alpha=1.0):
        stages.append((stage, alpha))
        set_stage(self, stage, alpha)

    monkeypatch.setattr(Networks, 'set_stage', spy)
    found = train(tmp_path / 'o', dict(particles=str(particles), references=str(references)), network='pggan',
                  iterations=150, evaluations=5)  # fmt: skip
    counts = {k: len(list(g)) for k, g in itertools.groupby(stage for stage, _ in stages)}
    # Half of the run for growing; the last resolution has the other half too.
    assert counts == {0: 15, 1: 15, 2: 15, 3: 15, 4: 90}
    fading = [alpha for stage, alpha in stages if stage == 3]
    assert fading == sorted(fading)
    assert fading[0] == 0 < fading[4] < fading[10] == 1
    model = Model.load(tmp_path / 'o' / 'model')
    assert model.members['main'].network.stage() == (4, 1.0)
    # The mean image has an error of 1.
    assert found['shown']['error'] < 0.7


def denoised_warnings(tmp_path, data, model):  # noqa: F811
    run('denoise', Denoise(output=str(tmp_path / 'd'), particles=data['particles'], model=str(model), threads=1))
    return warnings(tmp_path / 'd')


@pytest.mark.parametrize(('state', 'why'), [('mean image', 'the same image'), ('untrained', 'SHOWS NOTHING')])
def test_a_model_that_shows_nothing_says_so(tmp_path, data, monkeypatch, state, why):  # noqa: F811
    """At the mean image, where short trainings get stuck, and before it."""
    if state == 'mean image':
        monkeypatch.setattr(Training, 'iterate', collapse)
    train(tmp_path / 'o', data, network='residual', iterations=2, evaluations=1, ema=0.0)
    for found in (warnings(tmp_path / 'o'), denoised_warnings(tmp_path, data, tmp_path / 'o' / 'model')):
        assert [why in w for w in found if 'SHOWS NOTHING' in w] == [True]


def collapse(training, progress):
    """Instead of an iteration: the generator forgets its input."""
    training.iteration += 1
    with torch.no_grad():
        training.generator.network.last.weight.zero_()


def test_a_trained_model_shows_something(tmp_path, data):  # noqa: F811
    found = train(tmp_path / 'o', data, iterations=60, evaluations=2)
    assert found['shown'] == card(tmp_path / 'o')['shown']
    assert 0.5 < found['shown']['variance'] < 2
    assert found['shown']['error'] < 0.6
    assert not any('NOTHING' in w for w in warnings(tmp_path / 'o'))


def test_shown_is_independent_of_batches_and_of_the_mean_image():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 16, 16))
    images = 0.5 * truth + 7 * rng.standard_normal((16, 16))
    images += truth.mean(0) - images.mean(0)
    shown = CollapseCheck()
    for part in (slice(0, 7), slice(7, 40)):
        shown.add(images[part], truth[part])
    assert shown.measured() == pytest.approx({'variance': 0.25, 'error': 0.25})
    assert warning({'shown': {'variance': 0.2, 'error': 0.8}}) is None
    assert warning({}) is None


def test_a_nearly_empty_model_says_so_and_whether_time_helps():
    """2 % of the variance, and best in the beginning: met on a sharpened map at SNR 0.05."""
    faint = {'variance': 0.02, 'error': 0.93}
    assert 'Train longer' in warning({'shown': faint})
    found = warning({'shown': {**faint, 'best_at': 4 / 37}})
    assert 'NEXT TO NOTHING' in found
    assert 'best after 11% of its iterations' in found
    assert 'cwf' in found
    early, late = ({'best': {'iteration': k}, 'iterations': 37, 'top': [1, 2]} for k in (4, 30))
    assert best_at({'members': {'half1': late, 'half2': early}}) == best_at(early) == 4 / 37
    assert best_at({**early, 'top': [1]}) is None
    assert images_warning(0.6) is images_warning(1.7) is images_warning(None) is None
    assert '3.5 times its own contrast' in images_warning(3.45)


def test_references_of_unknown_ctf_give_a_model_that_says_unknown(tmp_path, data):  # noqa: F811
    train(tmp_path / 'a', data, iterations=2, evaluations=1)
    assert card(tmp_path / 'a')['ctf'] == 'unknown'
    assert any('does not say' in w for w in warnings(tmp_path / 'a'))
    denoised_warnings(tmp_path, data, tmp_path / 'a' / 'model')
    assert ParticleTable.read(tmp_path / 'd' / 'denoised.star').provenance['ctf'] == 'unknown'
    particles, references = toypairs.pairs(tmp_path / 'told')
    table = ParticleTable.read(references)
    table.set_provenance(ctf='none')
    table.write(references)
    train(tmp_path / 'b', dict(particles=str(particles), references=str(references)), iterations=2, evaluations=1)
    assert card(tmp_path / 'b')['ctf'] == 'none'
    assert not any('does not say' in w for w in warnings(tmp_path / 'b'))
