"""Spectra of noise, from the corners of images and whitened."""

import numpy as np
import pytest

from cryoemgan.engine.imaging import spectra
from cryoemgan.engine.imaging.rings import ring_index

from . import toypairs
from .noisy_particles import coloured


@pytest.mark.parametrize('box', [32, 33, 64])
def test_noise_power_from_corners_does_not_see_the_particle(box):
    rng = np.random.default_rng(0)
    noise, power = coloured(rng, 600, box)
    particle, _ = toypairs.blobs(600, box, 1)
    # Away from the circle's edge nothing of the blobs is left.
    found = spectra.corner_power(noise + 3 * particle * (spectra.corner_weight(box) == 0))[ring_index(box)]
    ring = ring_index(box)
    for r in (box // 8, box // 4, box // 2 - 1):
        assert found[ring == r].mean() == pytest.approx(power[ring == r].mean(), rel=0.15)


def test_whitened_noise_is_white():
    rng = np.random.default_rng(1)
    noise, _ = coloured(rng, 500, 64)
    before = spectra.neighbour_correlation(noise)
    white = spectra.filtered(noise, spectra.corner_power(noise) ** -0.5)
    assert before > 0.15
    assert abs(spectra.neighbour_correlation(white)) < 0.03
    assert white.var() == pytest.approx(1, rel=0.05)
