"""Training without references: what it shows, scores and says, against known truth."""

import json
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.inference import assessment_from_copies
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior import learning
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.pairs import SelfSupervision
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.training.validation import NoisyValidation
from cryoemgan.figures.style import read_columns

from .noisy_particles import BOX, COUNT, NOISE, coloured, open_pairs, particles_at

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]


OPTIONS = dict(iterations=40, evaluations=2, batch_size=16, threads=1, precision='float32', cross_fit='none')


WAYS = {
    'recorruption': dict(target='self', network='equivariant', iterations=30),
    'blind-spots': dict(target='self', self_supervision='blind-spots', network='residual', iterations=80),
    'templates': dict(target='self', network='guided', iterations=4),
    'copies': dict(target='copies'),
}


@pytest.fixture(scope='module', params=list(WAYS))
def trained(request, tmp_path_factory):
    folder, way = tmp_path_factory.mktemp(request.param), dict(WAYS[request.param])
    if way['target'] == 'self':
        path, truth = particles_at(folder, extra=coloured(np.random.default_rng(2), COUNT, BOX, 0.5)[0] * NOISE)
    else:
        path, truth = particles_at(folder)
        extra = NOISE * np.random.default_rng(8).standard_normal(truth.shape)
        way['copies'] = str(particles_at(folder / '2', extra=extra)[0])
    found = run('train', Train(output=str(folder / 'o'), particles=str(path), **{**OPTIONS, **way}))
    run('denoise', Denoise(output=str(folder / 'd'), particles=str(path), model=str(folder / 'o' / 'model'), threads=1))
    images = ParticleTable.read(folder / 'd' / 'denoised.star').images().read(np.arange(COUNT))
    return way['target'], found, Model.load(folder / 'o' / 'model'), images, truth, path


def test_it_denoises_without_having_seen_anything_clean(trained):
    *_, images, truth, path = trained
    noisy = ParticleTable.read(path).images().read(np.arange(COUNT))
    error, mean = np.square(images - truth).mean(), truth.var(axis=0).mean()
    # Better than the mean image, and a tenth of the noise; grey values are those of the particles.
    assert error < 0.7 * mean
    assert error < 0.15 * np.square(noisy - truth).mean()


def test_amplitude_is_that_of_the_truth(trained):
    *_, images, truth, _ = trained
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (images, truth))
    assert (a * b).sum() / (a * a).sum() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(('target', 'kind'), [('self', 'blind-spots'), ('self', 'recorruption'), ('copies', None)])
def test_validation_knows_the_error_without_truth(tmp_path, target, kind):
    """Distance to noisy images less the variance of the noise is the error, here of a running mean of 5 x 5 pixels."""
    path, truth = particles_at(tmp_path)
    second = NOISE * np.random.default_rng(8).standard_normal(truth.shape)
    more = {'copies': particles_at(tmp_path / '2', extra=second)[0]} if target == 'copies' else {}
    pairs, _ = open_pairs(particles=path, target=target, **more)
    unit = pairs.scale.unit_scale
    blur = torch.nn.Conv2d(1, 1, 5, padding=2, bias=False).requires_grad_(False)
    blur.weight.fill_(unit / 25)
    fabric = Fabric(accelerator='cpu', devices=1)
    check = NoisyValidation(pairs, np.arange(COUNT), fabric, 50, SelfSupervision(kind, 0.5, 0.25), 1)
    wanted = torch.from_numpy(unit * pairs.standardised(truth))[:, None]
    if kind == 'recorruption':
        wanted = torch.cat([wanted, wanted])
    difference = (blur(check.noisy) - wanted).square()
    error = difference[check.counted]
    found = check.scores(blur, None, None)
    assert set(found) == {'mse'}
    assert found['mse'] == pytest.approx(error.mean().item(), abs=0.02 * pairs.target_noise)
    assert error.mean() > 0.035 * pairs.target_noise


def test_scores_that_need_a_truth_are_left_out(trained):
    assert set(trained[1]['best']) == {'iteration', 'mse'}
    assert 0 < trained[1]['shown']['error'] < 1


def test_what_the_templates_leave_open_is_part_of_the_expected_error(trained, monkeypatch):
    """A scale measured against the disagreement of the answers alone would be applied to both together."""
    target, _, model, _, truth, path = trained
    if not model.guides:
        pytest.skip('no templates')
    pairs, _ = open_pairs(particles=path, target=target)
    nothing = np.zeros(COUNT)
    monkeypatch.setattr(pairs, 'independent', lambda rows, rng: (pairs.raw(rows)[0], truth[rows], nothing[rows]))
    unseen = ~model.trained_on(pairs.who(np.arange(COUNT)))['main']
    task = SimpleNamespace(validation=np.flatnonzero(unseen), settings=SimpleNamespace(seed=1))
    found = assessment_from_copies.assess(model, pairs, [task])['uncertainty']['ratio']
    monkeypatch.setattr(assessment_from_copies.uncertainty, 'posterior_sd', lambda *_: None)
    alone = assessment_from_copies.assess(model, pairs, [task])['uncertainty']['ratio']
    assert found < 0.7 * alone


def test_card_and_statement_say_the_assumptions(trained):
    target, _, model, *_ = trained
    assert model.card['target'] == target
    assert model.card['ctf'] == 'unknown'
    assert 'assumes that' in model.card['statement']
    assert 'not for the final refinement' in model.card['statement']
    # Templates are compared with the particles as they are.
    assert ('whitening' in model.card) == (target == 'self' and not model.guides)
    json.dumps(model.card)


@pytest.fixture(scope='module')
def noisy(tmp_path_factory):
    """A table of particles."""
    return str(particles_at(tmp_path_factory.mktemp('noisy'))[0])


@pytest.mark.parametrize(
    ('words', 'message'),
    [(['--target', 'references'], '--references is missing'),
     (['--target', 'copies'], '--copies is missing'),
     (['--target', 'self', '--copies', '{p}'], '--copies is for --target copies'),
     (['--target', 'self', '--references', '{p}'], 'leave them out'),
     (['--target', 'self', '--gan', 'beta'], '--gan beta needs references'),
     (['--target', 'self', '--preset', 'paper'], 'needs references'),
     (['--target', 'self', '--self-supervision', 'blind-spots', '--network', 'equivariant'], 'looks at references'),
     (['--target', 'copies', '--copies', '{p}', '--network', 'equivariant'], 'looks at references'),],
)  # fmt: skip
def test_what_does_not_go_together_is_said(tmp_path, noisy, capsys, words, message):
    words = [w.format(p=noisy) for w in words]
    assert main(['train', '--particles', noisy, '--output', str(tmp_path / 'o'), '--iterations', '1', *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'o').exists()


def test_templates_of_an_interrupted_run_are_taken_up_unless_they_are_damaged(tmp_path, capsys):
    path, _ = particles_at(tmp_path)
    options = dict(OPTIONS, particles=str(path), target='self', output=str(tmp_path / 'o'), batch_size=60)
    run('train', Train(**{**options, 'iterations': 1}))
    file = tmp_path / 'o' / learning.TEMPLATES
    _averages_show_particles(tmp_path / 'o', path)
    first, when = file.read_bytes(), file.stat().st_mtime_ns
    run('train', Train(**{**options, 'iterations': 2}, resume=True))
    assert file.stat().st_mtime_ns == when
    file.write_bytes(first[:-9] + bytes(9))
    run('train', Train(**{**options, 'iterations': 3}, resume=True))
    assert 'templates are learned again' in capsys.readouterr().out
    assert file.read_bytes() == first


def _averages_show_particles(folder, path):
    """Class averages are in the grey values of the particles, and each particle counts once."""
    averages = mrcfile.read(folder / learning.AVERAGES)
    columns = read_columns(folder / learning.COUNTS, text=('fold_model',))
    noisy = ParticleTable.read(path).images().read(np.arange(COUNT))
    assert len(averages) == len(columns['particles'])
    assert np.all(np.diff(columns['particles']) <= 0)
    assert 0.7 * COUNT < sum(columns['particles']) <= COUNT + 0.1 * len(averages)
    assert averages.mean() == pytest.approx(noisy.mean(), abs=0.1 * noisy.std())
    clean = particles_at(folder / 'clean', extra=0)[1]
    assert averages.std() == pytest.approx(clean.std(), rel=0.3)
