"""Steerable components and the networks on them: reconstruction, turns, the Wiener start, boxes."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from .. import networks
from ..geometry import random_matrices
from ..imaging.flips import flipped
from ..imaging.phantom import claw
from ..imaging.steerable import FourierPlane, principal_basis
from ..inference import uncertainty
from ..inference.model import Model
from ..inference.model_writer import save_model
from ..networks import angular
from ..networks.components import Components, principal_components
from . import toypairs

pytestmark = pytest.mark.usefixtures('one_thread')


def turn(images, code):
    """One of the 8 quarter turns and mirrors: bit 0 mirrors x, bit 1 y, bit 2 then exchanges x and y."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if code & bit]
    images = flipped(images, axes) if axes else images
    return images.transpose(-1, -2) if code & 4 else images


MIRRORS = {1: 1, 2: 2, 4: 4, 7: 7}
# Mirrors and turns of `augmentation.turn` that are proper turns: code -> code of the turn back.
TURNS = {3: 3, 5: 6, 6: 5}


def images(count, seed, box=48):
    clean = torch.from_numpy(toypairs.blobs(count, box, seed, off_centre=0.18)[0])[:, None]
    return clean + 1.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)), clean


@pytest.fixture(scope='module')
def fitted():
    components = Components(48, 160)
    components.fit(*images(300, 1))
    return components


def test_basis_is_orthonormal_and_explains_new_images(fitted):
    flat = fitted.basis.flatten(1)
    flat = flat[flat.any(1)]
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), atol=2e-4, rtol=0)
    _, new = images(100, 2)
    error = fitted.synthesise(fitted.analyse(new - fitted.mean)) - new
    assert error.square().mean() < 5e-3 * new.var()


def test_components_are_as_good_as_those_of_all_turned_images():
    """Against numpy's SVD of the images in many orientations: nearly the least error of any basis of this size."""
    _, clean = images(60, 3, box=32)
    turned = torch.cat([turn(clean, code) for code in range(8)])[:, 0].numpy().reshape(480, -1)
    basis, slots, mean = principal_components(clean[:, 0].numpy(), 40)
    centred = turned - mean.numpy().ravel()
    ours = np.square(centred).sum() - np.square(centred @ basis.flatten(1).numpy().T).sum()
    centred = turned - turned.mean(axis=0)
    best = np.square(np.linalg.svd(centred, compute_uv=False)[len(slots) :]).sum()
    assert best <= ours < 2 * best + 0.002 * np.square(centred).sum()


def test_a_turn_is_a_phase(fitted):
    """A quarter turn multiplies frequency m by a power of i: the energy of each component stays."""
    _, new = images(20, 4)
    before, after = fitted.analyse(new - fitted.mean), fitted.analyse(turn(new, 5) - fitted.mean)
    slot = fitted.slot.numpy()
    used = np.flatnonzero(slot < 32 * 2 * 24)
    component = slot[used] // 48 * 24 + slot[used] % 24
    energy = [np.zeros((20, 32 * 24)) for _ in range(2)]
    for total, coefficients in zip(energy, (before, after)):
        np.add.at(total, (slice(None), component), coefficients[:, used].numpy() ** 2)
    assert np.abs(energy[0] - energy[1]).sum() < 0.03 * energy[0].sum()
    assert not np.allclose(before, after, atol=0.1)


def test_starts_as_the_wiener_filter_of_the_components():
    noisy, clean = images(400, 5)
    pair = networks.create('equivariant', 48, rank=100)
    pair.initialise(noisy, clean)
    new, truth = images(200, 6)
    with torch.no_grad():
        error = (pair.generator(new) - truth).square().mean().item()
    # What the filter leaves of each component, from its own variances, and what the components do not hold.
    c = pair.generator.network.components
    x = c.analyse(truth - c.mean)
    variance = x.square().mean(0)
    left = (variance * 2.25 / (variance + 2.25)).sum().item() + (
        (truth - c.mean).square().sum((1, 2, 3)).mean() - x.square().sum(1).mean()
    ).item()
    assert error == pytest.approx(left / 48**2, rel=0.08)


def test_fits_a_batch_beyond_the_filter_with_every_weight():
    noisy, clean = images(64, 10)
    torch.manual_seed(0)
    generator = networks.create('equivariant', 48, rank=60, width=32).generator
    generator.network.initialise(noisy, clean)
    optimiser = torch.optim.Adam(generator.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = (generator(noisy[:16]) - clean[:16]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.grad.abs().max() > 0 for p in generator.parameters())


def test_patterns_are_matched_filters_of_references():
    """Each answers to its own reference, at no turn, more than any other pattern does on average, and more than to
    noise: a pattern with the wrong sign of its sine part would look for the mirror image."""
    noisy, clean = images(400, 11)
    torch.manual_seed(0)
    generator = networks.create('equivariant', 48, rank=160, width=40).generator.network
    generator.initialise(noisy, clean)
    c = generator.components
    chosen = clean[torch.linspace(0, 399, 40).round().long()]
    seen = (c.analyse(chosen - c.mean_image()) * c.wiener.sign()) / c.size_noisy.clamp_min(1e-6)
    with torch.no_grad():
        (first,) = angular.real_matrices(generator.first)
        answers = angular.values(first @ generator._by_frequency(seen[:, None]), generator.wide)
    own = answers.diagonal(dim1=1, dim2=2)
    assert (own.argmax(0) % 64 == 0).float().mean() > 0.9
    assert (own[0] > 0.9 * answers.amax((0, 1))).float().mean() > 0.9


def perturbed(width=16):
    torch.manual_seed(1)
    pair = networks.create('equivariant', 48, rank=160, width=width)
    pair.initialise(*images(300, 1))
    for p in pair.generator.parameters():
        p.data += 0.5 * p.std() * torch.randn_like(p) if p.any() else 0.3 * torch.randn_like(p)
    return pair.generator


@pytest.mark.parametrize('training', [True, False])
def test_equivariant_network_turns_with_the_particle(training):
    """Out of training it also mirrors with it."""
    generator = perturbed().train(training)
    noisy, _ = images(10, 7)
    # The row and column at -N/2 have no counterpart at +N/2: a turn cannot take them along.
    noisy[..., 0, :] = noisy[..., :, 0] = 0
    with torch.no_grad():
        plain = generator(noisy)
        start = generator.network.components
        linear = start.synthesise(start.wiener * (start.analyse(noisy) - start.centre))
        assert (plain - linear).norm() > 0.2 * linear.norm(), 'the network part does nothing: the test is blind'
        for code, back in (TURNS if training else TURNS | MIRRORS).items():
            error = (turn(generator(turn(noisy, code)), back) - plain)[..., 1:, 1:]
            assert error.norm() < 0.03 * plain.norm()


def test_a_single_network_is_not_sure_because_it_turns_with_the_particle():
    """Two answers that differ by rounding only would say nothing of the error."""
    generator = perturbed().eval()

    class OneMember:
        members, guides = {'main': generator}, {}

        def begin(self, particles, member=None, precision='float32', opinion=None):
            with torch.no_grad():
                return generator(torch.from_numpy(particles)[:, None])[:, 0].numpy

    noisy, clean = (x[:, 0].numpy() for x in images(20, 12))
    found = uncertainty.answers(OneMember(), noisy)
    error = np.abs(found[0] - clean)
    assert uncertainty.spread(found).mean() > 0.1 * error.mean()
    assert np.corrcoef(uncertainty.spread(found).ravel(), error.ravel())[0, 1] > 0.2


@pytest.mark.parametrize('box', [34, 160])
def test_other_boxes(box):
    """Above 128 px the inside works on a coarser grid; the image keeps its place and scale."""
    noisy, clean = images(60, 8, box)
    pair = networks.create('equivariant', box, rank=80, width=16)
    pair.initialise(clean + 0.01 * noisy, clean)
    with torch.no_grad():
        output = pair.generator(clean)
    assert (output - clean).square().mean() < 0.03 * clean.var()


def test_model_folder_holds_the_basis(tmp_path):
    noisy, clean = images(100, 9)
    generator = networks.create('equivariant', 48).generator
    generator.network.initialise(noisy, clean)
    card = {
        'network': {'name': 'equivariant', 'options': networks.defaults('equivariant')},
        'box': 48,
        'pixel_size': 3.0,
        'ctf': 'none',
        'input': {'mean': 0.0, 'sd': 1.0},
        'grey': {'gain': 1.0, 'offset': 0.0},
        'units': {'scale': 1.0, 'offset': 0.0},
        **{key: {} for key in ('settings', 'data', 'metrics', 'versions')},
    }
    save_model(tmp_path / 'model', card, {'main': generator}, {'main': ['1@a']})
    with torch.no_grad():
        expected = generator(noisy)[:, 0].numpy()
    np.testing.assert_allclose(Model.load(tmp_path / 'model').denoise(noisy[:, 0].numpy()), expected, atol=1e-5)


def test_turned_images_are_right_in_every_ring():
    """Oracle: exact projections of the phantom at the other in-plane angle. Near k = 0 a ring has few points, and least
    squares shows them by functions of orders that they cannot tell apart: fine as they are, wrong when turned."""
    box, count = 48, 300
    matrices, angles = random_matrices(count, 1), np.random.default_rng(2).uniform(0, 2 * np.pi, count)
    spin = Rotation.from_euler('z', angles).as_matrix()
    plane, state = FourierPlane(box), claw(2)[0]
    still, exact = (plane.vectors(torch.from_numpy(state.project(box, m))) for m in (matrices, spin @ matrices))
    basis = principal_basis(plane, still, 0.99999, 1000)
    turned = basis.synthesise(basis.turned(basis.coefficients(still), torch.as_tensor(angles, dtype=torch.float32)))
    error, power = (plane.rings(x.abs().square().mean(0)) for x in (turned - exact, exact))
    assert float((error / power)[1:8].max()) < 5e-5
