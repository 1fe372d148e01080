"""The search for poses finds what an exhaustive one finds, on a phantom whose projections are known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging import phantom
from cryoemgan.engine.posterior import posterior, refinement, view_clusters
from cryoemgan.engine.posterior import search as searching
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.posterior import Particles, Prior, Search, infer
from cryoemgan.engine.posterior.search import coarse
from cryoemgan.engine.tests.claw_templates import BOX, COUNT, SEARCH, guide_of, noisy, project


def test_shift_is_found_when_it_is_looked_for(bank):
    matrices, shifts = random_matrices(12, 8), np.tile([[2.0, -1.0]], (12, 1))
    clean = project(0, matrices, shifts)
    images, sd = noisy(clean, 0.5)
    blind = guide_of(bank, sd)(images, Context(1.0))
    looking = guide_of(bank, sd, shift_range=3.0, shift_sd=1.5)(images, Context(1.0))
    errors = [float((x.mean - clean).square().mean() / clean.var()) for x in (blind, looking)]
    assert errors[1] < 0.5 * errors[0]


def test_evidence_is_the_integral_over_all_templates_and_turns(bank, claw_particles):
    """Against a sum over 720 turns of every template, without search, Laplace or Gauss-Newton."""
    _, images, sd, _ = claw_particles
    y, total = bank.plane.vectors(images[:4]), []
    y[:, 0] = 0
    transfer = torch.full(y.shape, 1 / sd)
    transfer[:, 0] = 0
    search, nowhere = Search(**SEARCH), Prior(torch.zeros(1, 2), torch.zeros(1))
    found, v = infer(bank, Particles(y / sd, transfer), nowhere, search).evidence, search.contrast**2
    for angle in torch.arange(720) * (np.pi / 360):
        t = torch.view_as_real(bank.basis.synthesise(bank.basis.turned(bank.coefficients, angle.expand(len(bank)))))
        t[:, 0] = 0
        c, n = torch.einsum('dpc,bpc->bd', t, torch.view_as_real(y)) / sd**2, t.square().sum((1, 2)) / sd**2
        # Gaussian integral over the scale s ~ N(1, v) of exp(s c - s^2 n / 2).
        total.append((c + 1 / v) ** 2 / (2 * (n + 1 / v)) - 1 / (2 * v) - 0.5 * torch.log1p(v * n))
    wanted = torch.logsumexp(torch.cat(total, 1), 1) - np.log(720 * len(bank))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.3)


def test_angle_and_shift_between_the_grid_are_found(templates, bank):
    """A template, moved by a part of a pixel and turned by a part of the coarse step."""
    shift, angle = torch.tensor([[1.3, -0.7]]), torch.tensor([0.06])
    turned = bank.basis.turned(bank.coefficients[7:8], angle)
    clean = bank.plane.images(bank.basis.synthesise(turned) * bank.plane.ramps(shift))
    image, sd = noisy(clean, 3.0)
    guide = guide_of(bank, sd, shift_range=3.0, shift_sd=1.5)
    y, context = bank.plane.vectors(image), Context(1.0)
    particles = guide._particles(y, torch.ones(1, len(bank.plane)), context)
    found = infer(bank, particles, guide._prior(context, y), guide.search)
    torch.testing.assert_close(found.shifts, shift, atol=0.15, rtol=0)
    spin = found.matrices[0] @ bank.matrices[7].T
    assert float(torch.atan2(spin[1, 0], spin[0, 0])) == pytest.approx(0.06, abs=0.03)


def test_own_template_is_masked(bank, templates):
    images, sd = noisy(templates[0][:8], 5.0)
    guide = guide_of(bank, sd)
    own = torch.arange(8)
    kept, masked = guide(images, Context(1.0)), guide(images, Context(1.0), own)
    error = [float((x.mean - templates[0][:8]).square().mean()) for x in (kept, masked)]
    assert error[1] > 1.5 * error[0]


def test_groups_of_views_find_what_the_whole_bank_finds(monkeypatch):
    """A bank of two maps, searched by groups and whole."""
    monkeypatch.setattr(view_clusters, 'FROM', 1000)
    monkeypatch.setattr(view_clusters, 'LEAST', 100)
    monkeypatch.setattr(view_clusters, 'GROWTH', 1)
    volumes = [torch.as_tensor(state.volume(BOX), dtype=torch.float32) for state in phantom.claw(2)]
    large = TemplateLibrary.from_maps(volumes, 2000)
    assert torch.equal(large.groups.members[large.groups.members >= 0].sort().values, torch.arange(2000))
    assert large.groups.members.shape[0] < 250
    matrices = random_matrices(COUNT, 5)
    images, sd = noisy(project(1, matrices), 0.5)
    guide = guide_of(large, sd, shift_range=1.0, shift_sd=0.5)
    guide.search.groups = 16
    own = torch.arange(COUNT)
    by_groups = guide(images, Context(1.0, matrices=matrices), own)
    large.groups, large._reduced = None, {}
    whole = guide(images, Context(1.0, matrices=matrices), own)
    torch.testing.assert_close(by_groups.evidence, whole.evidence, atol=0.3, rtol=0.01)
    assert float((by_groups.mean - whole.mean).square().mean() / whole.mean.var()) < 0.01
    # Neighbouring templates may change places.
    torch.testing.assert_close(by_groups.disagreement, whole.disagreement, atol=9.0, rtol=0)


def test_candidates_without_weight_are_left_out_and_change_nothing(bank, claw_particles, monkeypatch):
    """Against all candidates refined and weighed; how many of them carry weight differs from particle to particle."""
    _, images, sd, _ = claw_particles
    guide = guide_of(bank, sd, shift_range=1.0, shift_sd=0.5)
    guide.search.widen(96)
    guide.search.temperature = 1.5
    weighed, weigh = [], posterior._weigh

    def counted(bank, particles, prior, search, found, free):
        weighed.append(found.template.numel())
        return weigh(bank, particles, prior, search, found, free)

    monkeypatch.setattr(posterior, '_weigh', counted)
    found, few = guide(images, Context(1.0)), sum(weighed)
    monkeypatch.setattr(posterior, 'LEFT_OUT', -1.0)
    for name in ('EXPECTED', 'ROUGHLY'):
        monkeypatch.setattr(refinement, name, (1e9, 0.0))
    every = guide(images, Context(1.0))
    assert few < 0.3 * (sum(weighed) - few)
    assert float((found.mean - every.mean).square().mean() / every.mean.var()) < 1e-4
    torch.testing.assert_close(found.evidence, every.evidence, atol=0.02, rtol=0)
    assert float((found.sd - every.sd).square().mean() / every.sd.square().mean()) < 1e-3


def test_a_pose_prior_finds_the_templates_that_all_turns_of_all_find(bank, claw_particles):
    """The search bounds each template by its closest turn; here all are looked at turn by turn."""
    _, images, sd, matrices = claw_particles
    y, context = bank.plane.vectors(images[:4]), Context(1.0, matrices=np.asarray(matrices[:4]))
    guide = guide_of(bank, sd, pose_prior=4.0)
    particles, prior = guide._particles(y, torch.ones(y.shape), context), guide._prior(context, y)
    search = replace(guide.search, candidates=4)
    few = coarse(bank, particles.cut(bank.reduced(search.functions).inside), prior, search)[0]
    everything = replace(search, candidates=len(bank))
    all_ = coarse(bank, particles.cut(bank.reduced(search.functions).inside), prior, everything)[0]
    assert torch.equal(few.template, all_.template[:, :4])
    torch.testing.assert_close(few.angle, all_.angle[:, :4])


@pytest.mark.parametrize('pose_prior', [None, 4.0])
@pytest.mark.parametrize('snr', [0.1, 0.5])
def test_from_coarse_to_fine_nothing_is_lost(bank, monkeypatch, snr, pose_prior):
    """With CTF, coloured noise and shifts, against all templates at all turns, and all candidates refined and weighed.
    What differs: a template that starts from another move of the grid ends a little beside after two steps."""
    rng, matrices = np.random.default_rng(2), random_matrices(COUNT, 9)
    shifts = rng.uniform(-1.5, 1.5, (COUNT, 2))
    clean, plane = bank.plane.vectors(project(0, matrices, shifts)), bank.plane
    ctf = torch.cos(plane.r**2 / 40 * torch.linspace(0.8, 1.2, COUNT)[:, None])
    spectrum = 1 / (1 + torch.arange(plane.radius + 1) / 4)
    spectrum *= float((clean * ctf).abs().square().mean() / snr / 2 / spectrum.mean())
    noise = torch.randn(2, *clean.shape, generator=torch.Generator().manual_seed(3))
    y = clean * ctf + torch.complex(*noise) * spectrum[plane.r.round().long()].sqrt()
    guide = guide_of(bank, 1.0, shift_range=3.0, shift_sd=1.0, pose_prior=pose_prior)
    guide.spectrum = spectrum
    guide.search.widen(96)
    context = Context(1.0, matrices=matrices, shifts=-shifts if pose_prior else np.zeros((COUNT, 2)))
    particles, prior = guide._particles(y, ctf, context), guide._prior(context, y)
    found = infer(bank, particles, prior, guide.search)
    monkeypatch.setattr(searching, '_fewer', lambda turns: turns)
    monkeypatch.setattr(searching, 'SHORTLIST', len(bank))
    monkeypatch.setattr(posterior, 'LEFT_OUT', -1.0)
    for name in ('EXPECTED', 'ROUGHLY'):
        monkeypatch.setattr(refinement, name, (1e9, 0.0))
    everything = infer(bank, particles, prior, guide.search)
    truth = clean * plane.ramps(torch.as_tensor(-shifts, dtype=torch.float32)) if pose_prior else clean
    error, wanted = (float((x.vector - truth)[:, 1:].abs().square().mean()) for x in (found, everything))
    assert error < 1.01 * wanted
    assert float((found.vector - everything.vector).abs().square().mean()) < 0.005 * wanted
    evidence = (found.evidence - everything.evidence).abs()
    assert float(evidence.median()) < 0.02
    assert float(evidence.max()) < 1
