"""Resampling against densities known at every position."""

import numpy as np
import pytest

from cryoemgan.engine.errors import InputError
from cryoemgan.engine.imaging.resample import plan_resampling, resample, resize
from cryoemgan.engine.tests.blobs import Blobs, relative_error

# Wide enough for the coarsest sampling.
BLOBS = Blobs(np.random.default_rng(0).uniform(-8, 8, (12, 3)), np.full(12, 4.0), np.linspace(0.5, 1.5, 12))
VOLUME = (-3, -2, -1)


@pytest.mark.parametrize('target', [32, 33, 48, 57, 64, 65, 96, 101])
@pytest.mark.parametrize('source', [64, 63])
def test_values_and_origin_stay(source, target):
    seen = np.eye(3)[None]
    images = resample(BLOBS.projections(source, seen), target)
    truth = BLOBS.projections(target, seen, pixel_size=source / target)
    assert relative_error(images, truth) < 2e-3


def test_volume():
    assert relative_error(resample(BLOBS.volume(48), 41, VOLUME), BLOBS.volume(41, 48 / 41)) < 0.01


@pytest.mark.parametrize(
    ('source', 'target'), [(8, 6), (8, 5), (9, 6), (9, 5), (7, 9), (7, 10), (6, 9), (6, 10), (6, 6)]
)
def test_resize_keeps_the_origin(source, target):
    image = np.zeros((1, source, source))
    image[0, source // 2, source // 2] = 3.0
    resized = resize(image, target)
    assert resized.shape == (1, target, target)
    assert resized[0, target // 2, target // 2] == 3.0
    assert resized.sum() == 3.0


def test_there_and_back():
    images = BLOBS.projections(64, np.eye(3)[None])
    np.testing.assert_allclose(resample(resample(images, 96), 64), images, atol=1e-5 * images.max())


def test_type_stays():
    assert resample(np.zeros((2, 8, 8), np.float32), 6).dtype == np.float32


# Map meets particles


@pytest.mark.parametrize(
    ('given', 'resampled'),
    [
        ((64, 4.5, 64, 4.5), 64),
        ((64, 4.5, 48, 4.88), 59),
        ((70, 3.71, 64, 3.71), 70),
        ((256, 1.31, 64, 5.24), 64),
        ((128, 1.0, 128, 1.0004), 128),
        ((63, 2.0, 64, 3.1), 41),
    ],
)
def test_plan(given, resampled):
    box_in, px_in, box_out, px_out = given
    found = plan_resampling(*given)
    assert (found.resampled, found.box) == (resampled, box_out)
    assert found.pixel_size * found.residual == pytest.approx(px_out)
    assert found.pixel_size * found.resampled == pytest.approx(box_in * px_in)


@pytest.mark.parametrize(
    ('given', 'why'),
    [
        ((64, 1.0, 64, 4.5), 'fields of view'),
        ((64, 45.0, 64, 4.5), 'pixel sizes'),
        ((640, 0.45, 64, 45), 'pixel sizes'),
        ((64, 4.5, 300, 4.5), 'fields of view'),
        ((10, 4.0, 10, 4.3), 'whole pixels'),
    ],
)
def test_what_cannot_meet_is_refused_with_the_reason(given, why):
    with pytest.raises(InputError, match=why) as error:
        plan_resampling(*given)
    assert '--volume-pixel-size' in str(error.value)


def test_applied_plan_is_the_density_at_the_new_positions():
    found = plan_resampling(48, 1.0, 40, 1.1)
    assert relative_error(found.apply(BLOBS.volume(48)), BLOBS.volume(40, found.pixel_size)) < 0.02
