"""Recorrupted pairs, and the start of a network that never sees a reference, against known truth."""

import numpy as np
import pytest
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.classical.base import Batch, transfer
from cryoemgan.engine.classical.cwf import Denoiser
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.ctf import with_ctf
from cryoemgan.engine.random_fields import RandomRows
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.training.linear_start import stand_ins
from cryoemgan.engine.training.noisy_pairs import open_noisy
from cryoemgan.engine.training.recorruption import recorrupted

from . import toypairs
from .noisy_particles import Told

pytestmark = pytest.mark.usefixtures('one_thread')

BOX, COUNT, NOISE, PIXEL = 32, 1200, 1.0, 4.0


def made(strength=0.5, count=4000, sd=1.3, unit=0.7):
    """(truth, noisy, clean) and their recorrupted copies, all [n or 2 n, 1, 8, 8]."""
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(count, 1, 8, 8, generator=generator)
    noisy = truth + sd * torch.randn(truth.shape, generator=generator)
    rng = RandomRows(1, 'noise', 0, np.arange(count), torch.device('cpu'))
    return truth, noisy, unit * noisy, recorrupted(noisy, unit * noisy, strength, sd, unit, rng)


def test_noise_that_was_added_and_noise_that_is_left_are_independent():
    unit = 0.7
    truth, _, _, (seen, target) = made(unit=unit)
    both = torch.cat([truth, truth])
    first, second = seen - both, target / unit - both
    # The standard error of the mean of so many products is 0.01.
    assert (first * second).mean().item() == pytest.approx(0, abs=0.04)
    assert first.var().item() == pytest.approx(1.3**2 * (1 + 0.25), rel=0.02)
    assert second.var().item() == pytest.approx(1.3**2 * (1 + 4), rel=0.02)


def test_each_particle_is_shown_with_a_noise_and_with_its_opposite():
    _, noisy, clean, (seen, target) = made(count=5)
    torch.testing.assert_close(seen[:5] + seen[5:], 2 * noisy)
    torch.testing.assert_close(target[:5] + target[5:], 2 * clean)


def test_a_ctf_plane_is_no_image():
    planes = torch.rand(3, 2, 8, 8)
    rng = RandomRows(1, 'noise', 0, np.arange(3), torch.device('cpu'))
    seen, _ = recorrupted(planes, planes[:, :1], 0.5, 1.0, 1.0, rng)
    torch.testing.assert_close(seen[:, 1:], torch.cat([planes[:, 1:], planes[:, 1:]]))
    assert not torch.equal(seen[:3, :1], planes[:, :1])


def ctf_of(count):
    rng = np.random.default_rng(5)
    defocus = rng.uniform(9000, 24000, count)
    zero = np.zeros(count)
    return {
        'defocus_u': defocus, 'defocus_v': defocus + 300, 'defocus_angle': zero + 20, 'voltage': zero + 300,
        'cs': zero + 2.7, 'amplitude_contrast': zero + 0.1, 'phase_shift': zero, 'b_factor': zero,
    }  # fmt: skip


@pytest.fixture(scope='module', params=['without CTF', 'with CTF'])
def started(request, tmp_path_factory):
    """Noisy pairs, their truth with CTF, and a network that has looked at them."""
    folder = tmp_path_factory.mktemp('start')
    truth, _ = toypairs.blobs(COUNT, BOX, 4, off_centre=0.1)
    columns = {}
    if request.param == 'with CTF':
        ctf = ctf_of(COUNT)
        truth = with_ctf(truth, PIXEL, ctf)
        columns = {
            'rlnDefocusU': ctf['defocus_u'], 'rlnDefocusV': ctf['defocus_v'], 'rlnDefocusAngle': ctf['defocus_angle'],
        }  # fmt: skip
    noise = NOISE * truth.std() * 3 * np.random.default_rng(6).standard_normal(truth.shape)
    path = write(folder / 'particles.star', (truth + noise).astype(np.float32), columns)
    settings = Train(output='x', particles=str(path), target='self', seed=2).filled()
    pairs = open_noisy(settings, Told(settings))
    held = 'none'
    if columns:
        held, _ = pairs.image_model
        pairs.show_ctf()
    network = networks.create('equivariant', BOX, rank=128, width=8, particles_hold=held, references_hold=held)
    noisy, clean = stand_ins(pairs, np.arange(COUNT), 3)
    network.initialise(noisy, clean)
    return pairs, truth, network.generator.eval(), clean


def write(path, images, columns):
    """A particle table with optics of this CTF."""
    if not columns:
        return toypairs.write(path, images)
    toypairs.write(path, images)
    rows = {
        'rlnImageName': ParticleTable.read(path).strings('rlnImageName'),
        'rlnOpticsGroup': np.ones(len(images), int),
    }
    optics = {
        'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PIXEL], 'rlnImageSize': [BOX], 'rlnImageDimensionality': [2],
        'rlnVoltage': [300.0], 'rlnSphericalAberration': [2.7], 'rlnAmplitudeContrast': [0.1],
    }  # fmt: skip
    ParticleTable.create(path, {**rows, **columns}, optics).write(path)
    return path


def test_stand_ins_have_the_power_of_what_nobody_has_seen(started):
    pairs, truth, _, clean = started
    wanted = pairs.standardised(truth)
    found = clean[:, 0].numpy() / pairs.scale.unit_scale
    a, b = (np.square(np.abs(np.fft.rfft2(x - x.mean(0)))).mean(0)[:6, :6] for x in (wanted, found))
    assert b.sum() == pytest.approx(a.sum(), rel=0.15)
    # Together with their particles they are as references would be: the same covariance.
    noisy = pairs.standardised(pairs.raw(np.arange(COUNT))[0])
    assert np.vdot(noisy, found) == pytest.approx(np.vdot(noisy, wanted), rel=0.1)


def test_before_any_training_the_network_is_as_good_as_the_covariance_wiener_filter(started):
    pairs, truth, generator, _ = started
    with torch.no_grad():
        found = generator(pairs.seen(np.arange(300)))[:, 0].numpy() / pairs.scale.unit_scale
    wanted = pairs.standardised(truth[:300])
    error = np.square(found - wanted).mean()
    assert error < 1.03 * np.square(filtered(pairs)[:300] - wanted).mean()
    assert error < 0.5 * np.square(wanted - wanted.mean(0)).mean()


def filtered(pairs):
    """All particles by the covariance Wiener filter, with the CTF that they hold."""
    noise, every = np.full(COUNT, pairs.noise_variance**0.5), np.arange(COUNT)
    images = pairs.seen(every)[:, 0].numpy()
    known = transfer(BOX, PIXEL, pairs.particles.ctf(), 'full') if pairs.shows_ctf else ()
    batch, method = Batch(images, noise, *known), Denoiser(BOX)
    method.fit(lambda: [batch])
    found = method.denoise(batch)
    return found if not known else np.fft.irfft2(np.fft.rfft2(found) * known[0], s=(BOX, BOX))
