"""Sums over rings and shells, noise spectra, flips and grey scales: against definitions on the whole plane."""

import numpy as np
import pytest
import torch

from ..imaging import grey_scale, rings, spectra
from ..imaging.flips import flipped, turned
from ..imaging.phantom import claw
from ..metrics.frc import ring_correlation, shell_correlation
from ..metrics.robust import robust_spread


def whole(box, dims):
    """Ring of every coefficient of the whole plane or space."""
    k = np.fft.fftfreq(box, 1 / box)
    return np.rint(np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*[k] * dims)))).astype(int)


@pytest.mark.parametrize('box', [16, 17])
@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('corners', [False, True])
def test_sums_are_those_of_the_whole_space(box, dims, corners):
    rng = np.random.default_rng(box)
    image = rng.normal(size=(2, *(box,) * dims))
    axes = tuple(range(1, dims + 1))
    power = np.abs(np.fft.fftn(image, axes=axes)) ** 2
    ring = whole(box, dims)
    expected = [[p[ring == r].sum() for r in range(ring.max() + 1)] for p in power]
    expected = np.array(expected)[:, : None if corners else box // 2 + 1]
    half = np.abs(np.fft.rfftn(image, axes=axes)) ** 2
    np.testing.assert_allclose(rings.ring_sums(half, dims, corners), expected, rtol=1e-12)
    sizes = np.bincount(ring.ravel())[: expected.shape[1]]
    assert np.array_equal(rings.ring_sizes(box, dims, corners), sizes)
    np.testing.assert_allclose(rings.ring_means(half, dims, corners), expected / sizes, rtol=1e-12)


@pytest.mark.parametrize('box', [16, 17])
def test_shells_of_a_volume_are_rings_of_an_image(box):
    """A volume that is constant along z holds its power in the plane kz = 0, where shells are rings."""
    a, b = np.random.default_rng(1).normal(size=(2, 1, box, box))
    b += a
    stretched = (np.broadcast_to(x, (box, box, box)) for x in (a[0], b[0]))
    np.testing.assert_allclose(shell_correlation(*stretched), ring_correlation(a, b)[0], atol=1e-9)


@pytest.mark.parametrize('box', [32, 33])
def test_curve_on_the_grid_and_back(box):
    curve = np.random.default_rng(0).normal(size=(2, rings.ring_index(box).max() + 1))
    np.testing.assert_allclose(rings.ring_means(rings.on_grid(curve, box), corners=True), curve, atol=1e-12)
    # A curve that ends at the last whole ring goes on into the corners.
    assert rings.on_grid(curve[0, : box // 2 + 1], box).max() == curve[0, : box // 2 + 1].max()


@pytest.mark.parametrize('box', [32, 33])
def test_power_of_drawn_noise_is_the_power_asked_for(box):
    rng = np.random.default_rng(2)
    assert spectra.ring_power(rng.normal(size=(300, box, box)).astype(np.float32)) == pytest.approx(1, abs=0.3)
    wanted = 1 + 3 * np.exp(-np.arange(rings.ring_index(box).max() + 1) / 5)
    drawn = spectra.coloured_noise(rng, 500, box, wanted)
    sizes = rings.ring_sizes(box, corners=True)
    # Five standard errors of a ring's mean power.
    off = np.abs(spectra.ring_power(drawn) / wanted - 1) * np.sqrt(sizes * 500 / 2)
    assert off.max() < 5
    # Parseval: the variance of the pixels is the mean power of all coefficients.
    assert drawn.var() == pytest.approx((wanted * sizes).sum() / box**2, rel=0.02)


def test_filter_by_ring_is_filter_by_coefficient():
    images = np.random.default_rng(3).normal(size=(4, 24, 24)).astype(np.float32)
    curve = np.linspace(1, 0, rings.ring_index(24).max() + 1)
    np.testing.assert_allclose(
        spectra.filtered(images, curve), spectra.filtered(images, rings.on_grid(curve, 24)), atol=1e-6
    )
    np.testing.assert_allclose(spectra.filtered(images, np.ones(18)), images, atol=1e-5)


@pytest.mark.parametrize('box', [32, 33])
def test_half_turn_and_mirrors_are_those_of_the_molecule(box):
    """Gaussian blobs turned by 180 degrees in the plane, seen from behind, and reflected: the exact images."""
    phantom = claw(1)[0]
    here, half = np.eye(3)[None], np.diag([-1.0, -1.0, 1.0])[None]
    image, expected = (phantom.project(box, m) for m in (here, half))
    np.testing.assert_allclose(turned(image), expected, atol=1e-4 * image.max())
    # Seen from behind (about y): x reversed.
    behind = phantom.project(box, np.diag([-1.0, 1.0, -1.0])[None])
    np.testing.assert_allclose(flipped(image, -1), behind, atol=1e-4 * image.max())
    volume = phantom.volume(box)
    np.testing.assert_allclose(flipped(volume, (0, 1, 2)).sum(0), expected[0], atol=1e-4 * image.max())
    assert np.array_equal(flipped(torch.from_numpy(image), (-2, -1)).numpy(), turned(image))


def test_line_forgets_wrong_pairs_and_offsets():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(11, 16, 16)).astype(np.float32)
    y = 3 * x - 2
    assert grey_scale.least_squares_line(x, y) == pytest.approx((3, -2), abs=1e-5)
    assert grey_scale.least_squares_line(x + 1e4, y) == pytest.approx((3, -3e4 - 2), rel=1e-3)
    y[:5] = rng.normal(size=(5, 16, 16)) * 50
    scale = grey_scale.GreyScale.between(x, y)
    assert (scale.slope, scale.intercept) == pytest.approx((3, -2), abs=1e-5)
    np.testing.assert_allclose(scale(x[6:]), y[6:], atol=1e-5)
    assert grey_scale.GreyScale.between(x, y, intercept=False).intercept == 0
    assert grey_scale.lines_of_images(np.zeros((2, 4)), np.ones((2, 4)))[0].tolist() == [0, 0]


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy], ids=['array', 'tensor'])
def test_unit_range_of_each_image(kind):
    images = np.random.default_rng(5).normal(size=(3, 8, 8)).astype(np.float32)
    images[2] = 7
    found, gain = grey_scale.to_unit(kind(images))
    low, high = (f(images[:2], axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    np.testing.assert_allclose(np.asarray(found)[:2], (images[:2] - low) / (high - low), atol=1e-6)
    assert not np.asarray(found)[2].any()
    np.testing.assert_allclose(np.asarray(gain)[:2], 1 / (high - low), rtol=1e-6)


def test_robust_spread_sees_the_normal_part():
    rng = np.random.default_rng(6)
    values = np.r_[rng.normal(5, 2, 20000), np.full(2000, 1e6)]
    centre, sd = robust_spread(values)
    assert centre == pytest.approx(5, abs=0.4)
    assert sd == pytest.approx(2, rel=0.15)
