"""Model folders, written and amended: weights first, the card last and atomically."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ..data.identity import Who
from ..data.tensors import write_tensors
from ..files import file_digest, write_state
from ..posterior.map_prior import MapPrior
from ..shapes import AnyPath, Json, Tensor
from .card import CARD, FORMAT, VERSION, check_card, read_card, statement_of
from .known_particles import hashes_of


def save_model(
    folder: AnyPath,
    card: Json,
    generators: Mapping[str, nn.Module],
    trained_on: Mapping[str, Who | Sequence[str]],
    about: Mapping[str, Json] | None = None,
    kept: Sequence[Json] = (),
    guides: Mapping[str, MapPrior] | None = None,
) -> Json:
    """Write a model folder, or replace the model in one.

    card: the entries of `card.CARD` that describe the model; format, version, members, created, statement
    and licence are filled in here. generators: {member: networks.Networks.generator}. trained_on: {member:
    Who its training particles are, or names}. about: {member: more entries of it in the card}. kept: entries, in the
    folder's card, of members that stay as they are. guides: {member: MapPrior} of guided networks. Gives the
    card as written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for name, generator in generators.items():
        weights, digest = _save(folder, name, '', generator.state_dict())
        hashes = hashes_of(trained_on[name])
        ids, ids_digest = _save(folder, name, '.ids', {k: torch.from_numpy(v) for k, v in hashes.items()})
        members.append(
            dict(
                (about or {}).get(name, {}),
                name=name,
                weights=weights,
                sha256=digest,
                ids=ids,
                ids_sha256=ids_digest,
                particles=len(hashes['ids']),
                **_save_guide(folder, name, (guides or {}).get(name)),
            )
        )
    members = sorted([*members, *kept], key=lambda m: m['name'])
    written = dict(format=FORMAT, version=VERSION, created=time.strftime('%Y-%m-%dT%H:%M:%S%z'))
    card = {**card, 'members': members}
    written |= {'statement': statement_of(card), 'licence': 'as the data it was trained on', **card}
    check_card(written, folder)
    write_state(folder / CARD, written)
    _remove_stale(folder, members)
    return written


def amend_card(folder: AnyPath, **entries: object) -> None:
    """Add entries to the card of a model folder."""
    card, _ = read_card(folder)
    card |= entries
    check_card(card, folder)
    write_state(Path(folder) / CARD, card)


def _save(folder: Path, member: str, kind: str, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Write tensors as ``<member>-<digest>[.ids].safetensors``; (file name, sha256)."""
    partial = folder / f'{member}{kind}.safetensors.partial'
    try:
        write_tensors(tensors, partial)
        digest = file_digest(partial)
        # The name changes with the content, so the card on disk never points to other weights than its own.
        name = f'{member}-{digest[:12]}{kind}.safetensors'
        os.replace(partial, folder / name)
    finally:
        partial.unlink(missing_ok=True)
    return name, digest


def _save_guide(folder: Path, member: str, guide: MapPrior | None) -> Json:
    """The entry of a member's guide in the card, its bank written; empty without a guide."""
    if guide is None:
        return {}
    bank, digest = _save(folder, member, '.bank', guide.tensors())
    return {'guide': {'bank': bank, 'sha256': digest, 'bytes': (folder / bank).stat().st_size, **guide.description()}}


def _remove_stale(folder: Path, members: Iterable[Json]) -> None:
    keep = {m[k] for m in members for k in ('weights', 'ids')} | {m['guide']['bank'] for m in members if 'guide' in m}
    for path in folder.glob('*.safetensors'):
        if path.name not in keep:
            path.unlink()
