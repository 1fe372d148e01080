"""Which particles a fold model was trained on: hashes of who they are, so that no name is handed on with a model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..data.identity import Who, name_hashes
from ..data.tensors import open_tensors
from ..errors import InputError
from ..shapes import AnyPath, Flags, Rows

# What is hashed, in a file of ids; models of earlier versions have the first only.
KINDS = ('ids', 'tails', 'spots', 'places')


def hashes_of(who: Who | Iterable[str]) -> dict[str, Rows]:
    """Sorted, unique hashes of particles by each of `KINDS` that they are known by."""
    return {kind: np.unique(name_hashes(values)) for kind, values in _keys(Who.of(who)).items()}


def known(who: Who | Iterable[str], learnt: dict[str, Rows]) -> Flags:
    """Which particles are among those with hashes ``learnt``: bool [n].

    By their place on the micrograph, or by name and position, where both sides know positions: under an old name there
    may be another particle by now. Otherwise by the image's name, with folders or without: a project may have moved.
    """
    asked = {kind: name_hashes(values) for kind, values in _keys(Who.of(who)).items()}
    both = [kind for kind in KINDS if kind in asked and kind in learnt]
    kinds = [kind for kind in both if kind in ('spots', 'places')] or both
    found: Flags = np.logical_or.reduce([np.isin(asked[kind], learnt[kind]) for kind in kinds])
    return found


def read_hashes(path: AnyPath) -> dict[str, Rows]:
    """The hashes that `hashes_of` gave, from their file; InputError when it holds something else."""
    with open_tensors(path) as file:
        kinds = list(file.keys())
        if 'ids' not in kinds or not set(kinds) <= set(KINDS):
            raise InputError(f'{path}: does not hold the list of training particles')
        found = {kind: file.get_tensor(kind) for kind in kinds}
    if any(v.dtype != torch.int64 or v.ndim != 1 for v in found.values()):
        raise InputError(f'{path}: does not hold the list of training particles')
    return {kind: v.numpy() for kind, v in found.items()}


def _keys(who: Who) -> dict[str, Iterable[str]]:
    """Text by kind; the kinds of one particle must not be taken for each other."""
    found = {'ids': who.names, 'tails': who.tails, 'spots': who.tails_at_spots, 'places': who.places}
    return {kind: values for kind, values in found.items() if values is not None}
