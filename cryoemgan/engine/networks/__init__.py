"""Generators and discriminators by name.

A network is one file of this folder that registers a function ``build(**options) -> (generator,
discriminator)`` (with a first argument ``box`` if its weights depend on the box):

* generator: standardised particles [B, 1, N, N] -> images in network units [B, 1, N, N];
* discriminator: images in network units [B, 1, N, N] -> scores (logits, no sigmoid) [B, 1, n, n], one a
patch.

`create` wraps both so that they take any even box. To add a network: add its file to the imports at the
end, and its name to ``settings/networks.py``.
"""

import functools
import inspect
from dataclasses import dataclass

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from ..settings.networks import LARGEST_BOX, SMALLEST_BOX
from .padding import Padded

_BUILDERS = {}


@dataclass
class Networks:
    """A generator and its discriminator."""

    generator: nn.Module
    discriminator: nn.Module

    @property
    def stages(self):
        """Number of resolutions the pair grows through; 1 for a network that does not grow."""
        return getattr(self.generator.network, 'stages', 1)

    def set_stage(self, stage, alpha=1.0):
        """Work at resolution ``stage`` (0 .. stages-1), faded in by alpha (0 = still the previous stage,
        1 = fully).

        New networks work at their last stage. The stage is part of the state dict. No effect without stages.
        """
        if not 0 <= stage < self.stages or not 0 <= alpha <= 1:
            raise ValueError(f'stage {stage} of {self.stages} with alpha {alpha}')
        for module in (self.generator, self.discriminator):
            if hasattr(module.network, 'set_stage'):
                module.network.set_stage(stage, alpha)

    def initialise(self, noisy, clean):
        """Let the generator look at normalised training pairs [n, 1, N, N] once, before training."""
        if hasattr(self.generator.network, 'initialise'):
            self.generator.network.initialise(noisy, clean)


def register(name):
    """Decorator: make ``build(**options) -> (generator, discriminator)`` known under a name."""

    def add(build):
        _BUILDERS[name] = build
        return build

    return add


def names():
    """Names of the registered networks."""
    return tuple(_BUILDERS)


def create(name, box, **options):
    """The networks called ``name`` for images of ``box`` pixels, freshly initialised, as a Networks.

    Options and their defaults are the keyword arguments of the network's builder (`defaults`).
    Convolution weights are in channels-last order, the fastest on CPU and GPU. InputError: unknown name
    or option, box odd or outside 32..512.
    """
    known = defaults(name)
    if not isinstance(box, int) or box % 2 or not SMALLEST_BOX <= box <= LARGEST_BOX:
        raise InputError(
            f'box {box!r}: networks take even boxes from {SMALLEST_BOX} to {LARGEST_BOX} px; '
            'set --box to resample the particles'
        )
    for key, value in options.items():
        if key not in known:
            raise InputError(f'network {name} has no option {key!r} (it has: {", ".join(known)})')
        if type(value) is not type(known[key]):
            raise InputError(f'network {name}: option {key} = {value!r} should be like {known[key]!r}')
        if isinstance(value, int) and not 1 <= value <= 4096:
            raise InputError(f'network {name}: option {key} = {value} is out of range (1 to 4096)')
    build = _BUILDERS[name]
    if 'box' in inspect.signature(build).parameters:
        build = functools.partial(build, box)
    generator, discriminator = (m.to(memory_format=torch.channels_last) for m in build(**options))
    return Networks(Padded(generator, crop=True), Padded(discriminator, crop=False))


def defaults(name):
    """The options of a network with their defaults. InputError for an unknown name."""
    if name not in _BUILDERS:
        raise InputError(f'unknown network {name!r} (known: {", ".join(_BUILDERS)})')
    return {p.name: p.default for p in inspect.signature(_BUILDERS[name]).parameters.values() if p.name != 'box'}


def options(name, gan):
    """The options to train a network with under an adversary (a name of ``losses.adversary``).

    The defaults, but a discriminator without batch statistics for wgan-gp: its penalty is a statement about the slope
    at single images, and batch norm makes each score a function of the whole batch.
    """
    found = defaults(name)
    if gan == 'wgan-gp' and 'norm_discriminator' in found:
        found['norm_discriminator'] = 'group'
    return found


def outline(name, box, **options):
    """The Networks of `create` on the meta device: shapes without numbers, in no time and memory however wide."""
    with torch.device('meta'), _Unfilled():
        return create(name, box, **options)


class _Unfilled(TorchFunctionMode):
    """Leaves out random initialisation: on the meta device it fills nothing and imports half of torch (2 s)."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))


def parameter_count(module):
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


from . import equivariant, guided, paper128, paper256, pggan, plain, residual  # noqa: E402, F401
