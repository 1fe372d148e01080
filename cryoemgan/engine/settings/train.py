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
    if chosen == alone.get('network'):
        found |= alone
    return {**found, 'network': chosen}


@dataclass
class Inputs:
    """What is trained on what: particles, their partners, preset and network."""

    GROUP: ClassVar[str] = 'What is trained on what'

    particles: str = option(None, 'Noisy particles (STAR).', required=True, path=True, label='Particles')
    target: str = option(
        'references',
        'What the network learns to give. references: projections of the map; shows most, and can show what only the '
        'map says. self: no map at all, from the noisy particles alone; their noise is measured in the corners of the '
        'boxes and made white (see self-supervision). copies: no map; one noisy copy of each particle (--copies: e.g. '
        'from the other half of the frames) is predicted from the other. Assumes that the noise of the two is '
        'independent. Both keep the CTF, show less detail, and cannot have learnt anything from the map: a second '
        'opinion for audit.',
        choices=('references', 'self', 'copies'),
        label='Learn from',
    )
    references: str | None = option(
        None,
        'Reference projections of the same particles (STAR, from project). Matched by identity, never by row. Needed '
        'unless --target is self or copies.',
        path=True,
        label='References',
    )
    copies: str | None = option(
        None,
        'Second noisy copies of the particles (STAR), for a map-free network: same alignment, scale and signal, '
        'noise of their own. Matched by identity. The model is one for the noise of a copy.',
        path=True,
        label='Second copies',
    )
    preset: str = option(
        'recommended',
        'Where every option left open gets its value. recommended: what reached the '
        'lowest validation error for its cost in our measurements; paper: the hyperparameters of the '
        "paper's text (its 128 px network, (0.5,0.5)-GAN + l1, batch 20, rates 1e-3 and 1e-2, no "
        'schedule), hours on a processor; authors: what their scripts do (patch scores summed, '
        'batch 10, no shuffling).',
        choices=('recommended', 'paper', 'authors'),
        label='Preset',
    )
    network: str = option(
        None,
        'Generator and discriminator. equivariant: sees the whole particle at all in-plane angles at once; the lowest '
        'error for its time on particles within a few pixels of the centre; residual: strided convolutions with '
        "skips; paper128: the paper's, for 128 px; paper256: the paper's for 256 px, for a GPU; "
        'plain: convolutions only (appendix 5.3); pggan: grows from low resolution (appendix 5.4); guided: '
        'looks for the projections of the map that each particle resembles, and '
        'corrects their weighted mean. It adds what the map knows of the molecule to what little a noisy image tells. '
        "It cannot tell what the map does not hold, and draws the map's projections for junk and other molecules too: "
        'check the column cryoemganFit.',
        choices=NETWORKS,
        label='Architecture',
    )
    init: str | None = option(
        None,
        'Start from the weights of this model folder (train longer, or adapt it to new '
        'particles). The model itself is not changed.',
        path=True,
        label='Continue from model',
    )


@dataclass
class CrossFitting:
    """Fold models, each blind to a part of the particles."""

    GROUP: ClassVar[str] = 'Cross-fitting'

    cross_fit: str = option(
        'auto',
        'Several networks, each trained without a part of the particles, so that no particle (and no half map) is '
        'denoised by a network that has learnt it. halves: one network for each half set of the refinement; its '
        'references should come from half maps. folds: parts drawn at random. auto: halves where the particles have '
        'them, else folds. none: one network for all; on its own training particles it repeats part of their noise. '
        'The networks share the minutes; iterations and epochs count for each.',
        choices=('auto', 'none', 'halves', 'folds'),
        label='Cross-fitting',
    )
    folds: int = option(
        2,
        'Members of --cross-fit folds. More give each member more pairs ((K-1)/K of them) at K times the cost.',
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

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """As in every command; but the batches of a training decide what it learns, and the number of threads its last
        digits."""
        return super().of_machine() - {'batch_size', 'threads'}

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
        if self.network == 'guided' or (self.network == 'equivariant' and not self.recorrupts()):
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
