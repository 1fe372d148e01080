"""Masks made from maps, and what half maps support within them, against the truth."""

import numpy as np
import pytest

from ..imaging import phantom
from ..imaging.maps import lowpass
from ..imaging.masks import otsu_threshold, soft_mask
from ..metrics.frc import half_map_resolution, resolution, shell_correlation
from .blobs import Blobs

BOX, PIXEL = 48, 4.0


def ball():
    return Blobs.random(BOX, 200, 0.2, 3).volume(BOX)


def rod():
    blobs = Blobs.random(BOX, 80, 0.3, 5)
    return Blobs(blobs.centres * (0.3, 0.3, 1.0), blobs.sigmas, blobs.heights).volume(BOX)


def claw():
    return phantom.claw(1)[0].volume(BOX)


@pytest.mark.parametrize('draw', [ball, rod, claw])
def test_half_maps_without_a_mask_of_the_user(draw):
    """Noise fills the box, the molecule a part of it: within the mask the FSC says what the mean map is worth."""
    truth, rng = draw(), np.random.default_rng(1)
    halves = truth + 2.5 * truth.std() * rng.standard_normal((2, *truth.shape)).astype(np.float32)
    mean = halves.mean(0)
    mask = soft_mask(mean, PIXEL)
    assert (truth * mask).sum() > 0.95 * truth.sum()
    assert mask.mean() < 0.3
    assert (mask.min(), mask.max()) == (0, 1)
    masked, plain = half_map_resolution(*halves, PIXEL, mask), half_map_resolution(*halves, PIXEL)
    wanted = resolution(shell_correlation(mean * mask, truth * mask), 0.5, PIXEL, BOX)
    assert masked == pytest.approx(wanted, rel=0.06)
    assert masked < plain


def test_a_mask_invents_no_resolution():
    """The molecule is known to 30 A only: the soft edge must not correlate beyond (a shell or two are smeared)."""
    truth, rng = lowpass(ball(), PIXEL, 30.0), np.random.default_rng(2)
    halves = truth + truth.std() * rng.standard_normal((2, *truth.shape)).astype(np.float32)
    assert half_map_resolution(*halves, PIXEL, soft_mask(halves.mean(0), PIXEL)) > 22


def test_threshold_parts_two_classes():
    rng = np.random.default_rng(0)
    assert otsu_threshold(np.r_[rng.normal(0, 1, 5000), rng.normal(10, 1, 1000)]) == pytest.approx(5, abs=2)
