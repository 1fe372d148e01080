"""What must hold on a processor and on a GPU alike. The GPU's half is run by benchmarks/gpu.sh; skipped where there is
none."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from .. import networks
from ..data.table import ParticleTable
from ..posterior.guided_pairs import GuidedPairs
from ..posterior.map_prior import Context, MapPrior
from ..settings.adversary import Adversary
from ..settings.optimisation import Optimisation
from ..settings.pairs import Augmentation, SelfSupervision
from ..settings.train import preset_values
from ..training.batches import Batches
from ..training.fresh_pairs import FreshPairs
from ..training.pairs import ReferencePairs
from ..training.shares import Share
from ..training.step import Training
from . import toypairs
from .claw_templates import BOX, guide_of

GPU = pytest.param(
    'cuda', marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU on this machine')]
)


@pytest.fixture(params=['cpu', GPU])
def device(request, one_thread):
    return torch.device(request.param)


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
    found = ReferencePairs(*(ParticleTable.read(p) for p in toypairs.pairs(tmp_path_factory.mktemp('d'), 30, BOX)))
    found.fit_grey_scale()
    return found


def taken_to(guide, device):
    """The guide as a model folder gives it back."""
    return MapPrior.load(guide.tensors(), guide.description(), BOX, device)


def test_a_guide_says_the_same_wherever_it_is(bank, claw_particles, device):
    _, images, sd, matrices = claw_particles
    guide, context = guide_of(bank, sd, pose_prior=10.0), Context(1.0, matrices=matrices)
    here, there = guide(images, context), taken_to(guide, device)(images.to(device), context)
    for name in ('mean', 'sd', 'evidence', 'scale'):
        expected, found = getattr(here, name), getattr(there, name).cpu()
        assert float((found - expected).norm()) < 2e-3 * float(expected.norm()), name


def test_a_guide_that_runs_out_of_memory_asks_less_at_a_time_and_loses_nothing(
    bank, pairs, device, tmp_path, monkeypatch
):
    """Of what it had asked before, nothing is asked again."""
    warned, asked = [], []
    job = SimpleNamespace(
        settings=SimpleNamespace(resume=False),
        say=print,
        warn=warned.append,
        progress=lambda *args: contextlib.nullcontext(SimpleNamespace(update=lambda n: None)),
    )
    guide = taken_to(guide_of(bank, pairs.scale.sd), device)

    def prepared(name):
        found = GuidedPairs(pairs, guide, tmp_path / name, 1, np.arange(len(pairs)))
        found.prepare(job, SimpleNamespace(world_size=1), 'of nobody')
        return np.load(found.path).astype(np.float32), found.present, found.scores

    expected, ask = prepared('enough.npy'), GuidedPairs._ask

    def ask_few(self, positions):
        if len(positions) > 10:
            raise torch.OutOfMemoryError('simulated')
        asked.append(positions)
        return ask(self, positions)

    monkeypatch.setattr(GuidedPairs, '_ask', ask_few)
    found = prepared('little.npy')
    assert np.concatenate(asked).tolist() == list(range(38))
    assert [w.split(':')[0] for w in warned] == [f'out of memory with {n} images at a time' for n in (38, 19)]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


def training(pairs, device):
    values = preset_values('recommended', 'equivariant')

    def part(cls):
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})

    torch.manual_seed(1)
    every = np.arange(len(pairs))
    batches = Batches(
        pairs, every, FreshPairs(pairs, every, 1), part(Augmentation), 0.0, SelfSupervision(), 1, 8, Share(), device
    )
    fabric = Fabric(accelerator=device.type, devices=1)
    pair = networks.create('equivariant', pairs.box, rank=40, width=16)
    return Training(pair, batches, part(Optimisation), part(Adversary), 1, fabric)


def test_a_training_goes_on_bit_for_bit(pairs, device):
    unbroken, broken = training(pairs, device), training(pairs, device)
    for k in range(6):
        unbroken.iterate(k / 6)
        if k < 3:
            broken.iterate(k / 6)
    resumed = training(pairs, device)
    resumed.restore(broken.state())
    for k in range(3, 6):
        resumed.iterate(k / 6)
    assert resumed.terms.means() == unbroken.terms.means()
    for one, other in zip(resumed.average.parameters(), unbroken.average.parameters()):
        assert torch.equal(one, other)
