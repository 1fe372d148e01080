"""Bank, posterior and guide on a phantom whose projections are known exactly; planted failures must show."""

import numpy as np
import pytest
import torch

from cryoemgan.engine import phantom, uncertainty
from cryoemgan.engine.__main__ import run
from cryoemgan.engine.bank import Bank, directions
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import euler_to_matrix, random_matrices
from cryoemgan.engine.guide import Context, Guide, Options
from cryoemgan.engine.model import Model
from cryoemgan.engine.posterior import Search
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.steerable import FourierPlane, principal_basis
from cryoemgan.engine.table import ParticleTable
from cryoemgan.engine.tests import toypairs

BOX, SIZE, COUNT = 32, 300, 24
SEARCH = dict(functions=120, turns=36, candidates=24)


def project(state, matrices, shifts=None):
    images = phantom.claw(2)[state].project(BOX, matrices, shifts)
    return torch.as_tensor(np.asarray(images), dtype=torch.float32)


def noisy(clean, snr, seed=0):
    sd = float((clean.var() / snr).sqrt())
    return clean + sd * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)), sd


@pytest.fixture(scope='module')
def templates():
    matrices = directions(SIZE)
    return project(0, matrices.numpy()), matrices


@pytest.fixture(scope='module')
def bank(templates):
    return Bank.from_images(*templates)


@pytest.fixture(scope='module')
def particles():
    matrices = random_matrices(COUNT, 5)
    clean = project(0, matrices)
    return clean, *noisy(clean, 0.5), matrices


def guide_of(bank, sd, **options):
    return Guide(bank, 1.0, torch.full((bank.plane.radius + 1,), sd**2), Search(**SEARCH), Options(**options))


def test_vectors_keep_dot_products_and_return_the_image(templates):
    plane = FourierPlane(BOX)
    a, b = templates[0][0], templates[0][7]
    product = (plane.vectors(a) * plane.vectors(b).conj()).real.sum()
    assert product == pytest.approx(float((a * b).sum()), rel=1e-2)
    back = plane.images(plane.vectors(a))
    assert float((back - a).square().mean() / a.var()) < 1e-3


def test_turning_coefficients_is_turning_the_image(templates):
    """The oracle is a projection at another in-plane angle, not an interpolated image."""
    plane = FourierPlane(BOX)
    basis = principal_basis(plane, plane.vectors(templates[0]), 0.9999, 600)
    turned = basis.turned(
        basis.coefficients(plane.vectors(project(0, euler_to_matrix([30.0], 50.0, 0.0)))),
        torch.deg2rad(torch.tensor([40.0])),
    )
    found = basis.synthesise(turned)
    errors = {}
    for psi in (40.0, -40.0):
        wanted = plane.vectors(project(0, euler_to_matrix([30.0], 50.0, psi)))
        errors[psi] = float((found - wanted).abs().square().sum() / wanted.abs().square().sum())
    # rotation from x to y is a negative or positive psi: exactly one of the two fits
    assert min(errors.values()) < 1e-3
    assert max(errors.values()) > 0.1


def test_posterior_mean_beats_the_noise_and_finds_the_pose(bank, particles):
    clean, images, sd, matrices = particles
    found = guide_of(bank, sd)(images, Context(1.0, matrices=matrices))
    error = (found.mean - clean).square().mean() / clean.var()
    assert error < 0.15
    assert float(found.present.min()) > 0.99
    assert float(found.disagreement.median()) < 15


def test_offset_and_contrast_of_a_particle_do_not_matter(bank, particles):
    clean, images, sd, _ = particles
    guide = guide_of(bank, sd)
    plain = guide(images, Context(1.0)).mean
    torch.testing.assert_close(guide(images + 7.0, Context(1.0)).mean, plain, atol=1e-2 * float(clean.std()), rtol=0)
    scaled = guide(1.15 * clean + (images - clean), Context(1.0))
    assert float(scaled.scale.mean()) > 1.04


def test_pure_noise_is_answered_by_nothing(bank, particles):
    _, images, sd, _ = particles
    guide = guide_of(bank, sd)
    empty, real = guide(guide.noise(60, 3), Context(1.0)), guide(images, Context(1.0))
    limit = float(np.quantile(real.evidence, 0.05))
    assert float((empty.evidence > limit).float().mean()) < 0.01 + 1e-9
    assert float(empty.mean.var()) < 0.02 * float(real.mean.var())


def test_another_molecule_has_less_evidence(particles):
    """Planted failure: the bank of a different object."""
    _, images, sd, _ = particles
    grid = torch.arange(BOX) - BOX // 2
    z, y, x = torch.meshgrid(grid, grid, grid, indexing='ij')
    ball = torch.exp(-((x / 6.0) ** 2 + (y / 3.0) ** 2 + (z / 3.0) ** 2))
    right = Bank.from_maps([torch.as_tensor(phantom.claw(2)[0].volume(BOX), dtype=torch.float32)], SIZE)
    wrong = Bank.from_maps([ball * float(right.power.sum(1).mean()) ** 0.5 / 4], SIZE)
    evidence = [guide_of(b, sd)(images, Context(1.0)).evidence.median() for b in (right, wrong)]
    assert evidence[1] < 0.8 * evidence[0]


def test_mirrored_map_shows_only_against_the_refinements_angles(particles):
    """A mirrored map has the same set of projections: without poses it cannot be told. With them it must be."""
    _, images, sd, matrices = particles
    volume = torch.as_tensor(phantom.claw(2)[0].volume(BOX), dtype=torch.float32)
    context = Context(1.0, matrices=matrices, shifts=np.zeros((COUNT, 2)))
    right, mirrored = (Bank.from_maps([v], SIZE) for v in (volume, volume.flip(2).roll(1, 2)))
    free = [guide_of(b, sd)(images, context) for b in (right, mirrored)]
    held = [guide_of(b, sd, pose_prior=5.0)(images, context) for b in (right, mirrored)]
    assert float(free[1].evidence.median()) == pytest.approx(float(free[0].evidence.median()), rel=0.05)
    assert held[1].evidence.median() < 0.8 * held[0].evidence.median()
    assert free[1].disagreement.median() > 2 * free[0].disagreement.median()


def test_shift_is_found_when_it_is_looked_for(bank):
    matrices, shifts = random_matrices(12, 8), np.tile([[2.0, -1.0]], (12, 1))
    clean = project(0, matrices, shifts)
    images, sd = noisy(clean, 0.5)
    blind = guide_of(bank, sd)(images, Context(1.0))
    looking = guide_of(bank, sd, shift_range=3.0, shift_sd=1.5)(images, Context(1.0))
    errors = [float((x.mean - clean).square().mean() / clean.var()) for x in (blind, looking)]
    assert errors[1] < 0.5 * errors[0]


def test_own_template_is_masked(bank, templates):
    images, sd = noisy(templates[0][:8], 5.0)
    guide = guide_of(bank, sd)
    own = torch.arange(8)
    kept, masked = guide(images, Context(1.0)), guide(images, Context(1.0), own)
    error = [float((x.mean - templates[0][:8]).square().mean()) for x in (kept, masked)]
    assert error[1] > 1.5 * error[0]


def test_calibration_finds_gain_and_noise(bank, particles):
    clean, _, _, _ = particles
    images, sd = noisy(3.0 * clean, 0.5, 4)
    guide = guide_of(bank, 1.0).calibrate(images, Context(1.0))
    assert guide.gain == pytest.approx(3.0, rel=0.1)
    assert float(guide.spectrum[-4:].mean()) == pytest.approx(sd**2, rel=0.1)


def test_guide_survives_storage(bank, particles):
    _, images, sd, _ = particles
    guide = guide_of(bank, sd)
    guide.threshold = {'evidence': 1.0}
    again = Guide.load(guide.tensors(), guide.description(), BOX)
    torch.testing.assert_close(again(images[:4], Context(1.0)).mean, guide(images[:4], Context(1.0)).mean)


def test_opinion_of_turned_particles_is_the_turned_opinion(bank, particles):
    _, images, sd, _ = particles
    guide = guide_of(bank, sd)
    asked = guide(torch.from_numpy(uncertainty.turned(images.numpy()).copy()), Context(1.0))
    moved = guide(images, Context(1.0)).turned()
    # The Nyquist line is its own opposite; the rest agrees.
    assert float((asked.mean - moved.mean).square().mean() / moved.mean.var()) < 1e-2
    torch.testing.assert_close(asked.evidence, moved.evidence, rtol=1e-2, atol=0.1)


GUIDED = dict(network='guided', iterations=4, evaluations=2, batch_size=8, threads=1, precision='float32')


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    particles, references = toypairs.pairs(tmp_path_factory.mktemp('toys'), count=60, noise=0.5)
    return dict(particles=str(particles), references=str(references))


def test_train_and_denoise_end_to_end(tmp_path, toys):
    run('train', Train(output=str(tmp_path / 't'), cross_fit='none', **GUIDED, **toys))
    model = Model.load(tmp_path / 't' / 'model')
    assert 'cryoemganEvidence' in model.card['statement']
    assert list(model.members) == ['main']
    settings = Denoise(output=str(tmp_path / 'd'), particles=toys['particles'], model=str(model.folder), cut='none')
    run('denoise', settings)
    table = ParticleTable.read(tmp_path / 'd' / 'denoised.star')
    truth = toypairs.GAIN * toypairs.blobs(60, 32, 0)[0] + toypairs.OFFSET
    found = table.images().read(np.arange(60))
    again = model.ask(ParticleTable.read(toys['particles']).images().read(np.arange(60)), Context(3.0))
    np.testing.assert_allclose(table.floats('cryoemganEvidence'), again.evidence.numpy(), rtol=1e-3, atol=1e-2)
    # What was written is what the bank shows, not the safe answer of a network that was never asked.
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, truth)]
    assert np.median(correlation) > 0.5


@pytest.mark.parametrize('other', [{'fresh_fraction': 0.5}, {'devices': 2}, {'exchange_noise': 0.5}])
def test_what_a_guided_network_cannot_do_is_refused(tmp_path, toys, other):
    with pytest.raises(InputError, match='guided'):
        run('train', Train(output=str(tmp_path / 't'), **{**GUIDED, **toys, **other}))
