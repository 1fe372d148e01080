"""Metrics against scikit-image, closed forms and their invariances."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cryoemgan.engine.metrics.image_metrics import compare, psnr


@pytest.fixture(scope='module')
def pair():
    """Smooth references of range about 1 and noisy images of them: [6, 40, 40] twice."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, 40)
    centre = rng.uniform(-0.4, 0.4, (6, 2, 1, 1))
    references = np.exp(-((axis[None, None, :] - centre[:, 0]) ** 2 + (axis[None, :, None] - centre[:, 1]) ** 2) * 6)
    images = references + rng.normal(0, 0.5, references.shape)
    return images.astype(np.float32), references.astype(np.float32)


def skimage_ssim(image, reference, data_range):
    return structural_similarity(
        image.astype(np.float64),
        reference.astype(np.float64),
        data_range=data_range,
        gaussian_weights=True,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize('box', [11, 40, 41])
@pytest.mark.parametrize(('scale', 'offset', 'data_range'), [(1, 0, 1.0), (0.01, 3, 0.02), (300, -2000, 500.0)])
def test_equals_scikit_image(pair, box, scale, offset, data_range):
    images, references = (np.resize(a, (6, box, box)) * np.float32(scale) + np.float32(offset) for a in pair)
    got = compare(images, references, data_range)
    for i in range(6):
        assert got['ssim'][i] == pytest.approx(skimage_ssim(images[i], references[i], data_range), abs=2e-4)
        expected = peak_signal_noise_ratio(references[i].astype(float), images[i].astype(float), data_range=data_range)
        assert got['psnr'][i] == pytest.approx(expected, abs=1e-3)


def test_ssim_agrees_closely_in_the_common_range(pair):
    images, references = pair
    got = compare(images, references, 1.0)['ssim']
    assert got == pytest.approx([skimage_ssim(x, y, 1.0) for x, y in zip(images, references)], abs=1e-6)


def test_affine_metrics_are_those_of_the_fitted_image(pair):
    images, references = pair
    raw = compare(images, references, 1.0)
    gain, offset = raw['gain'], raw['offset']
    for i in range(len(images)):
        slope, intercept = np.polyfit(images[i].ravel().astype(float), references[i].ravel().astype(float), 1)
        assert (gain[i], offset[i]) == pytest.approx((slope, intercept), rel=1e-5)
    fitted = gain[:, None, None] * images + offset[:, None, None]
    again = compare(fitted, references, 1.0)
    for name in ('mse', 'psnr', 'ssim', 'ncc'):
        assert raw[name + '_affine'] == pytest.approx(again[name], rel=1e-4, abs=1e-6)
    assert np.all(raw['mse_affine'] <= raw['mse'])


@pytest.mark.parametrize(('a', 'b'), [(3.0, 1.0), (0.01, -5.0), (-2.0, 0.3)])
def test_affine_metrics_ignore_the_images_grey_scale(pair, a, b):
    images, references = pair
    one, two = compare(images, references, 1.0), compare(images * np.float32(a) + np.float32(b), references, 1.0)
    for name in ('mse_affine', 'psnr_affine', 'ssim_affine', 'ncc_affine'):
        assert two[name] == pytest.approx(one[name], rel=2e-3)
    assert two['ncc'] == pytest.approx(np.sign(a) * one['ncc'], rel=1e-3)
    assert two['gain'] == pytest.approx(one['gain'] / a, rel=1e-3)


def test_psnr_of_a_known_difference():
    references = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (2, 20, 1))
    got = compare(references + np.float32(0.1), references, data_range=1.0)
    assert got['mse'] == pytest.approx(0.01, rel=1e-5)
    assert got['psnr'] == pytest.approx(20.0, abs=1e-4)
    assert got['mse_affine'] == pytest.approx(0, abs=1e-12)
    assert psnr(0.25, 2.0) == pytest.approx(10 * np.log10(16))


def test_identical_and_nearly_identical_images(pair):
    _, references = pair
    same = compare(references, references, 1.0)
    assert np.all(same['mse'] == 0)
    assert same['psnr'] == pytest.approx(120)
    assert same['ssim'] == pytest.approx(1, abs=1e-6)
    assert same['ncc'] == pytest.approx(1)
    # A difference of 1e-4 on an offset of 1000 would drown in E[x^2] - E[x]^2.
    noise = np.random.default_rng(1).normal(0, 1e-3, references.shape)
    big = references.astype(np.float64) + 1000
    assert compare(big + noise, big, 1.0)['mse'] == pytest.approx((noise**2).mean((1, 2)), rel=1e-6)


def test_constant_images_give_numbers_not_nan():
    flat, ramp = np.full((1, 16, 16), 2.0, np.float32), np.tile(np.arange(16, dtype=np.float32), (1, 16, 1))
    got = compare(flat, ramp, 15.0)
    assert (got['ncc'][0], got['gain'][0], got['offset'][0]) == pytest.approx((0, 0, 7.5))
    assert got['mse_affine'][0] == pytest.approx(ramp.var(), rel=1e-6)
    assert all(np.isfinite(v).all() for v in {**got, **compare(ramp, flat, 15.0)}.values())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='must be equal'):
        compare(np.zeros((2, 16, 16)), np.zeros((2, 17, 17)), 1.0)
    with pytest.raises(ValueError, match='at least 11 px'):
        compare(np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), 1.0)
