"""TemplateLibrary, posterior and guide on a phantom whose projections are known exactly; planted failures must show."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cryoemgan.engine import networks
from cryoemgan.engine.geometry import euler_to_matrix, random_matrices
from cryoemgan.engine.imaging import phantom
from cryoemgan.engine.imaging.flips import turned
from cryoemgan.engine.imaging.maps import soft_circle
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.imaging.steerable import FourierPlane, principal_basis
from cryoemgan.engine.metrics import resemblance
from cryoemgan.engine.posterior.calibration import Sample, calibrate
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context, MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Particles, Search, _expected, _other
from cryoemgan.engine.tests.claw_templates import BOX, COUNT, SEARCH, SIZE, guide_of, noisy, project


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


def test_posterior_mean_beats_the_noise_and_finds_the_pose(bank, claw_particles):
    clean, images, sd, matrices = claw_particles
    found = guide_of(bank, sd)(images, Context(1.0, matrices=matrices))
    error = (found.mean - clean).square().mean() / clean.var()
    assert error < 0.15
    assert float(found.present.min()) > 0.99
    assert float(found.disagreement.median()) < 15


def test_offset_and_contrast_of_a_particle_do_not_matter(bank, claw_particles):
    clean, images, sd, _ = claw_particles
    guide = guide_of(bank, sd)
    plain = guide(images, Context(1.0)).mean
    torch.testing.assert_close(guide(images + 7.0, Context(1.0)).mean, plain, atol=1e-2 * float(clean.std()), rtol=0)
    scaled = guide(1.15 * clean + (images - clean), Context(1.0))
    assert float(scaled.scale.mean()) > 1.04


def test_pure_noise_is_answered_by_nothing(bank, claw_particles):
    _, images, sd, _ = claw_particles
    guide = guide_of(bank, sd)
    empty, real = guide(guide.noise(60, 3), Context(1.0)), guide(images, Context(1.0))
    limit = float(np.quantile(real.evidence, 0.05))
    assert float((empty.evidence > limit).float().mean()) < 0.01 + 1e-9
    assert float(empty.mean.var()) < 0.02 * float(real.mean.var())


def test_another_molecule_has_less_evidence(claw_particles):
    """Planted failure: the bank of a different object."""
    _, images, sd, _ = claw_particles
    grid = torch.arange(BOX) - BOX // 2
    z, y, x = torch.meshgrid(grid, grid, grid, indexing='ij')
    ball = torch.exp(-((x / 6.0) ** 2 + (y / 3.0) ** 2 + (z / 3.0) ** 2))
    right = TemplateLibrary.from_maps([torch.as_tensor(phantom.claw(2)[0].volume(BOX), dtype=torch.float32)], SIZE)
    wrong = TemplateLibrary.from_maps([ball * float(right.power[right.plane.r.round().long()].sum()) ** 0.5 / 4], SIZE)
    evidence, misfit = (
        [getattr(guide_of(b, sd)(images, Context(1.0)), name) for b in (right, wrong)]
        for name in ('evidence', 'misfit')
    )
    assert evidence[1].median() < 0.8 * evidence[0].median()
    # What is left of a particle that the bank holds is noise.
    assert abs(float(misfit[0].median())) < 1.5
    assert resemblance.separation(misfit[1], misfit[0]) > 0.95


def test_match_is_the_likelihood_ratio_of_two_gaussians(bank):
    """Against scipy's densities of one coefficient."""
    rng = np.random.default_rng(0)
    y = torch.as_tensor(rng.normal(size=(2, len(bank.plane), 2)), dtype=torch.float32)
    particles = Particles(torch.view_as_complex(2 * y), torch.full((2, len(bank.plane)), 3.0))
    expected, total = _expected(bank, particles).numpy(), 0.0
    for part in (0, 1):
        v = 2 * y[0, :, part].numpy()
        total += (norm.logpdf(v, scale=np.sqrt(1 + expected[0])) - norm.logpdf(v)).sum()
    assert float(_other(bank, particles)[0]) == pytest.approx(total, rel=1e-3)


def test_mirrored_map_shows_only_against_the_refinements_angles(claw_particles):
    """A mirrored map has the same set of projections: without poses it cannot be told. With them it must be."""
    _, images, sd, matrices = claw_particles
    volume = torch.as_tensor(phantom.claw(2)[0].volume(BOX), dtype=torch.float32)
    context = Context(1.0, matrices=matrices, shifts=np.zeros((COUNT, 2)))
    right, mirrored = (TemplateLibrary.from_maps([v], SIZE) for v in (volume, volume.flip(2).roll(1, 2)))
    free = [guide_of(b, sd)(images, context) for b in (right, mirrored)]
    held = [guide_of(b, sd, pose_prior=5.0)(images, context) for b in (right, mirrored)]
    assert float(free[1].evidence.median()) == pytest.approx(float(free[0].evidence.median()), rel=0.05)
    assert held[1].evidence.median() < 0.8 * held[0].evidence.median()
    assert free[1].disagreement.median() > 2 * free[0].disagreement.median()


def test_calibration_finds_gain_and_noise(bank, claw_particles):
    clean, _, _, _ = claw_particles
    images, sd = noisy(3.0 * clean, 0.5, 4)
    guide = guide_of(bank, 1.0).calibrate(images, Context(1.0))
    assert guide.gain == pytest.approx(3.0, rel=0.1)
    assert float(guide.spectrum[-4:].mean()) == pytest.approx(sd**2, rel=0.1)


def test_calibration_does_not_take_noise_for_signal(bank):
    """Where the noise is strong, its fit to the templates must not raise the gain (by 10 % here without the variance
    of the posterior)."""
    clean = project(0, random_matrices(300, 9))
    images, sd = noisy(clean, 0.06, 4)
    guide = guide_of(bank, 1.0).calibrate(images, Context(1.0))
    assert guide.gain == pytest.approx(1.0, abs=0.06)
    assert float(guide.spectrum[2:6].mean()) == pytest.approx(sd**2, rel=0.06)


def test_guide_survives_storage(bank, claw_particles):
    _, images, sd, _ = claw_particles
    guide = guide_of(bank, sd)
    guide.threshold = {'evidence': 1.0}
    again = MapPrior.load(guide.tensors(), guide.description(), BOX)
    torch.testing.assert_close(again(images[:4], Context(1.0)).mean, guide(images[:4], Context(1.0)).mean)


def test_opinion_of_turned_particles_is_the_turned_opinion(bank, claw_particles):
    _, images, sd, _ = claw_particles
    guide = guide_of(bank, sd)
    asked = guide(torch.from_numpy(turned(images.numpy()).copy()), Context(1.0))
    moved = guide(images, Context(1.0)).turned()
    # The Nyquist line is its own opposite; the rest agrees.
    assert float((asked.mean - moved.mean).square().mean() / moved.mean.var()) < 1e-2
    torch.testing.assert_close(asked.evidence, moved.evidence, rtol=1e-2, atol=0.1)


def test_contrast_is_measured(bank):
    clean = project(0, random_matrices(100, 12))
    scale = torch.randn(100, generator=torch.Generator().manual_seed(1))[:, None, None]
    images, sd = noisy(clean, 1.0)
    found = {}
    for spread in (0.02, 0.2):
        guide = guide_of(bank, sd)
        sample = Sample(images + spread * scale * clean, clean, Context(1.0), None)
        calibrate(guide, sample, candidates=24)
        found[spread] = guide.search.contrast
    assert found[0.02] <= 0.05
    assert found[0.2] == 0.2


def test_every_tensor_is_made_where_the_guide_computes(claw_particles, monkeypatch):
    """A stand-in for a GPU: what does not say where it belongs lands on the meta device, and a sum of both fails."""
    _, images, sd, matrices = claw_particles
    volumes = [torch.as_tensor(state.volume(BOX), dtype=torch.float32) for state in phantom.claw(2)]
    flat = torch.ones(COUNT, BOX, BOX // 2 + 1)
    # torch-ctf moves its input to the default device.
    monkeypatch.setattr('cryoemgan.engine.posterior.map_prior.ctf_rfft', lambda *_: flat)
    context, spectrum = Context(4.0, {}, matrices, np.zeros((COUNT, 2))), torch.full((BOX // 2,), sd**2)
    options = MapPriorOptions('full', shift_range=1.0, shift_sd=1.0, pose_prior=20.0)
    guide = MapPrior(TemplateLibrary.from_maps(volumes, SIZE), 1.0, spectrum, Search(**SEARCH), options)
    with torch.device('meta'):
        opinion = guide.calibrate(images, context, rounds=1)(images, context)
    assert {v.device.type for v in vars(opinion).values()} == {'cpu'}


def test_bank_of_several_maps_is_read_in_chunks(monkeypatch):
    """Each template is the projection of its own map at its own pose, and no more than a chunk is held at a time."""
    volumes = [torch.as_tensor(state.volume(BOX), dtype=torch.float32) for state in phantom.claw(2)]
    most, project = [], FourierProjector.project

    def watched(self, matrices, *args, **kwargs):
        most.append(len(matrices))
        return project(self, matrices, *args, **kwargs)

    monkeypatch.setattr(FourierProjector, 'project', watched)
    made = TemplateLibrary.from_maps(volumes, 1400)
    assert max(most) <= 500
    chosen = torch.tensor([3, 699, 700, 1399])
    truth = torch.cat([project(FourierProjector(volumes[k // 700], 2.5), made.matrices[k : k + 1]) for k in chosen])
    seen = made.plane.images(made.basis.synthesise(made.coefficients[chosen]))
    truth = (truth - made.background) * torch.from_numpy(soft_circle(BOX))
    truth = made.plane.images(made.plane.vectors(truth))
    assert ((seen - truth).square().sum((1, 2)) / truth.square().sum((1, 2))).max() < 0.01


def test_nothing_is_drawn_where_the_bank_sees_nothing():
    """However the network was trained: a young one drew the mean image for noise."""
    torch.manual_seed(0)
    generator = networks.create('guided', BOX, width=8).generator.eval()
    for p in generator.parameters():
        p.data += 0.1 * torch.randn_like(p)
    images = torch.randn(2, 4, BOX, BOX)
    images[0, 3], images[1, 3] = 0, 1
    with torch.no_grad():
        output = generator(images)
    torch.testing.assert_close(output[0, 0], images[0, 1])
    assert (output[1, 0] - images[1, 1]).abs().mean() > 0.01
