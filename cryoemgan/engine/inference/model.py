"""A trained denoiser on disk: ``card.json`` and one safetensors file of weights a member.

Nothing in the folder is ever executed. The card names each weights file with its sha256, and is written
last and atomically: at any moment the folder is the old model or the new one. A model usually has one
member; cross-fitting makes several, each knowing which particles it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import networks
from ..data.identity import Who
from ..data.table import ParticleTable
from ..data.tensors import open_tensors
from ..devices import to_device, to_host
from ..errors import InputError
from ..imaging import spectra
from ..posterior.joint_library import ALL, joint_prior
from ..posterior.map_prior import Context, ImagePosterior, MapPrior
from ..posterior.p_value import Power, PValueCalibration
from ..posterior.posterior import Search
from ..shapes import AnyPath, Flags, Images, Json, Rows
from .card import read_card
from .card_schema import LARGEST, LIBRARY, check_library
from .known_particles import KINDS, known, read_hashes
from .safe_files import checked_file, compare_shapes, shapes
from .seen_ctf import Knowledge, SeenCtf, require_ctf


class Model:
    """A denoiser, ready to use. Made by `Model.load`.

    card: what card.json says. members: {name: generator in eval mode}. digest: sha256 of the card, which
    holds those of the weights: it identifies the model. guides: {name: guide.MapPrior} of a guided model, else empty.
    """

    def __init__(
        self,
        folder: AnyPath,
        card: Json,
        members: Mapping[str, nn.Module],
        digest: str,
        device: torch.device,
        guides: Mapping[str, MapPrior] | None = None,
    ) -> None:
        self.folder, self.card, self.members = Path(folder), card, members
        self.digest, self.device, self.guides = digest, device, guides or {}
        self._joint: MapPrior | None = None
        # Of a model trained on noisy images alone: it sees them with white noise (rings of `frc.ring_index`).
        self._gains = np.array(card['whitening']['gains']) if 'whitening' in card else None

    @classmethod
    def load(cls, folder: AnyPath, device: str | torch.device = 'cpu') -> Model:
        """Read a model folder; InputError for anything missing, damaged, unknown or unsafe."""
        folder, device = Path(folder), torch.device(device)
        card, digest = read_card(folder)
        members = {}
        for member in card['members']:
            members[member['name']] = _load_member(folder, card, member).to(device)
        guides = {m['name']: _load_guide(folder, card, m['guide'], device) for m in card['members'] if 'guide' in m}
        return cls(folder, card, members, digest, device, guides)

    @property
    def box(self) -> int:
        """Box the network was trained at, px."""
        return self.card['box']

    @property
    def pixel_size(self) -> float:
        """Pixel size it was trained at, A."""
        return self.card['pixel_size']

    def denoise(
        self, particles: Images, member: str | None = None, precision: str = 'float32', opinion: Knowledge | None = None
    ) -> Images:
        """Particles float32 [n, box, box] in their own grey values -> denoised float32 [n, box, box] in
        the same.

        member: its name; default the first. precision: float32, or bfloat16 (autocast). The result for an
        image does not depend on the others. opinion: of the member's guide on these particles (`ask`).
        """
        return self.begin(particles, member, precision, opinion)()

    def begin(
        self, particles: Images, member: str | None = None, precision: str = 'float32', opinion: Knowledge | None = None
    ) -> Callable[[], Images]:
        """As `denoise`, begun on the device: what is given back waits for the images when it is called."""
        generator = self.members[member] if member else next(iter(self.members.values()))
        source, units, grey = self.card['input'], self.card['units'], self.card['grey']
        gains = self._gains
        if gains is not None:
            particles = source['mean'] + spectra.filtered(particles - np.float32(source['mean']), gains)
        images = to_device(np.asarray(particles, np.float32), self.device)[:, None]
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=precision == 'bfloat16'),
        ):
            seen = (images - source['mean']) / source['sd']
            if opinion is not None:
                seen = torch.cat([seen, opinion.channels(units['scale'], units['offset'])], 1)
            output = generator(seen)[:, 0].float()
            references = to_host(units['scale'] * output + units['offset'])

        def finish() -> Images:
            found = references()
            if gains is not None:
                found = spectra.filtered(found, 1 / gains)
            return grey['gain'] * found + grey['offset']

        return finish

    @property
    def classes(self) -> list[int]:
        """Numbers of the classes whose maps it compares particles with; empty where that is one map."""
        found = [guide.bank.classes for guide in self.guides.values()]
        return found[0] if found and len(found[0]) > 1 and all(c == found[0] for c in found) else []

    @property
    def needs_ctf(self) -> bool:
        """Whether its network sees the CTF of each particle."""
        return self.card['network']['options'].get('particles_hold', '') not in ('', 'none')

    @property
    def takes_context(self) -> bool:
        """Whether it has to know more of particles than their pixels."""
        return bool(self.guides) or self.needs_ctf

    def require(self, table: ParticleTable) -> None:
        """InputError when a ParticleTable lacks what the model has to know of its particles."""
        for guide in self.guides.values():
            guide.require(table)
        if self.needs_ctf:
            require_ctf(table, self.card['network']['options']['particles_hold'])

    def ask(self, particles: Images, context: Context, member: str | None = None) -> Knowledge:
        """What a member (default the first) is told of particles float32 [n, box, box] with their Context, of a model
        that `takes_context`: ImagePosterior by its map prior, or SeenCtf."""
        if self.needs_ctf:
            return SeenCtf.of(context, self.box, self.device)
        return self.posterior(particles, context, member)

    def posterior(self, particles: Images, context: Context, member: str | None = None) -> ImagePosterior:
        """`ask`, of a guided model."""
        guide = self.guide(member)
        return guide(torch.from_numpy(np.ascontiguousarray(particles, np.float32)).to(self.device), context)

    def guide(self, member: str | None = None) -> MapPrior:
        """MapPrior of a member (default the first), or of ALL of them together, which is made at the first call."""
        if member == ALL:
            if self._joint is None:
                search = (self.card.get('joint') or {}).get('search')
                self._joint = joint_prior(list(self.guides.values()), search and Search(**search))
            return self._joint
        return self.guides[member] if member else next(iter(self.guides.values()))

    @property
    def joins(self) -> bool:
        """Whether particles that no fold model knows are asked about the templates of all of them at once: where these
        differ, and training has judged what comes of it."""
        return len(self.guides) > 1 and bool(self.card.get('joint'))

    def evidence_threshold(self, member: str) -> float:
        """Evidence that 95 % of the particles exceed which this member (or ALL) may denoise; until that is measured, of
        its training particles."""
        if member == ALL:
            return self.card['joint']['evidence']
        measured = self.card.get('noise_in', {}).get('thresholds', {})
        return measured.get(member, self.guides[member].threshold['evidence'])

    def belonging(self, member: str) -> PValueCalibration:
        """PValueCalibration of this member (or ALL), measured on particles it never saw, else on its training
        particles."""
        measured = self.card.get('noise_in', {}).get('belonging', {})
        if member == ALL:
            found = self.card['joint']['belonging']
        else:
            found = measured.get(member) or self.guides[member].threshold.get('belonging') or {}
        try:
            return PValueCalibration(**found)
        except TypeError as e:
            raise InputError(f'{self.folder}: a guided model of an earlier version; train it again') from e

    def fit_power(self, members: Iterable[str]) -> Power | None:
        """Power of the p-values of these members together; None for a model without them, or of an earlier version."""
        found = [self.belonging(name).power for name in members] if self.guides else []
        known = [Power(**power) for power in found if power is not None]
        return Power.least(known) if known and len(known) == len(found) else None

    def fit_flags(self, members: Iterable[str]) -> tuple[float, float] | None:
        """Least and most of the right particles that these members' p-values may flag; None: unknown."""
        found = [self.belonging(name).flags for name in members] if self.guides else []
        known = [flags for flags in found if flags is not None]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None

    def ask_all(self, particles: Images, context: Context) -> dict[str, Knowledge]:
        """{member: what `ask` gives}; empty for a network that sees the pixels only."""
        if self.needs_ctf:
            return dict.fromkeys(self.members, SeenCtf.of(context, self.box, self.device))
        return {name: self.posterior(particles, context, name) for name in self.guides}

    def trained_on(self, who: Who | Sequence[str]) -> dict[str, Flags]:
        """{member: bool [n]}: which of these particles (`identity.Who`, or names alone) each has seen."""
        return {m['name']: known(who, _read_ids(self.folder, m)) for m in self.card['members']}


def _load_member(folder: Path, card: Json, member: Json) -> nn.Module:
    """The generator of a member with its weights, in eval mode."""
    # Shapes first: absurd widths and files are refused before any allocation.
    generator = networks.outline(card['network']['name'], card['box'], **card['network']['options']).generator
    expected = generator.state_dict()
    size = sum(v.numel() * v.element_size() for v in expected.values())
    path = checked_file(folder / member['weights'], member['sha256'], size)
    with open_tensors(path) as file:
        found = shapes(file)
        compare_shapes(path, expected, found)
        tensors = {key: file.get_tensor(key) for key in found}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InputError(f'{path}: {key} holds NaN or infinite numbers; its training had diverged')
    generator = generator.to_empty(device='cpu')
    generator.load_state_dict(tensors)
    # torch's stubs know no memory_format beside nothing else.
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.eval().requires_grad_(False)


def _load_guide(folder: Path, card: Json, entry: Json, device: torch.device) -> MapPrior:
    """The MapPrior that the entry of a member describes."""
    path = checked_file(folder / entry['bank'], entry['sha256'], entry['bytes'])
    with open_tensors(path) as file:
        check_library(path, shapes(file), entry, card['box'])
        tensors = {key: file.get_tensor(key) for key in LIBRARY}
    for key in LIBRARY:
        # Poses are NaN where nobody knows them.
        known = tensors[key].nan_to_num(0.0) if key == 'matrices' else tensors[key]
        if not (known.abs() <= LARGEST).all():
            raise InputError(f'{path}: {key} holds NaN, or numbers that cannot be; copy the model folder again')
    if not (tensors['spectrum'] > 0).all():
        raise InputError(f'{path}: spectrum holds noise of no power; copy the model folder again')
    maps = len(entry.get('classes', ())) or len(tensors['source'])
    if not (int(tensors['source'].min()) >= 0 and int(tensors['source'].max()) < maps):
        raise InputError(f'{path}: source names maps that the card does not know; copy the model folder again')
    return MapPrior.load(tensors, entry, card['box'], device)


def _read_ids(folder: Path, member: Json) -> dict[str, Rows]:
    path = checked_file(folder / member['ids'], member['ids_sha256'], 8 * len(KINDS) * member['particles'])
    return read_hashes(path)
