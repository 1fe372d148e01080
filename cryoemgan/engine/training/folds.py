"""Cross-fitting: several fold models, each blind to a part of the particles.

A network repeats the noise it was trained on, and with it the noise that went into its map. In mode ``halves`` the
fold model ``half1`` touches particles of half set 1 only (and, when projected so, references from half map 1 only): the
particles of half 2 come to it with noise that neither it nor its map has ever met. In mode ``folds`` the fold model
``without1`` is trained without the particles of fold 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..shapes import Flags, Rows
from . import sampling

WHOLE = 'main'


@dataclass(frozen=True)
class Fold:
    """What one fold model learns from: positions among the pairs. touched: all it knows of, training or not."""

    name: str
    training: Rows
    validation: Rows
    touched: Rows


def choose(mode: str, count: int, halves: Rows | None) -> str:
    """The mode that 'auto' means: halves where both half sets are there, else folds; none for fewer than 8 pairs."""
    if mode != 'auto':
        return mode
    if count < 8:
        return 'none'
    both = halves is not None and min((halves == h).sum() for h in (1, 2)) >= 4
    return 'halves' if both else 'folds'


def make_folds(
    mode: str,
    count: int,
    halves: Rows | None,
    folds: int,
    validation_fraction: float,
    seed: int,
    group: Rows | None = None,
) -> list[Fold]:
    """The Fold of every fold model.

    Parameters
    ----------
    mode : str
        none, halves or folds.
    count : int
        Number of pairs.
    halves : Rows or None
        [count], half set (1 or 2) of each pair.
    folds : int
        How many fold models, in mode folds.
    validation_fraction : float
        Part of the pairs of each fold model that is kept out of training.
    seed : int
        Of the random choices.
    group : Rows or None
        [count], pairs of one group (copies, segments of a filament) stay on one side of every split. In mode halves,
        those of a group that the refinement had in both halves are left out.

    Raises
    ------
    InputError
        A fold model would have fewer than 2 pairs, or there are no half sets.
    """
    everything = np.arange(count)
    if mode == 'none':
        training, validation = sampling.split(count, validation_fraction, seed, group)
        return [Fold(WHOLE, training, validation, training)]
    if mode == 'halves':
        if halves is None:
            raise InputError(
                '--cross-fit halves: the particles have no half sets (_rlnRandomSubset); take the particles that came '
                'out of a gold-standard refinement, or --cross-fit folds'
            )
        apart = ~torn(halves, group)
        chosen = {f'half{h}': everything[(halves == h) & apart] for h in (1, 2)}
    else:
        fold = sampling.folds(count, folds, seed, group)
        chosen = {f'without{k + 1}': everything[fold != k] for k in range(folds)}
    result = []
    for name, touched in chosen.items():
        if len(touched) < 2:
            raise InputError(
                f'--cross-fit {mode}: fold model {name} would have {len(touched)} pairs; use --cross-fit none'
            )
        own = None if group is None else group[touched]
        training, validation = (touched[i] for i in sampling.split(len(touched), validation_fraction, seed, own))
        # A validation particle chose the checkpoint, and half map 1 holds the noise of all of half 1.
        result.append(Fold(name, training, validation, touched))
    return result


def torn(halves: Rows, group: Rows | None) -> Flags:
    """Which pairs are in a group that the refinement put into both half sets: bool [count]."""
    if group is None:
        return np.zeros(len(halves), bool)
    first, second = (np.unique(group[halves == h]) for h in (1, 2))
    return np.isin(group, np.intersect1d(first, second))
