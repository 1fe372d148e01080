"""The Bayes-optimal denoiser on a claw: calibrated, and far below what a linear filter can do."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.limit import Limit, _log_density
from cryoemgan.engine.phantom import claw


@pytest.fixture(scope='module')
def problem():
    states, box = claw(2), 32
    rotations = random_matrices(16, 3)
    clean = np.concatenate([states[i % 2].project(box, rotations[i : i + 1]) for i in range(16)])
    gain = 1 / clean.std()
    noisy = clean * gain + np.random.default_rng(0).normal(size=clean.shape) / 0.5
    limit = Limit([s.volume(box) for s in states], 2.0, views=1500, gain=gain)
    return clean * gain, noisy.astype(np.float32), limit


def test_error_is_far_below_noise_and_stops_changing(problem):
    clean, noisy, limit = problem
    coarse = ((limit.denoise(noisy, rounds=3, samples=80, draws=120) - clean) ** 2).mean()
    fine = ((limit.denoise(noisy, rounds=4, samples=240, draws=480) - clean) ** 2).mean()
    assert fine < 0.05 * clean.var()
    assert fine == pytest.approx(coarse, rel=0.35)


def test_without_noise_the_answer_is_the_template(problem):
    clean, _, limit = problem
    exact = limit._draw(limit.rotations[:2], limit.state[:2]).view(2, 32, 32).numpy()
    sharp = Limit.__new__(Limit)
    sharp.__dict__.update(limit.__dict__, noise_sd=0.05)
    assert ((sharp.denoise(exact, rounds=5, samples=80) - exact) ** 2).mean() < 0.01 * clean.var()


def test_density_of_one_cloud_is_gaussian_in_the_angle():
    centre = np.eye(3)[None]
    angle = np.deg2rad(10)
    turned = np.array([[[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]])
    assert _log_density(turned, centre, 5.0) == pytest.approx(-2.0)
    assert torch.isfinite(torch.from_numpy(_log_density(centre, centre, 5.0))).all()
