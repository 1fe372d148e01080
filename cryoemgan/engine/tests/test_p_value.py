"""p-values of particles against particles of known origin: false alarms, power, and what is said without power."""

import numpy as np
import pytest
import torch
from scipy.stats import gamma

from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.inference.card_schema import BELONGING
from cryoemgan.engine.posterior.empirical_null import right_particles
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.p_value import Power, PValueCalibration, words
from cryoemgan.engine.posterior.view_clusters import directions
from cryoemgan.engine.posterior.wrong_particles import power_of, right_scores
from cryoemgan.engine.schema import require
from cryoemgan.engine.trust import negative_controls
from cryoemgan.engine.trust.selection import nothing_but_noise

from .blobs import Blobs
from .claw_templates import BOX, guide_of, project

COUNT, TEMPLATES = 100, 120


def test_fit_is_the_share_of_right_particles_that_are_stranger():
    rng = np.random.default_rng(1)

    def draw(n, away=0.0, evidence=20.0):
        return rng.normal(evidence, 5, n), rng.normal(30 - away, 5, n), rng.normal(1 + away / 5, 2, n)

    for evidence in (20.0, 0.0, -3.0):
        found = PValueCalibration.of(*draw(1000, evidence=evidence))
        right, wrong = (found.fit(*draw(4000, away, evidence)) for away in (0.0, 20.0))
        assert np.mean(right < 0.05) == pytest.approx(0.05, abs=0.0125)
        assert np.mean(right < 0.01) == pytest.approx(0.01, abs=0.006)
        assert np.mean(right < 0.5) == pytest.approx(0.5, abs=0.06)
        assert np.mean(wrong < 0.01) > 0.9
    # Right particles have positive evidence here: one that nothing explains better is not of the map.
    found = PValueCalibration.of(*draw(1000))
    assert (found.fit(np.full(100, -5.0), *draw(100)[1:]) < 0.05).mean() > 0.9


def test_an_earlier_card_is_read():
    found = PValueCalibration(
        match=[30, 5], misfit=[1, 2], levels=np.linspace(-3, 2, 19).tolist(), tail=0.7, particles=9
    )
    assert found.power is None
    assert found.fit(np.array([-1.0]), np.array([30.0]), np.array([1.0]))[0] > 0.3


def shapes():
    """Claw and a ball of blobs: functions of matrices [n, 3, 3]."""
    yield lambda a: project(0, a)
    blobs = Blobs.random(BOX, 60, 0.28, 3)
    yield lambda a: torch.as_tensor(np.asarray(blobs.projections(BOX, np.asarray(a))))


def scores(guide, clean, sd, seed):
    rng = torch.Generator().manual_seed(seed)
    found = guide(clean + sd * torch.randn(clean.shape, generator=rng), Context(1.0))
    return [x.double().numpy() for x in (found.evidence, found.match, found.misfit)]


def test_power_is_told_and_right_particles_pass_at_every_snr():
    """At SNR 0.003 most of the right particles have evidence below 0; they must not be called junk."""
    alarms = []
    for draw in shapes():
        views = directions(TEMPLATES)
        bank = TemplateLibrary.from_images(draw(views.numpy()), views)
        known, new = (draw(random_matrices(COUNT, seed)) for seed in (5, 6))
        foreign = negative_controls.foreign_projections(COUNT, BOX, np.random.default_rng(1))
        foreign = torch.as_tensor(negative_controls.like(foreign, known.numpy()))
        for snr in (0.5, 0.1, 0.003):
            sd = float((known.var((1, 2)).mean() / snr).sqrt())
            guide = guide_of(bank, sd)
            calibration = PValueCalibration.of(*scores(guide, known, sd, 1))
            alarms.append((calibration.fit(*scores(guide, new, sd, 2)) < 0.05).mean())
            told = power_of(guide, Context(1.0), COUNT, calibration)
            # What becomes of real noise and of projections of a real other molecule.
            noise = (calibration.fit(*scores(guide, 0 * known, sd, 3)) < 0.05).mean()
            other = (calibration.fit(*scores(guide, foreign, sd, 4)) < 0.05).mean()
            assert told.nothing == pytest.approx(noise, abs=0.15)
            assert told.tells == (snr > 0.01)
            if snr == 0.003:
                assert max(noise, other) < 0.5
                assert 'too noisy to tell' in words(np.ones(3), told)
            if snr == 0.5:
                assert min(told.other, other) > 0.6
            # Evidence says whether there is a particle at all, without any calibration.
            assert nothing_but_noise(scores(guide, 0 * known, sd, 3)[0])
            assert snr < 0.01 or nothing_but_noise(scores(guide, new, sd, 2)[0]) is None
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize('share', [1.0, 0.7, 0.5])
@pytest.mark.parametrize('wider', [1.1, 2.5])
def test_junk_in_the_set_is_not_taken_for_right_particles(share, wider):
    """Calibrated on a set with 30 % of junk as if all were right, a limit of 0.05 would flag none of the right ones."""
    rng = np.random.default_rng(1)

    def strange(n):
        return (rng.gamma(8, size=n) - 8) / 8**0.5

    alarms = []
    for _ in range(20):
        real = np.concatenate(
            [0.5 + wider * strange(int(share * 500)), rng.normal(5 * wider**0.5, 2.5, 500 - int(share * 500))]
        )
        found = right_particles(real, strange(300))
        alarms.append((0.5 + wider * strange(2000) > np.quantile(found, 0.95)).mean())
    # Fewer than promised where much of the set is junk, never more.
    assert np.mean(alarms) < 0.07
    assert np.mean(alarms) > 0.03 or share < 1
    assert (rng.normal(5 * wider**0.5 + 5, 2.5, 500) > np.quantile(found, 0.95)).mean() > 0.5 or share < 0.7


def strange_ones(rng, count):
    """Strangeness of particles, by a distribution whose upper parts scipy knows: `part_beyond`."""
    return 0.5 + 1.2 * (rng.gamma(8, size=count) - 8) / 8**0.5


def part_beyond(strange):
    return gamma.sf((strange - 0.5) / 1.2 * 8**0.5 + 8, 8)


@pytest.fixture(scope='module')
def parts_flagged():
    """Parts of right particles that a limit of 0.05 flags, by 150 calibrations on 500 particles and 500 simulated ones,
    which are narrower."""
    rng = np.random.default_rng(3)
    limits = [
        np.quantile(right_particles(strange_ones(rng, 500), 0.8 * strange_ones(rng, 500) - 3), 0.95) for _ in range(150)
    ]
    return part_beyond(np.array(limits))


def test_a_limit_hardly_depends_on_which_particles_it_was_learnt_from(parts_flagged):
    """By the less strange 40 % of 500 alone a limit of 0.05 flags 5.5 %, with an s.d. of 1.9: 2 % by chance."""
    assert parts_flagged.mean() == pytest.approx(0.05, abs=0.006)
    assert parts_flagged.std() < 0.0165


def test_a_calibration_says_how_sure_it_is(parts_flagged):
    rng, told = np.random.default_rng(4), []
    for _ in range(4):
        found = PValueCalibration.of(*as_scores(strange_ones(rng, 500)).T, as_scores(0.8 * strange_ones(rng, 500) - 3))
        told.append(found.flags)
    np.testing.assert_allclose(np.mean(told, 0), np.quantile(parts_flagged, (0.05, 0.95)), atol=0.013)
    few = PValueCalibration.of(*as_scores(strange_ones(rng, 80)).T, as_scores(0.8 * strange_ones(rng, 80) - 3))
    assert few.flags[1] - few.flags[0] > 1.3 * (found.flags[1] - found.flags[0])
    require(BELONGING, found.as_dict(), 'card')


def as_scores(misfit):
    """(evidence, match, misfit) of particles that differ in misfit."""
    return np.column_stack([np.full(len(misfit), 20.0), np.zeros(len(misfit)), misfit])


def test_a_guide_knows_its_particles_though_a_third_of_them_are_junk():
    draw = next(shapes())
    views = directions(TEMPLATES)
    bank = TemplateLibrary.from_images(draw(views.numpy()), views)
    known, new = draw(random_matrices(2 * COUNT, 5)), draw(random_matrices(2 * COUNT, 6))
    sd = float((known.var((1, 2)).mean() / 0.1).sqrt())
    guide = guide_of(bank, sd)
    right = right_scores(guide, Context(1.0), 2 * COUNT)
    mixed = scores(guide, torch.cat([known, torch.zeros(COUNT, BOX, BOX)]), sd, 1)
    calibration = PValueCalibration.of(*mixed, right)
    assert (calibration.fit(*scores(guide, new, sd, 2)) < 0.05).mean() < 0.08
    assert (calibration.fit(*scores(guide, 0 * new, sd, 3)) < 0.05).mean() > 0.9
    # As if all of them were right, most of the junk passes.
    believed = PValueCalibration.of(*mixed)
    assert (believed.fit(*scores(guide, 0 * new, sd, 3)) < 0.05).mean() < 0.4


def test_words_say_what_the_test_tells():
    fit = np.array([0.001, 0.2, 0.9, 0.03])
    assert '2 of 4 particles' in words(fit)
    assert words(fit) == words(fit, Power(0.9, 1.0))
    assert 'other molecules are not (20%)' in words(fit, Power(0.2, 1.0))
    assert 'too noisy to tell' in words(fit, Power(0.2, 0.3))
    assert 'may as well be 2.0% to 8.0%' in words(fit, flags=(0.02, 0.08))
    assert Power.least([Power(0.2, 1.0), Power(0.9, 0.4)]) == Power(0.2, 0.4)
