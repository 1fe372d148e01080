"""Parameters of ``train``, and the presets that fill those the user leaves open."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ..errors import InputError
from .adversary import Adversary
from .base import Settings, flag, option
from .map_prior import MapPriorSettings, degrees
from .networks import NETWORKS
from .optimisation import Evaluation, Length, Optimisation
from .pairs import Augmentation, Checks, Contamination, Fresh, SelfSupervision
from .processes import Processes
from .reading import Reading

PRESETS = Path(__file__).resolve().parent.parent / 'presets'
LENGTHS = ('epochs', 'iterations', 'minutes')

# Options that carry the noise of one pair into another; off, also where the preset has them, when pairs are spoilt.
MIXES_NOISE = ('exchange_noise', 'noise_curriculum')

# Options that compare with references, and what they may be where there are none.
WITHOUT_REFERENCES = {
    'gan': ('none',),
    'p': (2,),
    'contaminate': ('none',),
    'exchange_noise': (0,),
    'fresh_fraction': (0,),
    'noise_curriculum': (0,),
    'volume': ([],),
    'invert_contrast': (False,),
}


def preset_values(name: str, network: str | None = None, target: str = 'references') -> dict[str, Any]:
    """Values of a preset (name -> value) for a network, default its own; pure data, one JSON file each.

    Also read by the Scipion form. The entry ``networks`` of a file holds what is different for some networks,
    ``without_references`` what is different for a target that has none.
    """
    values = json.loads((PRESETS / f'{name}.json').read_text(encoding='utf-8'))
    values.pop('about', None)
    schedules, alone = values.pop('networks', {}), values.pop('without_references', {}).get(target, {})
    chosen = network or alone.get('network', values['network'])
    found = {**values, **schedules.get(chosen, {})}
    if target != 'references':
        # Noise cannot be told from what nobody knows.
        found |= dict.fromkeys(MIXES_NOISE, 0.0)
    found |= alone.get('networks', {}).get(chosen, {})
    return {**found, 'network': chosen}


@dataclass
class Inputs:
    """What is trained on what: particles, their partners, preset and network."""

    GROUP: ClassVar[str] = 'What is trained on what'

    particles: str = option(None, 'Noisy particles (STAR).', required=True, path=True, label='Particles')
    target: str = option(
        'references',
        'What the network learns to predict.\n'
        'references: projections of the map. It shows most, and can show what only the map says.\n'
        'self: no map. The noisy particles alone tell a few hundred templates, with which each particle is compared, '
        'and a network learns from noise that is added and subtracted (see self-supervision). Where particles are too '
        'noisy to tell templates, the covariance Wiener filter (CWF) has its share in the result. The noise is '
        'measured in the corners of the boxes.\n'
        'copies: no map. One noisy copy of each particle is predicted from another (--copies), for example from '
        'the other half of the movie frames; assumes that their noise is independent.\n'
        'self and copies keep the CTF, show less detail, and cannot have learnt anything from the map, which '
        'makes them a second opinion for the audit.',
        choices=('references', 'self', 'copies'),
        label='Learn from',
    )
    references: str | None = option(
        None,
        'Reference projections of the same particles (STAR), the output of "project". Matched by identity, not by'
        ' order. Not needed for --target self or copies.',
        path=True,
        label='References',
    )
    copies: str | None = option(
        None,
        'Second noisy copies of the particles (STAR), for a map-free network: the same alignment, scale and '
        'signal, but noise of their own. Matched by identity. The model then fits the noise level of one copy.',
        path=True,
        label='Second copies',
    )
    preset: str = option(
        'recommended',
        'Where every option that is left open gets its value.\n'
        'recommended: the lowest validation error for its cost in our tests.\n'
        'paper: the settings printed in the paper, which take hours without a GPU.\n'
        "authors: the settings in the authors' scripts.",
        choices=('recommended', 'paper', 'authors'),
        label='Preset',
    )
    network: str = option(
        None,
        'Generator and discriminator.\n'
        'equivariant: looks at the whole particle at all in-plane angles at once; best for particles near the '
        'centre of the box.\n'
        'residual: strided convolutions with skips; also for badly centred particles.\n'
        'paper128, paper256: those of the paper, for 128 and 256 px (the latter needs a GPU).\n'
        'plain: convolutions only (appendix 5.3).\n'
        'pggan: grows from low resolution (appendix 5.4).\n'
        'guided: finds the projections of the map that each particle resembles and corrects their weighted mean. '
        'It cannot show what is not in the map, and draws the map for junk and other molecules too: look at the '
        'fit (cryoemganFit). Without a map (--target self) the particles themselves tell what they are compared with.',
        choices=NETWORKS,
        label='Architecture',
    )
    init: str | None = option(
        None,
        'Start from the weights of this model folder, to train it further or to adapt it to new particles. The '
        'model itself is not changed.',
        path=True,
        label='Continue from model',
    )


@dataclass
class CrossFitting:
    """Fold models, each blind to a part of the particles."""

    GROUP: ClassVar[str] = 'Cross-fitting'

    cross_fit: str = option(
        'auto',
        'Train several fold models, each without a part of the particles, so that no particle (and no half map) '
        'is denoised by a network that has learnt it.\n'
        'auto: halves if the particles have half sets, otherwise folds.\n'
        'halves: one fold model for each half set; the references should come from half maps.\n'
        'folds: parts drawn at random.\n'
        'none: one network for all. It repeats some of the noise of the particles that it was trained on.\n'
        'The fold models share the minutes; iterations and epochs count for each.',
        choices=('auto', 'none', 'halves', 'folds'),
        label='Cross-fitting',
    )
    folds: int = option(
        2,
        'Number of fold models for --cross-fit folds. With more, each learns from more of the particles, and the '
        'cost grows in proportion.',
        ge=2,
        le=20,
        expert=True,
        label='Folds',
    )


@dataclass
class Train(
    MapPriorSettings,
    Contamination,
    Checks,
    SelfSupervision,
    Fresh,
    Augmentation,
    Evaluation,
    Length,
    Optimisation,
    Adversary,
    Processes,
    CrossFitting,
    Reading,
    Inputs,
    Settings,
):
    """Train a denoiser on pairs (particle, reference)."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({'batch_size', 'threads'})

    @classmethod
    def of_length(cls) -> frozenset[str]:
        """A training may be made longer, and keep more."""
        return frozenset({*LENGTHS, 'most_epochs', 'keep', 'patience'})

    @classmethod
    def only_longer(cls) -> frozenset[str]:
        """A training cannot be taken back."""
        return frozenset({*LENGTHS, 'most_epochs'})

    def validate(self) -> None:
        """As in every verb; and the length is given at most once."""
        super().validate()
        degrees(self.pose_prior)
        given = [flag(name) for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f'give only one of {", ".join(given)}: they all set the length of the run')
        for name in MIXES_NOISE:
            if self.contaminates() and getattr(self, name):
                raise InputError(f'{flag(name)} cannot be used with --contaminate: it mixes noise into clean pairs')
        self._validate_target()

    def _validate_target(self) -> None:
        """What each target needs is there, and nothing that it cannot use."""
        if self.target == 'references':
            if self.references is None:
                raise InputError('--references is missing (or train without: --target self)')
            if self.copies is not None:
                raise InputError('--copies is for --target copies')
            return
        if (self.copies is not None) != (self.target == 'copies'):
            raise InputError('--copies is missing' if self.copies is None else '--copies is for --target copies')
        if self.references is not None:
            raise InputError(f'--target {self.target} learns without --references: leave them out')
        for name, usable in WITHOUT_REFERENCES.items():
            value = getattr(self, name)
            if value not in (None, *usable):
                raise InputError(
                    f'--target {self.target}: {flag(name)} {value} needs references; without them it can be '
                    f'{" or ".join(str(v) for v in usable)}'
                )
        if self.network in ('guided', 'equivariant') and not self.recorrupts():
            without = '' if self.target == 'copies' else ' --self-supervision blind-spots:'
            raise InputError(
                f'--target {self.target}:{without} --network {self.network} looks at references; take residual'
            )

    def recorrupts(self) -> bool:
        """Whether a particle becomes a pair by noise that is added and taken away."""
        return self.target == 'self' and self.self_supervision != 'blind-spots'

    def pose_prior_degrees(self) -> float | None:
        """Width of the pose prior, or None."""
        return degrees(self.pose_prior)

    def filled(self) -> Train:
        """These settings with every option that was left open taken from the preset; explicit values win."""
        values = preset_values(self.preset, self.network, self.target)
        if any(getattr(self, name) is not None for name in LENGTHS):
            values = {k: v for k, v in values.items() if k not in LENGTHS}
        if self.contaminates():
            values |= dict.fromkeys(MIXES_NOISE, 0.0)
        known = {f.name for f in fields(self)}
        for name in values:
            if name not in known:
                raise InputError(f'preset {self.preset}: unknown option {name!r}')
        found = replace(self, **{k: v for k, v in values.items() if getattr(self, k) is None})
        found.validate()
        return found

    def contaminates(self) -> bool:
        """Whether this is a contamination experiment."""
        return self.contaminate not in (None, 'none') and bool(self.contaminate_fraction)
