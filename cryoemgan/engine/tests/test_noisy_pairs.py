"""Pairs without references: whitening, blind spots, copies, and the errors they estimate, against known truth."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging import spectra
from cryoemgan.engine.inference import assessment_from_copies
from cryoemgan.engine.random_fields import RandomRows
from cryoemgan.engine.training import blind_spots, noisy_pairs
from cryoemgan.engine.training.loading import read

from . import toypairs
from .noisy_particles import BOX, COUNT, NOISE, coloured, open_pairs, particles_at

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]


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


@pytest.mark.parametrize(('draw', 'told'), [('standard_normal', False), ('laplace', True)])
def test_noise_that_is_not_gaussian_is_said(tmp_path, draw, told):
    rng = np.random.default_rng(4)
    path, truth = particles_at(tmp_path, extra=0)
    noise = getattr(rng, draw)(size=truth.shape) * (NOISE if draw == 'standard_normal' else NOISE / 2**0.5)
    path = toypairs.write(tmp_path / 'noisy.star', (truth + noise).astype(np.float32))
    _, warnings = open_pairs(particles=path, target='self')
    assert any('not Gaussian' in w for w in warnings) == told
    # Blind spots ask for no Gaussian.
    _, warnings = open_pairs(particles=path, target='self', self_supervision='blind-spots')
    assert not any('not Gaussian' in w for w in warnings)
