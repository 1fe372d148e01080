"""The card of a model: what it is, how it was made, what it may be used for; checked before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import InputError
from ..files import matches_checksum
from ..shapes import AnyPath, Json
from .card_schema import check_entries

CARD = 'card.json'
FORMAT, VERSION = 'cryoemgan-model', 1
STATEMENT = 'for viewing, sorting and clustering; not for the final refinement'
GUIDED_STATEMENT = (
    f"{STATEMENT}. A guided network draws the map's projections, also where a particle does not support "
    'them; leave out particles of low cryoemganFit'
)
LEARNED_STATEMENT = (
    f'{STATEMENT}. It draws what particles have in common with others of the set, also where a particle does not '
    'support it; leave out particles of low cryoemganFit'
)
ASSUMPTIONS = {
    'self': 'assumes that after whitening the noise of a pixel is independent of that of all other pixels and of the '
    'signal, and Gaussian if it learnt by recorruption; the CTF stays in the images',
    'copies': 'assumes that the noise of the two copies is independent, and their signal the same; the CTF stays in '
    'the images',
}
LARGEST_CARD = 16 * 2**20


def read_card(folder: AnyPath) -> tuple[Json, str]:
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
    if not matches_checksum(card):
        raise InputError(f'{path}: damaged, or changed by hand (its checksum is another); copy the model folder again')
    return card, hashlib.sha256(data).hexdigest()


def check_card(card: Json, folder: AnyPath) -> None:
    """InputError unless the card is complete, of known version and in range."""
    path = Path(folder) / CARD
    if not isinstance(card, dict) or card.get('format') != FORMAT:
        raise InputError(f'{path}: not the card of a {FORMAT}')
    if card.get('version') != VERSION:
        raise InputError(
            f'{path}: format version {card.get("version")!r}; this program reads {VERSION}. '
            'Use the version of the plugin that wrote it, or a newer one'
        )
    check_entries(card, path)


def statement_of(card: Json) -> str:
    """What the output of the model of a card may be used for."""
    guided = any('guide' in m for m in card['members'])
    if card.get('target') in ASSUMPTIONS:
        first = LEARNED_STATEMENT if guided else STATEMENT
        return f'{first}. Trained without references: {ASSUMPTIONS[card["target"]]}'
    return GUIDED_STATEMENT if guided else STATEMENT
