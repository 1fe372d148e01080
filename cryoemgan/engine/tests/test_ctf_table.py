"""CTFs of a set on a device: the closed form of test_ctf, for any rows."""

import numpy as np
import pytest
import torch

from ..imaging.ctf import ctf_rfft, with_ctf
from ..imaging.ctf_table import CtfTable
from .test_ctf import closed_form, parameters


@pytest.mark.parametrize('box', [64, 65])
@pytest.mark.parametrize(('pixel_size', 'b_factor'), [(4.5, 0.0), (1.5, 0.0), (2.0, 80.0)])
def test_closed_form(box, pixel_size, b_factor):
    p = parameters(20, b_factor=b_factor)
    rows = np.array([3, 17, 3, 0])
    found = CtfTable(box, pixel_size, p)(torch.from_numpy(rows)).numpy()
    assert np.abs(found - closed_form(box, pixel_size, {k: v[rows] for k, v in p.items()})).max() < 3e-4


def test_voltages_may_differ():
    p = parameters(6)
    p['voltage'] = np.array([300.0, 200.0, 300.0, 120.0, 200.0, 300.0])
    found = CtfTable(48, 2.0, p)(torch.arange(6)).numpy()
    for kv, wavelength in ((300.0, 0.0196874890), (200.0, 0.0250793405), (120.0, 0.0334921767)):
        mine = p['voltage'] == kv
        wanted = closed_form(48, 2.0, {k: v[mine] for k, v in p.items()}, wavelength)
        assert np.abs(found[mine] - wanted).max() < 3e-4


@pytest.mark.parametrize('mode', ['none', 'phase-flip', 'full', 'premultiplied'])
def test_images_through_it(mode):
    p, images = parameters(5), np.random.default_rng(0).standard_normal((5, 32, 32)).astype(np.float32)
    found = CtfTable(32, 2.0, p).apply(torch.from_numpy(images), torch.arange(5), mode).numpy()
    np.testing.assert_allclose(found, with_ctf(images, 2.0, p, mode), atol=2e-3)


@pytest.mark.parametrize('b_factor', [0.0, 80.0])
def test_anisotropic_magnification(b_factor):
    p = parameters(6, b_factor=b_factor)
    p['magnification'] = np.eye(2) + np.random.default_rng(1).uniform(-0.05, 0.05, (6, 2, 2))
    p['scale'] = np.linspace(0.8, 1.2, 6)
    found = CtfTable(64, 1.5, p)(torch.arange(6)).numpy()
    wanted = p['scale'][:, None, None] * closed_form(64, 1.5, {k: v for k, v in p.items() if k != 'scale'})
    assert np.abs(found - wanted).max() < 4e-4
    assert np.abs(ctf_rfft(64, 1.5, p).numpy() - wanted).max() < 4e-4
