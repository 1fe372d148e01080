"""The covariance Wiener filter on the Fourier plane, against the one in pixels; how much of it an estimate takes."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.classical.cwf import Denoiser
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.imaging.steerable import FourierPlane
from cryoemgan.engine.posterior.calibration_from_copies import Copies
from cryoemgan.engine.posterior.covariance_filter import CovarianceFilter
from cryoemgan.engine.posterior.search import Particles
from cryoemgan.engine.tests.test_learned_library import BOX, error, particles

pytestmark = pytest.mark.usefixtures('one_thread')


def made(method):
    components, mean = map(torch.from_numpy, method.components())
    return CovarianceFilter.of(components, mean[0])


def seen(batch, method):
    plane = FourierPlane(BOX)
    sd = torch.as_tensor(batch.noise_sd, dtype=torch.float32)[:, None]
    held = torch.ones(len(batch.images), len(plane))
    if batch.transfer is not None:
        held = torch.as_tensor(batch.transfer).flatten(1)[:, plane.index]
    held[:, 0] = 0
    return Particles(plane.vectors(torch.from_numpy(batch.images) - method.background) / sd, held / sd)


@pytest.mark.parametrize('ctf', [False, True], ids=['plain', 'ctf'])
def test_as_in_pixels(ctf):
    batch, truth = particles(500, 0.2, 1, ctf=ctf)
    method = Denoiser(BOX)
    method.fit(lambda: [batch])
    rows = batch.rows(np.arange(100))
    own, there = made(method), method.denoise(rows)
    found = own.basis.plane.images(own(seen(rows, method))).numpy()
    assert error(found, there) < 0.01
    assert error(found, truth[:100]) < 1.01 * error(there, truth[:100])


def test_kept_and_taken_up():
    batch, _ = particles(200, 0.3, 1)
    method = Denoiser(BOX)
    method.fit(lambda: [batch])
    own, plane = made(method), FourierPlane(BOX)
    tensors = own.tensors()
    again = CovarianceFilter.load(tensors, plane)
    some = seen(batch.rows(np.arange(5)), method)
    torch.testing.assert_close(again(some), own(some))
    assert CovarianceFilter.load({}, plane) is None
    name = 'covariance.variance'
    for wrong in (tensors[name][:-1], -tensors[name]):
        with pytest.raises(InputError, match='inconsistent'):
            CovarianceFilter.load({**tensors, name: wrong}, plane)


def test_best_weight():
    """Of two estimates with independent errors of variance 1 and 3, a quarter of the second is best."""
    rng = torch.Generator().manual_seed(0)
    truth, first, second, noise = torch.randn(4, 60, 16, 16, generator=rng)
    variance = torch.full((60,), 4.0)
    copies = Copies(truth, truth, truth + 2 * noise, variance, None, np.arange(60))
    one, other = truth + first, truth + 3**0.5 * second
    assert copies.best_weight(one, other) == pytest.approx(0.25, abs=0.03)
    assert copies.best_weight(one, one) == 0.0
    blend = torch.lerp(one, other, 0.25)
    assert copies.error(blend) == pytest.approx(0.75, abs=0.1)
