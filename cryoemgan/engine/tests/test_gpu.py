"""What a GPU computes is what the processor computes. Run by benchmarks/gpu.sh; skipped where there is no GPU."""

import numpy as np
import pytest
import torch

from .. import geometry, networks
from ..imaging.ctf_table import CtfTable
from ..imaging.projection import FourierProjector
from ..training import losses
from ..training.augmentation import draw_moves, move

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU on this machine'),
]
# Sums in another order, and TF32 switched off: a few units of the last digit of float32.
CLOSE = dict(rtol=1e-3, atol=1e-4)


def on_both(function, *tensors):
    """The results on the processor and on the GPU, both on the processor."""
    return function(*tensors), function(*(t.cuda() for t in tensors)).cpu()


@pytest.fixture(autouse=True)
def full_precision():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize('name', ['equivariant', 'residual', 'paper128', 'plain', 'pggan'])
def test_networks(name):
    torch.manual_seed(0)
    pair = networks.create(name, 64)
    images = torch.randn(4, 1, 64, 64)
    pair.initialise(images, images)
    for network in (pair.generator.eval(), pair.discriminator.eval()):
        with torch.no_grad():
            there = network(images)
            here = network.cuda()(images.cuda()).cpu()
        torch.testing.assert_close(here, there, **CLOSE)


def test_ctf():
    values = dict(
        defocus_u=12000.0,
        defocus_v=9000.0,
        defocus_angle=30.0,
        voltage=300,
        cs=2.7,
        amplitude_contrast=0.1,
        phase_shift=0,
    )
    params = {k: np.full(3, v) for k, v in values.items()}
    rows = torch.arange(3)
    torch.testing.assert_close(
        CtfTable(64, 2.0, params, 'cuda')(rows.cuda()).cpu(), CtfTable(64, 2.0, params)(rows), **CLOSE
    )


def test_projections():
    volume = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    matrices = geometry.random_matrices(5, 1)
    found = [FourierProjector(volume, device=d).project_rfft(matrices).cpu() for d in ('cpu', 'cuda')]
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-2)


def test_moves():
    images = torch.randn(16, 1, 32, 32)
    moves = torch.from_numpy(draw_moves(np.random.default_rng(2), 16, True, 3))
    assert torch.equal(*on_both(move, images, moves))


def test_losses():
    images, truth = torch.randn(2, 3, 1, 32, 32)
    for p in (1, 2):
        torch.testing.assert_close(
            *on_both(lambda x, y, p=p: losses.reconstruction(x, y, p, None, None), images, truth)
        )
