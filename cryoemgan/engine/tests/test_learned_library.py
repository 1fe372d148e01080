"""Templates that particles alone tell, on a phantom whose projections are known exactly."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.classical.base import Batch, transfer
from cryoemgan.engine.classical.cwf import Denoiser
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging.flips import flipped
from cryoemgan.engine.imaging.fourierbessel import FourierBessel
from cryoemgan.engine.imaging.steerable import FourierPlane
from cryoemgan.engine.posterior import learned_library
from cryoemgan.engine.posterior.assignment import assign
from cryoemgan.engine.posterior.posterior import Particles, Search
from cryoemgan.engine.posterior.search import Prior
from cryoemgan.engine.tests.claw_templates import BOX, project

pytestmark = pytest.mark.usefixtures('one_thread')
PIXEL_SIZE = 6.0


def ctf_of(count, seed):
    defocus = np.random.default_rng(seed).uniform(8000, 20000, count)
    same = {'voltage': 300.0, 'cs': 2.7, 'amplitude_contrast': 0.1, 'phase_shift': 0.0, 'b_factor': 0.0}
    parameters = {k: np.full(count, v) for k, v in same.items()}
    return {**parameters, 'defocus_u': defocus, 'defocus_v': defocus + 300, 'defocus_angle': np.full(count, 30.0)}


def particles(count, snr, seed, shifts=0.0, ctf=False):
    """(Batch, clean images [n, N, N] without CTF at the particles' places) of the claw."""
    rng = np.random.default_rng(seed)
    clean = project(0, random_matrices(count, seed), rng.normal(0, shifts, (count, 2)) if shifts else None).numpy()
    held = transfer(BOX, PIXEL_SIZE, ctf_of(count, seed), 'full') if ctf else (None, None)
    shown = np.fft.irfft2(np.fft.rfft2(clean) * held[0], s=(BOX, BOX)) if ctf else clean
    sd = float(np.sqrt(shown.var() / snr))
    images = (shown + sd * rng.standard_normal(shown.shape)).astype(np.float32)
    return Batch(images, np.full(count, sd), *held), clean


def posterior_means(templates, batch, reach=0.0):
    """Mean of the templates that particles show, by their probability, where they show them."""
    library, plane = learned_library.of_templates(templates), FourierPlane(BOX)
    sd = torch.as_tensor(batch.noise_sd, dtype=torch.float32)[:, None]
    held = torch.ones(len(batch.images), len(plane))
    if batch.transfer is not None:
        held = torch.as_tensor(batch.transfer).flatten(1)[:, plane.index]
    held = held / sd
    held[:, 0] = 0
    prior = Prior.moves(BOX, library.reduced(96).plane.radius, reach, reach / 2, torch.device('cpu'))
    y = plane.vectors(torch.from_numpy(batch.images)) / sd
    found = assign(library, Particles(y, held), prior, Search(candidates=24, temperature=1.5, contrast=0.05))
    turned = library.basis.turned(library.coefficients[found.template], found.angle)
    shown = library.basis.synthesise(turned) * plane.ramps(found.shift) * found.weight[:, None]
    vectors = torch.zeros(len(y), len(plane), dtype=torch.complex64).index_add_(0, found.particle, shown)
    return plane.images(vectors).numpy()


def error(images, truth):
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (images, truth))
    return float(np.square(a - b).sum() / np.square(b).sum())


@pytest.mark.parametrize(('shifts', 'ctf'), [(0.0, False), (0.7, True)], ids=['plain', 'ctf and shifts'])
def test_templates_tell_more_than_the_covariance(shifts, ctf):
    batch, _ = particles(600, 0.3, 1, shifts, ctf)
    new, truth = particles(100, 0.3, 2, shifts, ctf)
    linear = Denoiser(BOX)
    linear.fit(lambda: [batch])
    templates = learned_library.learn(lambda: [batch], BOX, 2 * shifts, 0).images
    assert 20 < len(templates) <= 57
    own, peer = error(posterior_means(templates, new, 2 * shifts), truth), error(linear.denoise(new), truth)
    assert own < 0.75 * peer


def test_positions_are_taken_back():
    """What shows a turned template, or its mirror image, comes back to where the template is."""
    templates, angle = project(0, random_matrices(3, 4)).numpy(), torch.full((3,), 0.7)
    library, basis = learned_library.of_templates(templates), FourierBessel(BOX)
    wanted = basis.evaluate(basis.expand(templates)).numpy()
    turned = library.basis.turned(library.coefficients, angle.repeat(2))
    images = library.plane.images(library.basis.synthesise(turned)) + library.background
    for mirror, shown in ((False, images[:3]), (True, images[3:])):
        back = learned_library._positioned(basis.expand(shown), angle, torch.full((3,), mirror))
        assert error(basis.evaluate(back).numpy(), wanted) < 1e-2
        away = learned_library._positioned(basis.expand(shown), -angle, torch.full((3,), mirror))
        assert error(basis.evaluate(away).numpy(), wanted) > 0.1


def test_a_mirrored_projection_is_the_view_from_behind():
    there = project(0, random_matrices(3, 4)).numpy()
    behind = project(0, np.diag([-1.0, 1.0, -1.0]) @ random_matrices(3, 4)).numpy()
    assert error(flipped(there, 2), behind) < 1e-6


def test_images_seen_once_teach_what_particles_do():
    """relearn, of the sums over single particles, is fit; posterior means are those of the particles."""
    batch, _ = particles(300, 0.3, 1, ctf=True)
    method = Denoiser(BOX)
    method.fit(lambda: [batch])
    wanted = method.denoise(batch)
    variance = batch.noise_sd[:, None] ** 2
    filtered = np.fft.irfft2(np.fft.rfft2(batch.images - np.float32(method.background)) * batch.transfer, s=(BOX, BOX))
    sums = [z / torch.as_tensor(variance[:, None], dtype=torch.float32) for z in method.basis.expand(filtered)]
    method.relearn(sums, method.squared(batch) / variance)
    found = method.posterior_means(sums, method.squared(batch) / variance)
    assert error(found, wanted) < 1e-3
