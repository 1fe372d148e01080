"""The linear estimate that `equivariant` starts from, against dense linear algebra and against a filter without CTF."""

import numpy as np
import pytest
import torch

from ..imaging.ctf import ctf_rfft, seen
from ..imaging.ctf_table import half_plane, plane_of_ctf
from ..imaging.flips import flipped
from ..networks import equivariant
from ..networks.components import Components
from ..networks.linear_estimate import LinearEstimate, _ring_products

pytestmark = pytest.mark.usefixtures('one_thread')
BOX, COUNT, NOISE = 32, 1500, 2.0


def blobs(count, rng):
    """Images of three blobs at random in-plane angles, float32 [count, 1, BOX, BOX]: a stationary set under turns."""
    axis = np.arange(BOX) - BOX // 2
    y, x = np.meshgrid(axis, axis, indexing='ij')
    # The basis takes mirror images for equally likely.
    angle = (rng.uniform(0, 2 * np.pi, count)[:, None] + np.array([0.0, 2.0, 3.5])) * rng.choice([-1, 1], count)[
        :, None
    ]
    radius = np.array([5.0, 7.0, 3.0]) * rng.uniform(0.8, 1.2, (count, 3))
    centre = radius * np.cos(angle), radius * np.sin(angle)
    images = sum(
        np.exp(-((x - centre[0][:, k, None, None]) ** 2 + (y - centre[1][:, k, None, None]) ** 2) / 8) for k in range(3)
    )
    return torch.tensor(images[:, None], dtype=torch.float32)


def ctfs(count, rng):
    defocus = rng.uniform(8000, 25000, count)
    params = {k: np.full(count, v) for k, v in dict(voltage=300, cs=2.7, amplitude_contrast=0.1, phase_shift=0).items()}
    return ctf_rfft(BOX, 3.0, dict(params, defocus_u=defocus, defocus_v=defocus, defocus_angle=np.zeros(count)))


def through(images, ctf):
    return torch.fft.irfft2(torch.fft.rfft2(images) * ctf[:, None], s=(BOX, BOX))


@pytest.fixture(scope='module')
def scene():
    """(references without CTF, CTFs, particles with them and white noise, two channels)."""
    rng = np.random.default_rng(0)
    clean, ctf = blobs(COUNT, rng), ctfs(COUNT, rng)
    noise = torch.tensor(rng.standard_normal(clean.shape), dtype=torch.float32)
    seen = through(clean, ctf) + NOISE * clean.std() * noise
    return clean, ctf, torch.cat([seen, plane_of_ctf(ctf)[:, None]], 1)


def fitted(noisy, clean, *holds):
    estimate = LinearEstimate(Components(BOX, 200), *holds)
    estimate.fit(noisy, clean)
    return estimate


def error(images, truth):
    images, truth = (x - x.mean((-2, -1), keepdim=True) for x in (images, truth))
    return float((images - truth).square().mean() / truth.square().mean())


def images_of(estimate, noisy):
    return estimate._components[0].synthesise(estimate(noisy)[1])


def test_a_plane_turns_and_mirrors_as_its_images_do():
    rng = np.random.default_rng(1)
    params = {k: np.full(4, v) for k, v in dict(voltage=300, cs=2.7, amplitude_contrast=0.1, phase_shift=0).items()}
    ctf = ctf_rfft(
        BOX,
        3.0,
        dict(params, defocus_u=np.full(4, 9000), defocus_v=np.full(4, 6000), defocus_angle=np.arange(4) * 25.0),
    )
    image = torch.tensor(rng.standard_normal((4, 1, BOX, BOX)), dtype=torch.float32)
    # Without the Nyquist row and column, which have no mirror image.
    spectrum = torch.fft.rfft2(image)
    spectrum[..., BOX // 2, :], spectrum[..., BOX // 2] = 0, 0
    image = torch.fft.irfft2(spectrum, s=(BOX, BOX))
    plane = plane_of_ctf(ctf)
    assert torch.equal(half_plane(plane), ctf)
    turned = through(flipped(image, -1).transpose(-1, -2), half_plane(flipped(plane, -1).transpose(-1, -2)))
    assert torch.allclose(turned, flipped(through(image, ctf), -1).transpose(-1, -2), atol=1e-5)


def test_it_is_the_posterior_mean_of_dense_linear_algebra(scene):
    """Covariance of all pixels, each particle's own CTF as a matrix, one solve an image."""
    clean, ctf, noisy = scene
    estimate = fitted(noisy, clean, 'full', 'none')
    turns = torch.cat(
        [flipped(x, axes) if axes else x for x in (clean, clean.transpose(-1, -2)) for axes in ((), -1, -2, (-2, -1))]
    )
    flat = turns.flatten(1).double()
    mean = flat.mean(0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    sd, eye = float(NOISE * clean.std()), torch.eye(BOX * BOX).view(-1, 1, BOX, BOX)
    dense = []
    for k in range(12):
        operator = through(eye, ctf[k : k + 1]).flatten(1).double()
        system = operator.T @ covariance @ operator + sd**2 * torch.eye(BOX * BOX)
        residual = noisy[k, 0].flatten().double() - mean @ operator
        dense.append(mean + covariance @ operator @ torch.linalg.solve(system, residual))
    dense = torch.stack(dense).float().view(-1, 1, BOX, BOX)
    found = images_of(estimate, noisy[:12])
    assert error(found, dense) < 0.02
    assert error(found, clean[:12]) < 1.05 * error(dense, clean[:12])


def test_a_filter_that_does_not_know_the_ctf_is_far_worse(scene):
    clean, _, noisy = scene
    blind = Components(BOX, 200)
    blind.fit(noisy[:, :1], clean)
    plain = blind.synthesise(blind.wiener * (blind.analyse(noisy[:, :1]) - blind.centre))
    assert error(images_of(fitted(noisy, clean, 'full', 'none'), noisy), clean) < 0.9 * error(plain, clean)


@pytest.mark.parametrize('holds', ['phase-flip', 'full', 'premultiplied'])
def test_references_with_ctf_are_given_with_ctf(scene, holds):
    """What is known without the CTF, multiplied by it, is the estimate of a reference that holds it, in its grey."""
    clean, ctf, noisy = scene
    held = seen(ctf, holds)
    references = through(clean, held) + 7
    particles_hold = 'full'
    if holds == 'premultiplied':
        particles_hold, noisy = holds, torch.cat([through(noisy[:, :1], ctf), noisy[:, 1:]], 1)
    estimate = fitted(noisy, references, particles_hold, holds)
    found = estimate.through_ctf(images_of(estimate, noisy), noisy)
    expected = through(images_of(fitted(noisy, clean, particles_hold, 'none'), noisy), held)
    assert error(found, references) < 1.03 * error(expected, references)
    assert abs(float(found.mean() - references.mean())) < 0.05 * float(references.std())


def test_premultiplied_particles_say_the_same(scene):
    """Multiplied by their CTF, particles have lost nothing that a filter could use."""
    clean, ctf, noisy = scene
    premultiplied = torch.cat([through(noisy[:, :1], ctf), noisy[:, 1:]], 1)
    found = images_of(fitted(premultiplied, clean, 'premultiplied', 'none'), premultiplied)
    expected = images_of(fitted(noisy, clean, 'full', 'none'), noisy)
    assert error(found, expected) < 0.02
    assert error(found, clean) < 1.02 * error(expected, clean)


def test_coloured_noise_is_weighed(scene):
    clean, ctf, _ = scene
    rng = np.random.default_rng(5)
    frequency = torch.fft.rfftfreq(BOX) ** 2 + torch.fft.fftfreq(BOX)[:, None] ** 2
    colour = 1 / (0.02 + frequency)
    colour = (colour / colour.mean()).sqrt().expand(len(clean), -1, -1)
    white = torch.tensor(rng.standard_normal(clean.shape), dtype=torch.float32)
    planes = plane_of_ctf(ctf)[:, None]
    signal, noise = through(clean, ctf), NOISE * clean.std() * through(white, colour)
    noisy = torch.cat([signal + noise, planes], 1)
    estimate = fitted(noisy, clean, 'full', 'none')
    found = error(images_of(estimate, noisy), clean)
    # The same, its noise taken for white.
    estimate.weight.fill_((estimate.gain / (estimate.gain / estimate.weight)[1 : BOX // 2].mean()).item())
    estimate._fit_matrices(_ring_products(estimate._components[0], estimate.ring))
    assert found < 0.95 * error(images_of(estimate, noisy), clean)


def test_the_untrained_network_is_the_estimate_and_is_saved_whole(scene):
    clean, _, noisy = scene
    generator, _ = equivariant.build(BOX, 200, 16, 1, 4, 'full', 'none')
    generator.initialise(noisy, clean)
    generator.eval()
    with torch.no_grad():
        found = generator(noisy[:8])
        assert torch.allclose(found, images_of(generator.linear, noisy[:8]), atol=1e-5)
        again, _ = equivariant.build(BOX, 200, 16, 1, 4, 'full', 'none')
        again.load_state_dict(generator.state_dict())
        assert torch.equal(again.eval()(noisy[:8]), found)
