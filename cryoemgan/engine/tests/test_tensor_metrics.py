"""Metrics on a device are those of the pages."""

import numpy as np
import pytest
import torch

from ..metrics import image_metrics, tensor_metrics


@pytest.mark.parametrize('offset', [0.0, 50.0])
def test_equal_to_those_of_arrays(offset):
    rng = np.random.default_rng(0)
    references = (rng.random((6, 40, 40)) + offset).astype(np.float32)
    images = references + 0.3 * rng.standard_normal(references.shape).astype(np.float32)
    images[0] = references[0] + 0.001
    wanted = image_metrics.compare(images, references, 1.0)
    found = tensor_metrics.compare(torch.from_numpy(images), torch.from_numpy(references), 1.0)
    for name, values in found.items():
        np.testing.assert_allclose(values.numpy(), wanted[name], rtol=2e-3 if offset else 1e-5, atol=1e-6)


def test_equal_images_have_a_finite_psnr():
    images = torch.rand(2, 16, 16)
    found = tensor_metrics.compare(images, images.clone(), 1.0)
    assert found['psnr'].tolist() == [image_metrics.PSNR_LIMIT] * 2
    assert found['ssim'] == pytest.approx(torch.ones(2, dtype=torch.float64))
