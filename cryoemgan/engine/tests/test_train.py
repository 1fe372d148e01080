"""The train verb: presets, a small run from pairs to model, its records, and its refusals."""

import csv
import json

import numpy as np
import pytest
import torch

from ..__main__ import run
from ..errors import InputError, WorkError
from ..inference.model import Model
from ..settings.train import Train, preset_values
from ..training import losses
from ..training.step import Training
from ..training.validation import ReferenceValidation
from . import toypairs

pytestmark = pytest.mark.usefixtures('one_thread')

SHORT = dict(cross_fit='none', iterations=6, evaluations=3, batch_size=8, threads=1, precision='float32')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    particles, references = toypairs.pairs(tmp_path_factory.mktemp('data'))
    return dict(particles=str(particles), references=str(references))


def train(folder, data, **options):
    settings = Train(output=str(folder), **{**data, **SHORT, **options})
    settings.validate()
    return run('train', settings)


def rows(folder):
    with (folder / 'metrics.csv').open(newline='') as f:
        return list(csv.DictReader(f))


def weights(folder):
    model = Model.load(folder / 'model')
    return next(iter(model.members.values())).state_dict()


def filled(settings, monkeypatch):
    """Settings filled without a look at the files that they name."""
    monkeypatch.setattr(Train, 'validate', lambda self: None)
    return settings.filled()


def test_presets_fill_what_is_open_and_explicit_options_win(monkeypatch):
    s = Train(output='x', particles='p', references='r', preset='paper', p=2, minutes=3.0)
    before = dict(vars(s))
    values = preset_values('paper')
    for name, value in values.items():
        if before[name] is None and name not in ('epochs', 'iterations', 'minutes'):
            before[name] = value
    s = filled(s, monkeypatch)
    assert (s.p, s.minutes, s.epochs) == (2, 3.0, None)
    assert (s.learning_rate_generator, s.learning_rate_discriminator, s.batch_size) == (1e-2, 1e-3, 20)
    assert (s.gan, s.alpha, s.beta, s.discriminator_steps, s.generator_steps) == ('beta', 0.5, 0.5, 1, 2)
    assert all(getattr(s, k) == v for k, v in before.items())


def test_preset_gives_a_network_its_own_schedule(monkeypatch):
    batches = set()
    for network in (None, 'equivariant', 'residual'):
        s = Train(output='x', particles='p', references='r', network=network)
        s = filled(s, monkeypatch)
        batches.add((s.network, s.batch_size, s.noise_curriculum > 0))
    assert len(batches) == 2, 'the preset with its network named is not the preset'
    assert len({curriculum for _, _, curriculum in batches}) == 2


@pytest.mark.parametrize('name', ['recommended', 'paper', 'authors'])
def test_every_preset_leaves_nothing_open_but_the_length(name):
    values = preset_values(name)
    free = {
        'particles',
        'images_folder',
        'pixel_size',
        'passthrough',
        'references',
        'copies',
        'box',
        # Measured on the particles when left open.
        'shift_range',
        'candidates',
        'contrast_spread',
        'noise_particles',
        'init',
        'devices',
        'output',
        'epochs',
        'iterations',
        'minutes',
    }
    open_fields = {k for k, v in vars(Train()).items() if v is None}
    assert open_fields - free <= set(values)
    assert len({'epochs', 'iterations', 'minutes'} & set(values)) == 1


def test_two_lengths_are_refused():
    with pytest.raises(InputError, match='--epochs, --minutes'):
        Train(output='x', particles='/', references='/', epochs=1, minutes=2.0).validate()


def test_training_improves_on_the_noisy_images(tmp_path, data):
    """Images never seen, of the same kind: ten times closer to the truth than raw, and better than a mean image."""
    found = train(tmp_path / 'o', data, iterations=80, evaluations=5, p=2)
    clean, _ = toypairs.blobs(60, 32, 99)
    particles = toypairs.GAIN * clean + toypairs.OFFSET
    noisy = (particles + np.random.default_rng(9).standard_normal(clean.shape)).astype(np.float32)
    denoised = Model.load(tmp_path / 'o' / 'model').denoise(noisy)
    assert np.mean((denoised - particles) ** 2) < 0.1 * np.mean((noisy - particles) ** 2)
    assert np.mean((denoised - particles) ** 2) < 0.5 * particles.var(axis=(1, 2)).mean()
    summary = json.loads((tmp_path / 'o' / 'summary.json').read_text())
    assert summary['best'] == found['best']
    assert summary['best']['mse'] == pytest.approx(min(float(r['mse']) for r in rows(tmp_path / 'o')), rel=1e-6)


@pytest.mark.parametrize('gan', ['none', 'beta', 'wgan-gp'])
def test_records_of_a_run(tmp_path, data, gan):
    found = train(tmp_path / 'o', data, gan=gan, generator_steps=2, discriminator_steps=1)
    table = rows(tmp_path / 'o')
    assert [int(r['iteration']) for r in table] == [0, 2, 4, 6]
    used = {'none': set(), 'beta': {'d_real', 'd_fake', 'score_real', 'score_fake'}}.get(
        gan, {'d_real', 'd_fake', 'score_real', 'score_fake', 'gradient_discriminator'}
    )
    for row in table[1:]:
        for name in {'reconstruction', 'mse', 'psnr', 'ssim', 'learning_rate_generator', *used}:
            assert np.isfinite(float(row[name])), name
        if gan == 'beta':
            assert 0 < float(row['d_fake']) < 1
        if gan == 'wgan-gp':
            assert float(row['penalty']) > 0
    assert found['iterations'] == 6
    assert found['generator_parameters'] > 1e6
    assert found['training_pairs'] + found['validation_pairs'] == 120
    assert set(found['best']) == {'iteration', 'mse', 'psnr', 'ssim'}
    errors = [float(r['mse']) for r in table]
    assert found['top_mse_mean'] == pytest.approx(np.mean(errors))
    assert found['top_mse_sd'] == pytest.approx(np.std(errors), rel=1e-4)
    kept = {f'iteration_{s["iteration"]:08d}.pt' for s in found['top']} | {'last.pt', 'previous.pt'}
    assert {p.name for p in (tmp_path / 'o' / 'checkpoints').iterdir()} == kept


def test_minutes_end_when_the_pairs_have_been_shown_often_enough(tmp_path, data):
    found = train(tmp_path / 'o', data, iterations=None, minutes=30.0, most_epochs=2, network='plain', evaluations=1)
    assert found['iterations'] == 2 * (found['training_pairs'] // 8)


def test_order_of_the_rows_does_not_matter(tmp_path, data):
    particles, references = toypairs.pairs(tmp_path, order=np.random.default_rng(1).permutation(120))
    train(tmp_path / 'a', data)
    train(tmp_path / 'b', dict(particles=str(particles), references=str(references)))
    assert all(torch.equal(x, y) for x, y in zip(weights(tmp_path / 'a').values(), weights(tmp_path / 'b').values()))


def test_model_knows_its_training_particles_and_validation_is_not_among_them(tmp_path, data):
    found = train(tmp_path / 'o', data)
    seen = Model.load(tmp_path / 'o' / 'model').trained_on([f'{i + 1}@mic.mrcs' for i in range(120)])['main']
    assert seen.sum() == found['training_pairs'] == 108


def test_init_starts_from_a_model_and_leaves_it_alone(tmp_path, data):
    train(tmp_path / 'a', data)
    before = {p.name: p.read_bytes() for p in (tmp_path / 'a' / 'model').iterdir()}
    train(tmp_path / 'b', data, init=str(tmp_path / 'a' / 'model'), learning_rate_generator=1e-9, ema=0.0)
    assert {p.name: p.read_bytes() for p in (tmp_path / 'a' / 'model').iterdir()} == before
    after = weights(tmp_path / 'b')
    for name, value in weights(tmp_path / 'a').items():
        # Batch statistics go on following the data at any learning rate.
        if 'running' not in name and 'batches' not in name:
            assert torch.allclose(value, after[name], atol=1e-6), name
    with pytest.raises(InputError, match='--init'):
        train(tmp_path / 'c', data, init=str(tmp_path / 'a' / 'model'), network='plain')


@pytest.mark.parametrize(('evaluations', 'last_good'), [(60, 3), (1, None)])
def test_divergence_names_the_term_and_keeps_the_last_good_model(tmp_path, data, monkeypatch, evaluations, last_good):
    """The fourth step is bad: nothing of it is kept, whether it is looked at after each iteration or much later."""
    folder, seen = tmp_path / 'o', []
    reconstruction = losses.reconstruction

    def bad(*arguments):
        seen.append(None)
        return reconstruction(*arguments) * (float('nan') if len(seen) == 4 else 1.0)

    monkeypatch.setattr(losses, 'reconstruction', bad)
    with pytest.raises(WorkError, match=r"iteration 4: the term 'reconstruction' of the generator became nan"):
        train(folder, data, iterations=60, evaluations=evaluations, schedule='constant')
    # Looked at after 50 iterations at the latest.
    assert len(seen) == (4 if evaluations == 60 else 50)
    assert not (folder / 'summary.json').exists()
    assert [int(r['iteration']) for r in rows(folder)] == list(range((last_good or 0) + 1))
    if last_good:
        assert all(torch.isfinite(w).all() for w in weights(folder).values())


def test_a_step_that_is_not_finite_is_not_taken(tmp_path, data, monkeypatch):
    """Weights and the optimiser's memory stay as they were before it, also through the steps that follow."""
    kept, reconstruction = [], losses.reconstruction
    monkeypatch.setattr(losses, 'reconstruction', lambda *a: reconstruction(*a) * (float('inf') if kept else 1.0))
    iterate = Training.iterate

    def watched(self, progress):
        iterate(self, progress)
        tensors = [*self.generator.parameters(), *(s['exp_avg'] for s in self.optimise_g.state.values())]
        if self.iteration >= 2:
            kept.append([t.detach().clone() for t in tensors])

    monkeypatch.setattr(Training, 'iterate', watched)
    with pytest.raises(WorkError, match='iteration 3: '):
        train(tmp_path / 'o', data, network='residual', iterations=5, evaluations=1)
    assert len(kept) == 4
    assert all(torch.equal(a, b) for later in kept[1:] for a, b in zip(kept[0], later))


def test_early_stop(tmp_path, data, monkeypatch):
    errors = iter([6.0, 5.0, 3.0, 4.0, 3.5, 1.0])
    monkeypatch.setattr(ReferenceValidation, 'scores', lambda *_: {'mse': next(errors), 'psnr': 0.0, 'ssim': 0.0})
    found = train(tmp_path / 'o', data, iterations=10, evaluations=10, patience=2)
    assert found['iterations'] == 4
    assert found['best']['iteration'] == 2


def test_contamination_is_announced_and_recorded(tmp_path, data):
    train(tmp_path / 'o', data, contaminate='references', contaminate_fraction=0.25)
    summary = json.loads((tmp_path / 'o' / 'summary.json').read_text())
    assert any('27 of 108' in w for w in summary['warnings'])
    assert json.loads((tmp_path / 'o' / 'model' / 'card.json').read_text())['settings']['contaminate'] == 'references'
