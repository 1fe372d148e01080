"""Generators and discriminators by name.

A network is one file of this folder that registers a function ``build(**options) -> (generator,
discriminator)`` (with a first argument ``box`` if its weights depend on the box):

* generator: standardised particles [B, 1, N, N] -> images in network units [B, 1, N, N];
* discriminator: images in network units [B, 1, N, N] -> scores (logits, no sigmoid) [B, 1, n, n], one
  a patch.

Buffers are constants, but for the statistics of batch norm: the running average of weights follows no others.
`create` wraps both so that they take any even box. To add a network: add its file to the imports at the
end, and its name to ``settings/networks.py``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from ..schema import shown
from ..settings.networks import LARGEST_BOX, SMALLEST_BOX
from ..shapes import Tensor
from .padding import Padded

Builder = Callable[..., tuple[nn.Module, nn.Module]]
_BUILDERS: dict[str, Builder] = {}


@dataclass
class Networks:
    """A generator and its discriminator."""

    generator: Padded
    discriminator: Padded

    @property
    def stages(self) -> int:
        """Number of resolutions the pair grows through; 1 for a network that does not grow."""
        stages: int = getattr(self.generator.network, 'stages', 1)
        return stages

    @property
    def stage(self) -> int:
        """The resolution at which the pair works."""
        return int(self.generator.network.stage()[0]) if self.stages > 1 else 0

    @property
    def starts_from_data(self) -> bool:
        """Whether the generator is a linear filter as soon as it has looked at some pairs."""
        return bool(getattr(self.generator.network, 'starts_linear', False))

    def set_stage(self, stage: int, alpha: float = 1.0) -> None:
        """Work at resolution ``stage`` (0 .. stages-1), faded in by alpha (0 = still the previous stage,
        1 = fully).

        New networks work at their last stage. The stage is part of the state dict. No effect without stages.
        """
        if not 0 <= stage < self.stages or not 0 <= alpha <= 1:
            raise ValueError(f'stage {stage} of {self.stages} with alpha {alpha}')
        for module in (self.generator, self.discriminator):
            set_stage(module, stage, alpha)

    def initialise(self, noisy: Tensor, clean: Tensor) -> None:
        """Let the generator look at normalised training pairs [n, 1, N, N] once, before training."""
        if hasattr(self.generator.network, 'initialise'):
            self.generator.network.initialise(noisy, clean)


def set_stage(module: Padded, stage: int, alpha: float) -> None:
    """`Networks.set_stage` of one network of a pair."""
    if hasattr(module.network, 'set_stage'):
        module.network.set_stage(stage, alpha)


def register(name: str) -> Callable[[Builder], Builder]:
    """Decorator: make ``build(**options) -> (generator, discriminator)`` known under a name."""

    def add(build: Builder) -> Builder:
        _BUILDERS[name] = build
        return build

    return add


def names() -> tuple[str, ...]:
    """Names of the registered networks."""
    return tuple(_BUILDERS)


def create(name: str, box: int, **options: Any) -> Networks:
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
            raise InputError(f'network {name} has no option {shown(key)} (it has: {", ".join(known)})')
        if type(value) is not type(known[key]):
            raise InputError(f'network {name}: option {key} = {shown(value)} should be like {known[key]!r}')
        if isinstance(value, int) and not 1 <= value <= 4096:
            raise InputError(f'network {name}: option {key} = {value} is out of range (1 to 4096)')
    build = _BUILDERS[name]
    if 'box' in inspect.signature(build).parameters:
        build = functools.partial(build, box)
    generator, discriminator = (m.to(memory_format=torch.channels_last) for m in build(**options))  # type: ignore[call-overload]
    return Networks(Padded(generator, crop=True), Padded(discriminator, crop=False))


def defaults(name: str) -> dict[str, Any]:
    """The options of a network with their defaults. InputError for an unknown name."""
    if name not in _BUILDERS:
        raise InputError(f'unknown network {name!r} (known: {", ".join(_BUILDERS)})')
    return {p.name: p.default for p in inspect.signature(_BUILDERS[name]).parameters.values() if p.name != 'box'}


def options(name: str, gan: str) -> dict[str, Any]:
    """The options to train a network with under an adversary (a name of ``losses.adversary``).

    The defaults, but a discriminator without batch statistics for wgan-gp: its penalty is a statement about the slope
    at single images, and batch norm makes each score a function of the whole batch.
    """
    found = defaults(name)
    if gan == 'wgan-gp' and 'norm_discriminator' in found:
        found['norm_discriminator'] = 'group'
    return found


def outline(name: str, box: int, **options: Any) -> Networks:
    """The Networks of `create` on the meta device: shapes without numbers, in no time and memory however wide."""
    with torch.device('meta'), _Unfilled():
        return create(name, box, **options)


class _Unfilled(TorchFunctionMode):
    """Leaves out random initialisation: on the meta device it fills nothing and imports half of torch (2 s)."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))


def parameter_count(module: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


from . import equivariant, guided, paper128, paper256, pggan, plain, residual  # noqa: E402, F401
