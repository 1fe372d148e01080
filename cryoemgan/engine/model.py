"""A trained denoiser on disk: ``card.json`` and one safetensors file of weights a member.

Nothing in the folder is ever executed. The card names each weights file with its sha256, and is written
last and atomically: at any moment the folder is the old model or the new one. A model usually has one
member; cross-fitting makes several, each knowing which particles it was trained on.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import networks
from .card import CARD, FORMAT, STATEMENT, VERSION, check_card, read_card
from .errors import InputError
from .job import write_json

# Larger than any network here at its largest width; a forged file must not make us allocate more.
LARGEST_FILE = 8 * 2**30


class Model:
    """A denoiser, ready to use. Made by `Model.load`.

    card: what card.json says. members: {name: generator in eval mode}. digest: sha256 of the card, which
    holds those of the weights: it identifies the model.
    """

    def __init__(self, folder, card, members, digest, device):
        self.folder, self.card, self.members = Path(folder), card, members
        self.digest, self.device = digest, device

    @classmethod
    def load(cls, folder, device='cpu'):
        """Read a model folder; InputError for anything missing, damaged, unknown or unsafe."""
        folder, device = Path(folder), torch.device(device)
        card, digest = read_card(folder)
        members = {}
        for member in card['members']:
            members[member['name']] = _load_member(folder, card, member).to(device)
        return cls(folder, card, members, digest, device)

    @property
    def box(self):
        """Box the network was trained at, px."""
        return self.card['box']

    @property
    def pixel_size(self):
        """Pixel size it was trained at, A."""
        return self.card['pixel_size']

    def denoise(self, particles, member=None, precision='float32'):
        """Particles float32 [n, box, box] in their own grey values -> denoised float32 [n, box, box] in
        the same.

        member: its name; default the first. precision: float32, or bfloat16 (autocast). The result for an
        image does not depend on the others.
        """
        generator = self.members[member] if member else next(iter(self.members.values()))
        source, units, grey = self.card['input'], self.card['units'], self.card['grey']
        images = torch.from_numpy(np.ascontiguousarray(particles, np.float32))[:, None].to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=precision == 'bfloat16'),
        ):
            output = generator((images - source['mean']) / source['sd'])[:, 0].float()
        references = units['scale'] * output + units['offset']
        return (grey['gain'] * references + grey['offset']).cpu().numpy()

    def trained_on(self, names):
        """{member: bool [n]}: which of the particles with these names (`ParticleTable.names`) each has seen."""
        asked = name_hashes(names)
        return {m['name']: np.isin(asked, _read_ids(self.folder, m)) for m in self.card['members']}


def save_model(folder, card, generators, trained_names):
    """Write a model folder, or replace the model in one.

    card: the entries of `card.CARD` that describe the model; format, version, members, created, statement
    and licence are filled in here. generators: {member: networks.Pair.generator}. trained_names: {member:
    names of its training particles}. Gives the card as written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for name, generator in generators.items():
        tensors = {k: v.detach().cpu().contiguous() for k, v in generator.state_dict().items()}
        weights, digest = _save(folder, name, '', tensors)
        hashes = torch.from_numpy(np.unique(name_hashes(trained_names[name])))
        ids, ids_digest = _save(folder, name, '.ids', {'ids': hashes})
        members.append(
            dict(name=name, weights=weights, sha256=digest, ids=ids, ids_sha256=ids_digest,
            particles=len(hashes))
        )
    written = dict(format=FORMAT, version=VERSION, created=time.strftime('%Y-%m-%dT%H:%M:%S%z'), statement=STATEMENT)
    written |= {'licence': 'as the data it was trained on', **card, 'members': members}
    check_card(written, folder)
    write_json(folder / CARD, written)
    _remove_stale(folder, members)
    return written


def name_hashes(names):
    """int64 [n]: 64 bits of BLAKE2b of each name; for a million particles a collision has a chance of 3e-8."""
    return np.frombuffer(
        b''.join(hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names), dtype='<i8'
    ).copy()


def _save(folder, member, kind, tensors):
    """Write tensors as ``<member>-<digest>[.ids].safetensors``; (file name, sha256)."""
    partial = folder / f'{member}{kind}.safetensors.partial'
    try:
        save_file(tensors, partial)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        # The name changes with the content, so the card on disk never points to other weights than its own.
        name = f'{member}-{digest[:12]}{kind}.safetensors'
        os.replace(partial, folder / name)
    finally:
        partial.unlink(missing_ok=True)
    return name, digest


def _remove_stale(folder, members):
    keep = {m[k] for m in members for k in ('weights', 'ids')}
    for path in folder.glob('*.safetensors'):
        if path.name not in keep:
            path.unlink()


def _load_member(folder, card, member):
    """The generator of a member with its weights, in eval mode."""
    path = folder / member['weights']
    _check_file(path, member['sha256'])
    # On the meta device shapes cost nothing: a card that asks for absurd widths is refused before any
    # allocation.
    with torch.device('meta'):
        generator = networks.create(card['network']['name'], card['box'], **card['network']['options']).generator
    expected = generator.state_dict()
    with _opened(path) as file:
        found = {k: (tuple(file.get_slice(k).get_shape()), file.get_slice(k).get_dtype()) for k in
        file.keys()}  # noqa: SIM118 _compare_shapes(path, expected, found) tensors = {k:
        file.get_tensor(k) for k in found}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InputError(f'{path}: {key} holds NaN or infinite numbers; the training that wrote it had
            diverged')
    generator = generator.to_empty(device='cpu')
    generator.load_state_dict(tensors)
    return generator.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _compare_shapes(path, expected, found):
    names = {torch.float32: 'F32', torch.int64: 'I64'}
    wanted = {k: (tuple(v.shape), names[v.dtype]) for k, v in expected.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise InputError(
                f'{path}: {key} is {found.get(key, "missing")}, the network of the card needs '
                f'{wanted.get(key, "no such entry")}; card and weights do not belong together'
            )


def _read_ids(folder, member):
    path = folder / member['ids']
    _check_file(path, member['ids_sha256'])
    with _opened(path) as file:
        if list(file.keys()) != ['ids'] or file.get_slice('ids').get_dtype() != 'I64':
            raise InputError(f'{path}: does not hold the list of training particles')
        return file.get_tensor('ids').numpy()


def _check_file(path, digest):
    """InputError unless the file is there, is no pickle, is not absurdly large, and is the one the card means."""
    if not path.is_file():
        raise InputError(f'{path}: missing; copy the whole model folder again')
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f'{path}: {path.stat().st_size} bytes are too many for a model of this program')
    data = path.read_bytes()
    if data[:2] == b'PK' or data[:1] == b'\x80':
        raise InputError(f'{path}: this is a pickle, which can execute code; only safetensors files are read')
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f'{path}: damaged or exchanged (its sha256 is not the one in {CARD}); copy the
        model again')


def _opened(path):
    try:
        return safe_open(path, framework='pt')
    except SafetensorError as e:
        raise InputError(f'{path}: not a readable safetensors file ({e})') from e
