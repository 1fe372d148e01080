"""A training step never waits for its device: it runs on torch's meta device, whose tensors have no numbers.

Whatever brings a number to the host (``item``, ``tolist``, ``bool``, a mask as an index, ``nonzero``) fails there.
"""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from .. import networks
from ..data.table import ParticleTable
from ..imaging import maps
from ..settings.adversary import Adversary
from ..settings.optimisation import Optimisation
from ..settings.pairs import Augmentation, SelfSupervision
from ..settings.train import preset_values
from ..training import step
from ..training.batches import Batches
from ..training.fresh_pairs import FreshPairs
from ..training.loading import PairLoader
from ..training.noise_images import NoiseImages
from ..training.noisy_pairs import NoisyPairs
from ..training.pairs import Contaminated, ReferencePairs
from ..training.shares import Share
from . import test_synthetic, toypairs

META = torch.device('meta')


class Alone:
    """Stands for Lightning Fabric with one process."""

    world_size, global_rank, device = 1, 0, META

    def setup_module(self, module):
        return module.to(META)

    def backward(self, loss):
        loss.backward()

    def autocast(self):
        return nullcontext()


@pytest.fixture(scope='module')
def set_with_ctf(tmp_path_factory):
    folder, paths, *_ = test_synthetic.write_data(tmp_path_factory.mktemp('bare') / 'd', with_ctf=True)
    pairs = test_synthetic.opened(folder)
    return pairs, [maps.read_map(p) for p in paths]


def options(network, **more):
    values = {**preset_values('recommended', network), **more}

    def part(cls):
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})

    return part


def run(pairs, fresh, part, network, fresh_fraction=0.0, iterations=2, **shape):
    """A few iterations on the meta device, as `run` puts them together."""
    how, adversary = part(Augmentation), part(Adversary)
    size = 12
    batches = Batches(
        pairs, np.arange(len(pairs)), fresh, how, fresh_fraction, part(SelfSupervision), 1, size, Share(), META
    )
    pair = networks.create(network, pairs.box, **{**networks.options(network, adversary.gan), **shape})
    training = step.Training(pair, batches, part(Optimisation), adversary, 1, Alone())
    for k in range(iterations):
        training.iterate(k / 10)
    return training


@pytest.mark.parametrize(
    ('network', 'more'),
    [
        ('equivariant', {}),
        ('residual', {'shift': 2}),
        ('paper128', {'gan': 'beta', 'alpha': 0.5, 'beta': 0.5, 'p': 1, 'generator_steps': 2}),
        ('residual', {'gan': 'beta', 'alpha': -1.0, 'beta': 0.3}),
        ('plain', {'gan': 'wgan-gp'}),
        ('pggan', {}),
    ],
)
def test_real_pairs(set_with_ctf, network, more):
    pairs, _ = set_with_ctf
    part = options(network, **more)
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1)
    training = run(pairs, fresh, part, network)
    assert training.iteration == 2
    assert all(p.device == META for p in training.generator.parameters())


def test_particles_with_their_ctf(set_with_ctf):
    pairs = copy.copy(set_with_ctf[0])
    pairs.show_ctf()
    part = options('equivariant', shift=1)
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1)
    training = run(
        pairs, fresh, part, 'equivariant', **dict(zip(('particles_hold', 'references_hold'), pairs.image_model))
    )
    assert training.iteration == 2


@pytest.mark.parametrize('with_maps', [True, False])
def test_fresh_pairs(set_with_ctf, with_maps):
    pairs, volumes = set_with_ctf
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1, volumes if with_maps else ())
    run(pairs, fresh, options('residual'), 'residual', fresh_fraction=0.5)


def test_images_of_noise(tmp_path):
    pairs = ReferencePairs(*(ParticleTable.read(p) for p in toypairs.pairs(tmp_path)))
    pairs.fit_grey_scale()
    noise = toypairs.write(
        tmp_path / 'noise.star', np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    )
    background = NoiseImages(ParticleTable.read(noise), 32, toypairs.PIXEL_SIZE, 32, 1)
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1, (), background)
    run(pairs, fresh, options('residual'), 'residual', fresh_fraction=0.5)


@pytest.mark.parametrize('how', ['recorruption', 'blind-spots'])
def test_learning_from_particles_alone(tmp_path, how):
    particles, _ = toypairs.pairs(tmp_path)
    pairs = NoisyPairs(ParticleTable.read(particles))
    pairs._set_scale(0.0, 1.0, 1.0, 1.0, None, None)
    pairs.gains = np.ones(24)
    run(pairs, None, options('residual', self_supervision=how), 'residual')


def test_contaminated_and_resampled_pairs_from_a_stream(tmp_path):
    pairs = ReferencePairs(*(ParticleTable.read(p) for p in toypairs.pairs(tmp_path, count=300)), box=48)
    pairs.fit_grey_scale()
    pairs.contaminate(Contaminated('both', 'gaussian', np.arange(0, 300, 3), 1))
    loader = PairLoader(pairs, np.arange(300), 1, 12, device=META, window_bytes=0)
    for _ in range(30):
        assert loader.next().pairs.noisy.shape == (12, 1, 48, 48)


def test_the_meta_device_catches_a_wait():
    """The test can fail."""

    class Waits(nn.Module):
        def forward(self, x):
            return x * float(x.abs().max())

    with pytest.raises(RuntimeError, match='meta'):
        Waits()(torch.zeros(3, device=META))
