"""Training without references: whitening, blind spots, copies, and the errors they estimate, against known truth."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging import spectra
from cryoemgan.engine.imaging.rings import ring_index
from cryoemgan.engine.inference import assessment_from_copies
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior import learning
from cryoemgan.engine.random_fields import RandomRows
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.pairs import SelfSupervision
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.training import blind_spots, noisy_pairs
from cryoemgan.engine.training.loading import read
from cryoemgan.engine.training.validation import NoisyValidation

from . import toypairs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]

BOX, COUNT, NOISE = 32, 240, 1.5


def coloured(rng, count, box, strength=0.5):
    """Noise [n, N, N] whose amplitude falls towards high frequency, and its power by rings."""
    amplitude = 1 / (1 + strength * ring_index(box) / (box / 8))
    images = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(count, box, box))) * amplitude, s=(box, box))
    return images.astype(np.float32), amplitude**2


# Blind spots


def spots(count):
    return RandomRows(1, 'blind spots', 4, np.arange(count), torch.device('cpu'))


def test_output_at_a_hidden_pixel_does_not_depend_on_it():
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    network = torch.nn.Conv2d(1, 1, 5, padding=2)
    outputs = []
    for change in (0.0, 50.0):
        seen, mask = blind_spots.hide(images, 0.3, spots(3))
        outputs.append(network(seen))
        images = torch.where(mask, images + change + 1, images)
    np.testing.assert_array_equal(outputs[0].detach(), outputs[1].detach())
    # What is not hidden is seen: the mask is no blindfold.
    seen, mask = blind_spots.hide(images + 1, 0.3, spots(3))
    assert not torch.equal(network(seen), outputs[1])
    assert mask.float().mean() == pytest.approx(0.3, abs=0.05)


def test_blind_loss_is_the_error_plus_the_noise():
    """E (f - y)^2 = E (f - x)^2 + var(n) on hidden pixels for any f of the others; not for one that sees them."""
    rng = np.random.default_rng(5)
    truth, _ = toypairs.blobs(400, BOX, 2)
    noisy = truth + NOISE * rng.standard_normal(truth.shape).astype(np.float32)
    images = torch.from_numpy(noisy)[:, None]
    smooth = torch.nn.functional.avg_pool2d
    for sees, expected in ((False, True), (True, False)):
        hidden, mask = blind_spots.hide(images, 0.25, spots(400))
        output = smooth(images if sees else hidden, 3, 1, 1)
        loss = (output - images)[mask].square().mean().item()
        error = (output - torch.from_numpy(truth)[:, None])[mask].square().mean().item()
        assert (loss == pytest.approx(error + NOISE**2, rel=0.02)) == expected


# ReferencePairs


def particles_at(folder, noise=NOISE, seed=0, extra=None, names=None):
    """particles.star of toy blobs in white (or the given) noise; their truth in the same grey values."""
    truth, _ = toypairs.blobs(COUNT, BOX, seed, off_centre=0.15)
    truth = toypairs.GAIN * truth + toypairs.OFFSET
    rng = np.random.default_rng(seed + 1)
    extra = noise * rng.standard_normal(truth.shape) if extra is None else extra
    names = names or [f'{i + 1:06d}@mic.mrcs' for i in range(COUNT)]
    return toypairs.write(folder / 'particles.star', (truth + extra).astype(np.float32), names), truth


class Told:
    """Stands for a Job."""

    def __init__(self, settings):
        self.warnings, self.settings = [], settings

    def say(self, text):
        pass

    def input(self, path, whole=False):
        return path

    def record(self, identity, files):
        pass

    warn = property(lambda self: self.warnings.append)


def open_pairs(**settings):
    settings = Train(output='x', **{k: v if k == 'target' else str(v) for k, v in settings.items()})
    told = Told(settings)
    pairs = noisy_pairs.open_noisy(settings, told)
    return pairs, told.warnings


def test_independent_images_share_the_signal_only(tmp_path):
    path, truth = particles_at(tmp_path)
    pairs, _ = open_pairs(particles=path, target='self')
    first, second, variance = pairs.independent(np.arange(COUNT), np.random.default_rng(0))
    a, b = first - truth, second - truth
    assert np.mean(a * b) == pytest.approx(0, abs=0.04 * NOISE**2)
    assert b.var() == pytest.approx(variance.mean(), rel=0.05)
    assert a.var() == pytest.approx(10 / 9 * NOISE**2, rel=0.04)


def test_coloured_noise_is_whitened_for_the_network(tmp_path):
    noise, _ = coloured(np.random.default_rng(3), COUNT, BOX, 1.0)
    path, _ = particles_at(tmp_path, extra=3 * noise)
    pairs, warnings = open_pairs(particles=path, target='self')
    found = read(pairs, np.arange(COUNT))
    seen, target = found.noisy[:, 0].numpy(), found.clean[:, 0].numpy()
    assert abs(spectra.neighbour_correlation(seen)) < 0.05
    assert pairs.noise_variance == pytest.approx(1, rel=0.1)
    np.testing.assert_allclose(target, pairs.scale.unit_scale * seen, rtol=1e-5)
    assert warnings == []


def test_noise_that_cannot_be_whitened_is_told(tmp_path):
    """Stripes along x: an isotropic filter leaves their neighbours correlated."""
    rng = np.random.default_rng(4)
    stripes = np.repeat(rng.normal(size=(COUNT, BOX, BOX // 4)), 4, axis=2)
    path, _ = particles_at(tmp_path, extra=stripes)
    assert 'still correlates' in open_pairs(particles=path, target='self')[1][0]


def test_copies_give_the_noise_by_their_difference(tmp_path):
    path, truth = particles_at(tmp_path)
    second, _ = particles_at(tmp_path / '2', extra=NOISE * np.random.default_rng(9).standard_normal(truth.shape))
    pairs, _ = open_pairs(particles=path, target='copies', copies=second)
    grey = (pairs.scale.sd / pairs.scale.unit_scale) ** 2
    assert pairs.target_noise * grey == pytest.approx(NOISE**2, rel=0.03)
    signal = truth.var()
    assert pairs.scale.correlation == pytest.approx(signal / (signal + NOISE**2), rel=0.05)
    assert pairs.scale.correlation_shuffled < 0.8 * pairs.scale.correlation


@pytest.mark.parametrize(
    ('change', 'message'),
    [(lambda x, rng: x, 'copies are the particles themselves'),
     (lambda x, rng: rng.normal(size=x.shape), 'no better than with other'),],
)  # fmt: skip
def test_copies_that_are_none(tmp_path, change, message):
    path, _ = particles_at(tmp_path)
    images = ParticleTable.read(path).images().read(np.arange(COUNT))
    changed = change(images, np.random.default_rng(77)).astype(np.float32)
    second = toypairs.write(tmp_path / 'b.star', changed, ParticleTable.read(path).names())
    with pytest.raises(noisy_pairs.InputError, match=message):
        open_pairs(particles=path, target='copies', copies=second)


def test_particles_without_signal_are_refused(tmp_path):
    images = np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)).astype(np.float32)
    with pytest.raises(noisy_pairs.InputError, match='no signal above the noise'):
        open_pairs(particles=toypairs.write(tmp_path / 'p.star', images), target='self')


def test_frc_with_a_signal_nobody_has_seen():
    rng = np.random.default_rng(7)
    signal, _ = coloured(rng, 4000, BOX, 1.0)
    output = 0.6 * signal + 0.3 * rng.standard_normal(signal.shape).astype(np.float32)
    first, second = (signal + 2 * rng.standard_normal(signal.shape).astype(np.float32) for _ in range(2))
    cov = assessment_from_copies.ring_covariance
    found = assessment_from_copies.frc_from_copies(cov(output, second), cov(output, output), cov(first, second))
    # Of sums over images, not the mean of their FRC.
    expected = cov(output, signal) / np.sqrt(cov(output, output) * cov(signal, signal) + 1e-30)
    np.testing.assert_allclose(found[1:6], expected[1:6], atol=0.06)


# Training


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
    found = assessment_from_copies.assess(model, pairs, [task])['uncertainty']['scale']
    monkeypatch.setattr(assessment_from_copies.uncertainty, 'posterior_sd', lambda *_: None)
    alone = assessment_from_copies.assess(model, pairs, [task])['uncertainty']['scale']
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
    first, when = file.read_bytes(), file.stat().st_mtime_ns
    run('train', Train(**{**options, 'iterations': 2}, resume=True))
    assert file.stat().st_mtime_ns == when
    file.write_bytes(first[:-9] + bytes(9))
    run('train', Train(**{**options, 'iterations': 3}, resume=True))
    assert 'templates are learned again' in capsys.readouterr().out
    assert file.read_bytes() == first
