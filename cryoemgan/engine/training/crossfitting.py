"""Cross-fitting: several members, each blind to a part of the particles, and which of them may denoise which particle.

A network repeats the noise it was trained on, and with it the noise that went into its map. In mode ``halves`` the
member ``half1`` touches particles of half set 1 only (and, when projected so, references from half map 1 only): the
particles of half 2 come to it with noise that neither it nor its map has ever met. In mode ``folds`` the member
``without1`` is trained without the particles of fold 1.
"""

import re
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from . import sampling

WHOLE = 'main'
HALF = re.compile(r'half([12])')


@dataclass(frozen=True)
class Part:
    """What one member learns from: positions among the pairs. touched: all it knows of, training or not."""

    name: str
    training: np.ndarray
    validation: np.ndarray
    touched: np.ndarray


def choose(mode, count, halves):
    """The mode that 'auto' means: halves where both half sets are there, else folds; none for fewer than 8 pairs."""
    if mode != 'auto':
        return mode
    if count < 8:
        return 'none'
    both = halves is not None and min((halves == h).sum() for h in (1, 2)) >= 4
    return 'halves' if both else 'folds'


def parts(mode, count, halves, folds, validation_fraction, seed):
    """The Part of every member. halves: int [count] (1 or 2) or None. InputError when a part would be too small."""
    everything = np.arange(count)
    if mode == 'none':
        training, validation = sampling.split(count, validation_fraction, seed)
        return [Part(WHOLE, training, validation, training)]
    if mode == 'halves':
        if halves is None:
            raise InputError(
                '--cross-fit halves: the particles have no half sets (_rlnRandomSubset); take the particles that came '
                'out of a gold-standard refinement, or --cross-fit folds'
            )
        chosen = {f'half{h}': everything[halves == h] for h in (1, 2)}
    else:
        fold = sampling.folds(count, folds, seed)
        chosen = {f'without{k + 1}': everything[fold != k] for k in range(folds)}
    result = []
    for name, touched in chosen.items():
        if len(touched) < 2:
            raise InputError(f'--cross-fit {mode}: member {name} would have {len(touched)} pairs; use --cross-fit none')
        training, validation = (touched[i] for i in sampling.split(len(touched), validation_fraction, seed))
        # A validation particle chose the checkpoint, and half map 1 holds the noise of all of half 1.
        result.append(Part(name, training, validation, touched))
    return result


@dataclass(frozen=True)
class Routing:
    """Which members denoise which particle. weights: float32 [n, members], rows sum to 1; leaked: bool [n]."""

    members: list
    weights: np.ndarray
    leaked: np.ndarray

    @property
    def leakage(self):
        """Particles that no blind member is left for."""
        return int(self.leaked.sum())

    def labels(self):
        """Per particle the member that denoised it; 'mean' where it was several."""
        single = [*self.members, 'mean']
        which = np.where((self.weights > 0).sum(1) == 1, self.weights.argmax(1), len(self.members))
        return [single[i] for i in which]


def route(model, table):
    """Routing of a table's particles through a Model: members that never saw a particle, all where none is left.

    A particle is known by its name among a member's training particles, and by its half set: half map 1 holds the
    noise of all of half 1, whether they trained or not.
    """
    seen = model.trained_on(table.names())
    halves = table.half_sets()
    if halves is not None:
        for name in seen:
            if half := HALF.fullmatch(name):
                seen[name] |= halves == int(half[1])
    blind = ~np.stack(list(seen.values()), axis=1)
    leaked = ~blind.any(axis=1)
    blind[leaked] = True
    weights = blind / blind.sum(axis=1, keepdims=True)
    return Routing(list(seen), weights.astype(np.float32), leaked)
