"""Fourier ring correlation against closed forms."""

import numpy as np
import pytest

from cryoemgan.engine.imaging.rings import frequencies, ring_index, ring_sizes
from cryoemgan.engine.metrics.frc import resolution, ring_correlation


@pytest.mark.parametrize('box', [32, 33, 64])
def test_ring_sizes_count_the_full_plane(box):
    k = np.fft.fftfreq(box, 1 / box)
    ring = np.rint(np.hypot(k[:, None], k[None, :])).astype(int)
    assert np.array_equal(ring_sizes(box), np.bincount(ring.ravel())[: box // 2 + 1])
    assert np.array_equal(ring_index(box), ring[:, : box // 2 + 1])


@pytest.mark.parametrize('box', [32, 33])
def test_equals_the_definition_on_the_full_plane(box):
    a, b = np.random.default_rng(0).normal(size=(2, 1, box, box)) + 5
    k = np.fft.fftfreq(box, 1 / box)
    ring = np.rint(np.hypot(k[:, None], k[None, :]))
    fa, fb = np.fft.fft2(a[0]), np.fft.fft2(b[0])
    expected = [
        np.sum(fa * fb.conj(), where=ring == r).real
        / np.sqrt(np.sum(abs(fa) ** 2, where=ring == r) * np.sum(abs(fb) ** 2, where=ring == r))
        for r in range(1, box // 2 + 1)
    ]
    assert ring_correlation(a, b)[0, 1:] == pytest.approx(np.array(expected), abs=1e-9)


def test_identical_inverted_and_rescaled_images():
    a = np.random.default_rng(1).normal(size=(3, 48, 48)).astype(np.float32)
    assert ring_correlation(a, a) == pytest.approx(1, abs=1e-6)
    assert ring_correlation(a, 7 * a + 100)[:, 1:] == pytest.approx(1, abs=1e-5)
    assert ring_correlation(a, -a)[:, 1:] == pytest.approx(-1, abs=1e-6)
    assert np.all(ring_correlation(a, np.zeros_like(a))[:, 1:] == 0)


def test_independent_noise_has_the_expected_spread():
    a, b = np.random.default_rng(2).normal(size=(2, 2000, 32, 32)).astype(np.float32)
    curves = ring_correlation(a, b)[:, 1:]
    sd = 1 / np.sqrt(ring_sizes(32)[1:])
    # Mean of 2000 pairs: 4 standard errors; s.d.: 4 relative standard errors 1 / sqrt(2 n), and ring 1 is not normal.
    assert np.all(abs(curves.mean(0)) < 4 * sd / np.sqrt(2000))
    assert curves.std(0)[2:] == pytest.approx(sd[2:], rel=4 / np.sqrt(4000))


@pytest.mark.parametrize('snr', [0.25, 1.0, 4.0])
def test_known_snr_gives_the_expected_value(snr):
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(400, 32, 32)) * np.sqrt(snr)
    one, two = (signal + rng.normal(size=signal.shape) for _ in range(2))
    # Two images with noise: snr / (1 + snr); one against the truth: sqrt of it. Wide rings: little small-sample bias.
    assert ring_correlation(one, two).mean(0)[8:] == pytest.approx(snr / (1 + snr), abs=0.01)
    assert ring_correlation(one, signal).mean(0)[8:] == pytest.approx(np.sqrt(snr / (1 + snr)), abs=0.01)


def test_resolution_interpolates_the_first_crossing():
    box, pixel = 16, 2.0
    frequency = frequencies(box, pixel)
    curve = 1 - frequency / frequency[-1]
    assert 1 / resolution(curve, 0.5, pixel, box) == pytest.approx(frequency[-1] / 2)
    assert 1 / resolution(curve, 0.143, pixel, box) == pytest.approx(frequency[-1] * 0.857)
    dips = np.ones(9)
    dips[3] = 0.0
    assert 1 / resolution(dips, 0.5, pixel, box) == pytest.approx(frequency[2:4].mean())


def test_resolution_without_a_crossing():
    assert resolution(np.ones(9), 0.5, 2.0, 16) == pytest.approx(4.0)
    assert resolution(np.zeros(9), 0.5, 2.0, 16) is None
    assert resolution(np.r_[0.0, np.ones(8)], 0.5, 2.0, 16) == pytest.approx(4.0)
    # A CTF that is near zero at low frequency.
    rises = np.array([0, 0.1, 0.7, 0.9, 0.9, 0.9, 0.1, 0.0, 0.0])
    assert 1 / resolution(rises, 0.5, 2.0, 16) == pytest.approx((5 + 0.4 / 0.8) / 32)
