"""The card of a model: what it is, how it was made, what it may be used for; checked before anything is loaded."""

import hashlib
import json
import math
import re
from pathlib import Path

from ..errors import InputError
from ..settings.networks import LARGEST_BOX, NETWORKS, SMALLEST_BOX

CARD = 'card.json'
FORMAT, VERSION = 'cryoemgan-model', 1
STATEMENT = 'for viewing, sorting and clustering; not for the final refinement'
GUIDED_STATEMENT = (
    f"{STATEMENT}. A guided network draws the map's projections, also where a particle does not support "
    'them; leave out particles of low cryoemganFit'
)
ASSUMPTIONS = {
    'self': 'assumes that after whitening the noise of a pixel is independent of that of all other pixels and of the '
    'signal; the CTF stays in the images',
    'copies': 'assumes that the noise of the two copies is independent, and their signal the same; the CTF stays in '
    'the images',
}
LARGEST_CARD = 16 * 2**20

# Entry: type, and what it says. Grey values: particle = gain * reference + offset of ``grey``, reference =
# scale * network unit + offset of ``units``; the network sees (particle - mean) / sd of ``input``.
ENTRIES = {
    'format': (str, 'name of this format'),
    'version': (int, 'its version'),
    'network': (dict, 'name and options of the network'),
    'box': (int, 'px'),
    'pixel_size': (float, 'A'),
    'ctf': (str, 'CTF in the references, hence in the output: none, phase-flip, full or unknown'),
    'input': (dict, 'mean and sd of the training particles'),
    'grey': (dict, 'gain and offset from reference to particle grey'),
    'units': (dict, 'scale and offset from network unit to reference grey'),
    'members': (list, 'name, weights and ids files with sha256, number of training particles'),
    'settings': (dict, 'what train was run with'),
    'data': (dict, 'digests of tables, stacks and map'),
    'metrics': (dict, 'validation score of these weights'),
    'versions': (dict, 'of this program and its libraries'),
    'licence': (str, 'of the weights'),
    'statement': (str, 'what the output may be used for'),
}
GREY = {'input': ('mean', 'sd'), 'grey': ('gain', 'offset'), 'units': ('scale', 'offset')}
GUIDE = {'bank': str, 'sha256': str, 'bytes': int, 'gain': float, 'search': dict, 'options': dict, 'threshold': dict}
MEMBER = {'name': str, 'weights': str, 'sha256': str, 'ids': str, 'ids_sha256': str, 'particles': int}
FILE_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors')


def read_card(folder):
    """(card, sha256 of the file) of a model folder; InputError says what is wrong with it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f'{folder}: a model is a folder written by train, not a file. Weights of other programs '
            '(.pt, .pth, .ckpt, .pkl) are pickles, which can execute code, and are not read'
        )
    path = folder / CARD
    if not path.is_file():
        raise InputError(f'{folder}: no {CARD} in it; give the model folder that train wrote (OUTPUT/model)')
    if path.stat().st_size > LARGEST_CARD:
        raise InputError(f'{path}: {path.stat().st_size} bytes are too many for a model card')
    data = path.read_bytes()
    try:
        card = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise InputError(f'{path}: not valid JSON ({e})') from e
    check_card(card, folder)
    return card, hashlib.sha256(data).hexdigest()


def check_card(card, folder):
    """InputError unless the card is complete, of known version and in range."""
    path = Path(folder) / CARD
    if not isinstance(card, dict) or card.get('format') != FORMAT:
        raise InputError(f'{path}: not the card of a {FORMAT}')
    if card.get('version') != VERSION:
        raise InputError(
            f'{path}: format version {card.get("version")!r}; this program reads {VERSION}. '
            'Use the version of the plugin that wrote it, or a newer one'
        )
    for key, (kind, _) in ENTRIES.items():
        _typed(path, card, key, kind)
    _check_values(path, card)
    _check_members(path, card['members'])


def _check_values(path, card):
    for key, numbers in GREY.items():
        for number in numbers:
            _typed(path, card[key], number, float, f'{key}.')
    _typed(path, card['network'], 'name', str, 'network.')
    _typed(path, card['network'], 'options', dict, 'network.')
    if card['network']['name'] not in NETWORKS:
        known = ', '.join(NETWORKS)
        raise InputError(f'{path}: unknown network {card["network"]["name"]!r} (known: {known})')
    for what, bad in (
        ('box', card['box'] % 2 or not SMALLEST_BOX <= card['box'] <= LARGEST_BOX),
        ('pixel_size', not 0.01 <= card['pixel_size'] <= 1000),
        ('input', card['input']['sd'] <= 0),
        ('ctf', card['ctf'] not in ('none', 'phase-flip', 'full', 'unknown')),
        ('members', not card['members']),
    ):
        if bad:
            raise InputError(f'{path}: {what} = {card[what]!r} is out of range')


def _check_guide(path, guide):
    if not isinstance(guide, dict):
        raise InputError(f'{path}: guide must be an object')
    for key, kind in GUIDE.items():
        _typed(path, guide, key, kind, 'guide.')
    if not FILE_NAME.fullmatch(guide['bank']):
        raise InputError(f'{path}: guide.bank = {guide["bank"]!r} is not the name of a .safetensors file')


def statement_of(card):
    """What the output of the model of a card may be used for."""
    if card.get('target') in ASSUMPTIONS:
        return f'{STATEMENT}. Trained without references: {ASSUMPTIONS[card["target"]]}'
    return GUIDED_STATEMENT if any('guide' in m for m in card['members']) else STATEMENT


def _check_members(path, members):
    for member in members:
        if not isinstance(member, dict):
            raise InputError(f'{path}: members must be objects, found {member!r}')
        for key, kind in MEMBER.items():
            _typed(path, member, key, kind, 'members.')
        for key in ('weights', 'ids'):
            # A plain name in this folder: no path that leads elsewhere, and nothing but safetensors.
            if not FILE_NAME.fullmatch(member[key]):
                raise InputError(
                    f'{path}: {key} = {member[key]!r} is not the name of a .safetensors file; pickles '
                    '(.pt, .pkl, ...) can execute code and are not read'
                )
        if 'guide' in member:
            _check_guide(path, member['guide'])
    if len({'guide' in m for m in members}) > 1:
        raise InputError(f'{path}: some members have a guide and others not; copy the whole model folder again')
    if len({m['name'] for m in members}) < len(members):
        raise InputError(f'{path}: two members of one name')


def _typed(path, where, key, kind, prefix=''):
    if key not in where:
        raise InputError(f'{path}: {prefix}{key} is missing')
    value = where[key]
    fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not fits:
        raise InputError(f'{path}: {prefix}{key} must be {kind.__name__}, found {value!r}')
    if kind is float and not math.isfinite(value):
        raise InputError(f'{path}: {prefix}{key} = {value} is not a finite number')
