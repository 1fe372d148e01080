"""Pose fit: right particles keep the false-alarm rate though others are among them, and reasons are the right ones."""

import numpy as np
import pytest

from cryoemgan.engine.imaging.maps import lowpass
from cryoemgan.engine.trust.mixtures import right_ones
from cryoemgan.engine.trust.pose_fit import (
    CROWDED,
    EMPTY,
    FEWEST,
    FITS,
    OTHER,
    PairModel,
    pose_fit,
    words,
)

BOX, COUNT = 32, 1200


def shapes(rng, count, at=(0.0, 0.0)):
    """Smooth random images within a disc, variance 1 over the box."""
    axis = np.arange(BOX) - BOX // 2
    away = np.hypot(axis[:, None] - at[1], axis - at[0])
    images = lowpass(rng.normal(size=(count, BOX, BOX)).astype(np.float32), 4.0, 14.0, axes=(-2, -1))
    images = images * (away < 9)
    return images / images.std((1, 2))[:, None, None]


def moved(images, shifts):
    """Images moved by as many pixels along both axes."""
    frequencies = np.fft.fftfreq(BOX)
    phase = shifts[:, 0, None, None] * frequencies[:, None] + shifts[:, 1, None, None] * frequencies
    return np.fft.ifft2(np.fft.fft2(images) * np.exp(-2j * np.pi * phase)).real.astype(np.float32)


def particles(rng, references, snr=0.25):
    """References as particles show them: of another grey scale, contrast and level of noise."""
    contrast = rng.normal(1, 0.1, len(references))[:, None, None]
    noise = rng.normal(size=references.shape) * rng.uniform(0.95, 1.05, (len(references), 1, 1))
    return (30 * (np.sqrt(snr) * contrast * references + noise)).astype(np.float32)


@pytest.fixture(scope='module')
def pairs():
    """{kind: (references, particles)}"""
    rng = np.random.default_rng(1)
    kinds = {}
    for kind, count in (('right', COUNT), ('empty', 200), ('other', 200), ('crowded', 200)):
        references = shapes(rng, count)
        shown = {
            'right': references, 'empty': 0 * references, 'other': shapes(rng, count),
            'crowded': references + 0.6 * shapes(rng, count, (14.0, 0.0)) + 0.6 * shapes(rng, count, (-14.0, 3.0)),
        }[kind]  # fmt: skip
        kinds[kind] = references, particles(rng, shown)
    return kinds


def judged(pairs, *kinds):
    references, images = (np.concatenate([pairs[kind][k] for kind in kinds]) for k in (0, 1))
    model = PairModel.of(references[::3], images[::3])
    found = pose_fit(model.measure(references, images))
    ends = np.cumsum([len(pairs[kind][0]) for kind in kinds])
    return model, found, dict(zip(kinds, np.split(np.arange(len(references)), ends[:-1])))


@pytest.mark.parametrize('junk', [(), ('empty',), ('empty', 'other', 'crowded')])
def test_right_particles_keep_the_rate_whatever_is_among_them(pairs, junk):
    _, found, rows = judged(pairs, 'right', *junk)
    # Three standard errors of 1,200 particles.
    for limit in (0.05, 0.01):
        rate = (found.p_values[rows['right']] < limit).mean()
        assert rate == pytest.approx(limit, abs=0.25 * limit + 3 * (limit / COUNT) ** 0.5)
    for kind in junk:
        assert (found.p_values[rows[kind]] < 0.05).mean() > 0.9
    assert found.right == pytest.approx(COUNT / len(found.p_values), abs=0.1 + 0.15 * ('crowded' in junk))


@pytest.mark.parametrize('junk', [0, 60])
@pytest.mark.parametrize('seed', [2, 3])
def test_poses_that_are_a_little_wrong_are_no_junk(seed, junk):
    """Most lack a little of their reference, and a few much: two normals once parted them, and a fifth was flagged."""
    rng = np.random.default_rng(seed)
    references = shapes(rng, 2000 + junk)
    shown = moved(references, rng.normal(0, 0.4, (len(references), 2)))
    shown[2000:] = shapes(rng, junk)
    images = particles(rng, shown, 0.5)
    found = pose_fit(PairModel.of(references[::3], images[::3]).measure(references, images))
    assert 0.03 < (found.p_values[:2000] < 0.05).mean() < 0.065
    assert not junk or (found.p_values[2000:] < 0.05).mean() > 0.8


def test_reasons_are_the_right_ones(pairs):
    model, found, rows = judged(pairs, 'right', 'empty', 'other', 'crowded')
    assert (found.reasons[rows['right']] == FITS).mean() > 0.9
    for kind, reason in (('empty', EMPTY), ('other', OTHER), ('crowded', CROWDED)):
        assert (found.reasons[rows[kind]] == reason).mean() > 0.6
    assert f'{EMPTY} {found.counts[EMPTY]}' in words(found)
    assert model.power_against_nothing(pairs['right'][0], found.shortage) > 0.95


def test_noise_that_drowns_the_reference_and_few_particles_are_told(pairs):
    references = pairs['right'][0]
    images = particles(np.random.default_rng(2), references, snr=1e-5)
    model = PairModel.of(references, images)
    numbers = model.measure(references, images)
    assert model.power_against_nothing(references, pose_fit(numbers).shortage) < 0.5
    assert pose_fit(numbers[: FEWEST - 1]) is None


def test_constant_and_noiseless_images_have_finite_numbers(pairs):
    references = pairs['right'][0][:60]
    for images in (references, 0 * references, np.ones_like(references)):
        numbers = PairModel.of(references, images).measure(references, images)
        assert np.isfinite(numbers).all()
        assert np.isfinite(pose_fit(numbers).p_values).all()


def test_a_set_of_right_ones_is_not_split():
    values = np.random.default_rng(3).normal(2, 0.5, 800)
    found, weights, share = right_ones(values)
    assert share == 1
    assert weights.min() == 1
    assert (found.mean, found.sd) == (pytest.approx(2, abs=0.06), pytest.approx(0.5, abs=0.04))
