"""The Bayes-optimal denoiser on a claw: calibrated, and far below what a linear filter can do."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging.ctf import ctf_rfft
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.imaging.spectra import coloured_noise
from cryoemgan.engine.metrics.bayes_bound import BayesBound, Poses, _log_density, of_simulation
from cryoemgan.engine.settings import Simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def problem():
    states, box = claw(2), 32
    rotations = random_matrices(16, 3)
    clean = np.concatenate([states[i % 2].project(box, rotations[i : i + 1]) for i in range(16)])
    gain = 1 / clean.std()
    noisy = clean * gain + np.random.default_rng(0).normal(size=clean.shape) / 0.5
    limit = BayesBound([s.volume(box) for s in states], 2.0, views=1500, gain=gain)
    return clean * gain, noisy.astype(np.float32), limit


def test_error_is_far_below_noise_and_stops_changing(problem):
    clean, noisy, limit = problem
    coarse = ((limit.denoise(noisy, rounds=3, samples=80, draws=120) - clean) ** 2).mean()
    fine = ((limit.denoise(noisy, rounds=4, samples=240, draws=480) - clean) ** 2).mean()
    assert fine < 0.05 * clean.var()
    assert fine == pytest.approx(coarse, rel=0.35)


def test_without_noise_the_answer_is_the_template(problem):
    clean, _, limit = problem
    exact = limit._draw(Poses(limit.rotations[:2], limit.state[:2], None))[0].view(2, 32, 32).numpy()
    sharp = BayesBound.__new__(BayesBound)
    sharp.__dict__.update(limit.__dict__, noise_sd=0.05)
    assert ((sharp.denoise(exact, rounds=5, samples=80) - exact) ** 2).mean() < 0.01 * clean.var()


def poses(*rotations, shifts=None):
    return Poses(np.array(rotations), np.zeros(len(rotations), int), shifts)


def test_density_of_one_cloud_is_gaussian_in_the_angle_and_the_shift():
    angle = np.deg2rad(10)
    turned = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    assert _log_density(poses(turned), poses(np.eye(3)), 5.0) == pytest.approx(-2.0)
    assert np.isfinite(_log_density(poses(np.eye(3)), poses(np.eye(3)), 5.0)).all()
    there, here = (poses(np.eye(3), shifts=np.array([s])) for s in ((3.0, 4.0), (0.0, 0.0)))
    assert _log_density(there, here, 5.0, 2.5) == pytest.approx(-2.0)


BOX, SHIFT = 16, 1.0


def drawn(count, seed):
    """Poses from the prior."""
    rng = np.random.default_rng(seed)
    return Poses(random_matrices(count, seed), rng.integers(0, 2, count), rng.normal(0, SHIFT, (count, 2)))


def one_ctf():
    names = ('defocus_u', 'defocus_v', 'defocus_angle', 'phase_shift', 'voltage', 'cs', 'amplitude_contrast')
    values = (1.5e4, 1.3e4, 20.0, 0.0, 300.0, 2.7, 0.1)
    return ctf_rfft(BOX, 8.0, {n: np.full(1, v) for n, v in zip(names, values)})


def enumerated(y, truths, templates, sd):
    """Posterior mean and variance [n] of images [n, box^2] over templates drawn from the prior: nothing is searched."""
    weight = torch.softmax((y @ templates.T - (templates**2).sum(1) / 2).double() / sd**2, 1).float()
    mean = weight @ truths
    return mean, weight @ (truths**2).sum(1) - (mean**2).sum(1)


@pytest.mark.parametrize(('unit', 'clean_ctf'), [(False, 'full'), (True, 'full'), (True, 'none')])
def test_unknown_shifts_and_a_known_ctf_against_enumeration(unit, clean_ctf):
    """16 px, so that 40,000 templates are everything there is; an SNR at which hundreds of them are likely."""
    ctf, volumes, count = one_ctf(), [s.volume(BOX) for s in claw(2)], 6
    limit = BayesBound(volumes, 1.0, views=1500, unit=unit, shift_sd=SHIFT, clean_ctf=clean_ctf)
    _, seen = limit._draw(drawn(count, 1), ctf)
    truths, templates = limit._draw(drawn(40_000, 7), ctf)
    sd = limit.noise_sd = float(seen.std(1).mean() / 0.05**0.5)
    y = seen + sd * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    mean, variance = enumerated(y, truths, templates, sd)

    def away(limit, ctf):
        limit.noise_sd = sd
        found = limit.denoise(y.view(-1, BOX, BOX), draws=4000, start_degrees=36.0, ctf=ctf)
        # In parts of what the posterior leaves open.
        return float((((torch.as_tensor(found).flatten(1) - mean) ** 2).sum(1) / variance).mean())

    every = ctf.expand(count, -1, -1)
    found = away(limit, every)
    assert found < 0.1
    assert away(BayesBound(volumes, 1.0, views=1500, unit=unit, clean_ctf=clean_ctf), every) > 2 * found
    assert away(limit, None) > 4 * found


@pytest.mark.parametrize('ctf', [None, one_ctf()])
def test_coloured_noise_against_enumeration(ctf):
    """Whitened by hand here. What takes the noise for white is far from the answer."""
    volumes, count = [s.volume(BOX) for s in claw(2)], 6
    power = 1 / (0.02 + np.square(np.fft.rfftfreq(BOX)) + np.square(np.fft.fftfreq(BOX))[:, None])
    power /= np.concatenate([power, power[:, 1:-1]], 1).mean()
    white = BayesBound(volumes, 1.0, views=1500, shift_sd=SHIFT)
    _, seen = white._draw(drawn(count, 1), ctf)
    truths, templates = white._draw(drawn(40_000, 7), ctf)
    sd = float(seen.std(1).mean() / 0.05**0.5)
    noise = sd * torch.from_numpy(coloured_noise(np.random.default_rng(3), count, BOX, power)).flatten(1)

    def whitened(images):
        spectrum = np.fft.rfft2(images.view(-1, BOX, BOX).numpy()) / np.sqrt(power)
        return torch.from_numpy(np.fft.irfft2(spectrum, s=(BOX, BOX)).astype(np.float32)).flatten(1)

    mean, variance = enumerated(whitened(seen + noise), truths, whitened(templates), sd)

    def away(limit):
        limit.noise_sd, every = sd, None if ctf is None else ctf.expand(count, -1, -1)
        found = limit.denoise((seen + noise).view(-1, BOX, BOX), draws=4000, start_degrees=36.0, ctf=every)
        return float((((torch.as_tensor(found).flatten(1) - mean) ** 2).sum(1) / variance).mean())

    found = away(BayesBound(volumes, 1.0, views=1500, shift_sd=SHIFT, noise_power=power))
    assert found < 0.1
    assert away(white) > 2 * found


def test_ctf_of_one_and_no_shift_change_nothing(problem):
    _, noisy, limit = problem
    plain, same = (BayesBound([s.volume(32) for s in claw(2)], 2.0, views=500, gain=limit.gain) for _ in range(2))
    with_ctf = same.denoise(noisy[:4], samples=60, draws=100, ctf=np.ones((4, 32, 17), np.float32))
    assert with_ctf == pytest.approx(plain.denoise(noisy[:4], samples=60, draws=100), abs=1e-3)


def test_limit_of_a_simulation(tmp_path):
    """A set with CTF and shifts: far below its noise, below what not knowing of them gives."""
    folder = tmp_path / 'set'
    settings = Simulate(output=str(folder), phantom=2, box=32, count=5, ctf=True, shift_sd=1.5, snr=0.5, pixel_size=6.0)
    settings.validate()
    run('simulate', settings)
    noisy, clean = (ParticleTable.read(folder / f'{n}.star') for n in ('noisy', 'clean'))
    images, truth = (t.images().read(np.arange(10)) for t in (noisy, clean))
    limit, ctf = of_simulation(folder, noisy, views=1500)
    error = ((limit.denoise(images, ctf=ctf) - truth) ** 2).mean() / truth.var()
    limit.shift_sd = 0.0
    assert error < 0.12
    assert error < 0.5 * ((limit.denoise(images, ctf=ctf) - truth) ** 2).mean() / truth.var()


def test_what_the_limit_does_not_know_is_refused(tmp_path):
    folder = tmp_path / 'set'
    settings = Simulate(output=str(folder), phantom=2, box=16, count=5, snr_per='image', pixel_size=8.0)
    settings.validate()
    run('simulate', settings)
    with pytest.raises(InputError, match='snr_per image'):
        of_simulation(folder, ParticleTable.read(folder / 'noisy.star'))
