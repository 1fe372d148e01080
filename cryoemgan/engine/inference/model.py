"""A trained denoiser on disk: ``card.json`` and one safetensors file of weights a member.

Nothing in the folder is ever executed. The card names each weights file with its sha256, and is written
last and atomically: at any moment the folder is the old model or the new one. A model usually has one
member; cross-fitting makes several, each knowing which particles it was trained on.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch

from .. import networks
from ..data.tensors import open_tensors, write_tensors
from ..devices import to_device, to_host
from ..errors import InputError
from ..files import file_digest, write_state
from ..imaging import spectra
from ..posterior.map_prior import MapPrior
from ..posterior.p_value import Power, PValueCalibration
from .card import CARD, FORMAT, VERSION, check_card, read_card, statement_of
from .card_schema import LARGEST, LIBRARY, check_library
from .known_particles import KINDS, hashes_of, known, read_hashes
from .safe_files import checked_file, compare_shapes, shapes
from .seen_ctf import SeenCtf, require_ctf


class Model:
    """A denoiser, ready to use. Made by `Model.load`.

    card: what card.json says. members: {name: generator in eval mode}. digest: sha256 of the card, which
    holds those of the weights: it identifies the model. guides: {name: guide.MapPrior} of a guided model, else empty.
    """

    def __init__(self, folder, card, members, digest, device, guides=None):
        self.folder, self.card, self.members = Path(folder), card, members
        self.digest, self.device, self.guides = digest, device, guides or {}
        # Of a model trained on noisy images alone: it sees them with white noise (rings of `frc.ring_index`).
        self._gains = np.array(card['whitening']['gains']) if 'whitening' in card else None

    @classmethod
    def load(cls, folder, device='cpu'):
        """Read a model folder; InputError for anything missing, damaged, unknown or unsafe."""
        folder, device = Path(folder), torch.device(device)
        card, digest = read_card(folder)
        members = {}
        for member in card['members']:
            members[member['name']] = _load_member(folder, card, member).to(device)
        guides = {m['name']: _load_guide(folder, card, m['guide'], device) for m in card['members'] if 'guide' in m}
        return cls(folder, card, members, digest, device, guides)

    @property
    def box(self):
        """Box the network was trained at, px."""
        return self.card['box']

    @property
    def pixel_size(self):
        """Pixel size it was trained at, A."""
        return self.card['pixel_size']

    def denoise(self, particles, member=None, precision='float32', opinion=None):
        """Particles float32 [n, box, box] in their own grey values -> denoised float32 [n, box, box] in
        the same.

        member: its name; default the first. precision: float32, or bfloat16 (autocast). The result for an
        image does not depend on the others. opinion: of the member's guide on these particles (`ask`).
        """
        return self.begin(particles, member, precision, opinion)()

    def begin(self, particles, member=None, precision='float32', opinion=None):
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

        def finish():
            found = references()
            if gains is not None:
                found = spectra.filtered(found, 1 / gains)
            return grey['gain'] * found + grey['offset']

        return finish

    @property
    def needs_ctf(self):
        """Whether its network sees the CTF of each particle."""
        return self.card['network']['options'].get('particles_hold', '') not in ('', 'none')

    @property
    def takes_context(self):
        """Whether it has to know more of particles than their pixels."""
        return bool(self.guides) or self.needs_ctf

    def require(self, table):
        """InputError when a ParticleTable lacks what the model has to know of its particles."""
        for guide in self.guides.values():
            guide.require(table)
        if self.needs_ctf:
            require_ctf(table, self.card['network']['options']['particles_hold'])

    def ask(self, particles, context, member=None):
        """ImagePosterior by a member's map prior (default the first) of particles float32 [n, box, box] with their
        Context; SeenCtf for a network that sees the CTF; None for one that sees the pixels only."""
        if self.needs_ctf:
            return SeenCtf.of(context, self.box, self.device)
        if not self.guides:
            return None
        guide = self.guides[member] if member else next(iter(self.guides.values()))
        return guide(torch.from_numpy(np.ascontiguousarray(particles, np.float32)).to(self.device), context)

    def evidence_threshold(self, member):
        """Evidence that 95 % of the particles exceed which this member may denoise; until that is measured, of its
        training particles."""
        measured = self.card.get('noise_in', {}).get('thresholds', {})
        return measured.get(member, self.guides[member].threshold['evidence'])

    def belonging(self, member):
        """PValueCalibration of this member, measured on particles it never saw, else on its training particles."""
        measured = self.card.get('noise_in', {}).get('belonging', {})
        found = measured.get(member) or self.guides[member].threshold.get('belonging') or {}
        try:
            return PValueCalibration(**found)
        except TypeError as e:
            raise InputError(f'{self.folder}: a guided model of an earlier version; train it again') from e

    def fit_power(self, members):
        """Power of the p-values of these members together; None for a model without them, or of an earlier version."""
        found = [self.belonging(name).power for name in members] if self.guides else []
        known = [Power(**power) for power in found if power is not None]
        return Power.least(known) if known and len(known) == len(found) else None

    def ask_all(self, particles, context):
        """{member: ImagePosterior}; None for a network that sees the pixels only."""
        if self.needs_ctf:
            return dict.fromkeys(self.members, self.ask(particles, context))
        return {name: self.ask(particles, context, name) for name in self.members} if self.guides else None

    def trained_on(self, who):
        """{member: bool [n]}: which of these particles (`identity.Who`, or names alone) each has seen."""
        return {m['name']: known(who, _read_ids(self.folder, m)) for m in self.card['members']}


def save_model(folder, card, generators, trained_on, about=None, kept=(), guides=None):
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


def amend_card(folder, **entries):
    """Add entries to the card of a model folder."""
    card, _ = read_card(folder)
    card |= entries
    check_card(card, folder)
    write_state(Path(folder) / CARD, card)


def _save(folder, member, kind, tensors):
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


def _save_guide(folder, member, guide):
    """The entry of a member's guide in the card, its bank written; empty without a guide."""
    if guide is None:
        return {}
    bank, digest = _save(folder, member, '.bank', guide.tensors())
    return {'guide': {'bank': bank, 'sha256': digest, 'bytes': (folder / bank).stat().st_size, **guide.description()}}


def _remove_stale(folder, members):
    keep = {m[k] for m in members for k in ('weights', 'ids')} | {m['guide']['bank'] for m in members if 'guide' in m}
    for path in folder.glob('*.safetensors'):
        if path.name not in keep:
            path.unlink()


def _load_member(folder, card, member):
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


def _load_guide(folder, card, entry, device):
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
    return MapPrior.load(tensors, entry, card['box'], device)


def _read_ids(folder, member):
    path = checked_file(folder / member['ids'], member['ids_sha256'], 8 * len(KINDS) * member['particles'])
    return read_hashes(path)
