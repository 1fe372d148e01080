"""What the card of a model may say: every entry with its type and range, and the sizes that its files must have."""

from __future__ import annotations

from collections.abc import Mapping

from ..data.quantities import PIXEL
from ..errors import InputError
from ..imaging.rings import ring_index
from ..posterior.p_value import PARTS
from ..schema import Array, Flag, Maybe, Number, Record, Text, require
from ..settings.networks import LARGEST_BOX, NETWORKS, SMALLEST_BOX
from ..shapes import AnyPath, Json

# Grey values: what float32 images can hold with room for their squares.
LARGEST = 1e12
GREY, FACTOR = Number(-LARGEST, LARGEST), Number(-LARGEST, LARGEST, zero=False)
POSITIVE = Number(1e-12, LARGEST)
SHARE, COUNT = Number(0, 1), Number(0, 2**40, whole=True)
FILE = Text(
    pattern=r'[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors',
    hint='the name of a .safetensors file; pickles (.pt, .pkl, ...) can execute code and are not read',
)
DIGEST = Text(pattern='[0-9a-f]{64}', hint='a sha256')
# What images can hold of the CTF.
CTF = ('none', 'phase-flip', 'full', 'premultiplied')
# Centre and s.d.
SPREAD = Array(GREY, 2, 2)

BELONGING = Record(
    {'match': SPREAD, 'misfit': SPREAD, 'levels': Array(GREY, len(PARTS), len(PARTS)), 'tail': POSITIVE},
    {
        'particles': COUNT,
        'evidence': Maybe(SPREAD),
        'power': Maybe(Record({'other': SHARE, 'nothing': SHARE})),
        'flags': Maybe(Array(SHARE, 2, 2)),
    },
)
# How hard a guided network looks: beyond these a search takes hours a particle, or more memory than there is.
SEARCH = Record(
    optional={
        'functions': Number(1, 2000, whole=True),
        'refining': Number(1, 2000, whole=True),
        'turns': Number(1, 720, whole=True),
        'groups': Number(1, 100_000, whole=True),
        'candidates': Number(1, 4096, whole=True),
        'survivors': Number(1, 4096, whole=True),
        'temperature': Number(0.01, 1000),
        'contrast': Number(0, 10),
        'empty': Number(1e-6, 1 - 1e-6),
        'spread': Number(1e-6, 1e6),
    }
)
OPTIONS = Record(
    optional={
        'ctf': Text(CTF),
        'shift_range': Number(0, 64),
        'shift_sd': Number(0, 1000),
        'pose_prior': Maybe(Number(0.1, 180)),
    }
)
GUIDE = Record(
    {
        'bank': FILE,
        'sha256': DIGEST,
        'bytes': Number(0, 2**38, whole=True),
        'gain': FACTOR,
        'search': SEARCH,
        'options': OPTIONS,
        'threshold': Record({'evidence': GREY}, {'belonging': Maybe(BELONGING)}),
    },
    {
        'templates': Number(1, 10**7, whole=True),
        'functions': Number(1, 2000, whole=True),
        'classes': Array(Number(0, 10**9, whole=True), 1, 1000),
    },
)
MEMBER = Record(
    {
        'name': Text(pattern=r'[A-Za-z0-9_][A-Za-z0-9_.-]*', hint='a plain name', longest=100),
        'weights': FILE,
        'sha256': DIGEST,
        'ids': FILE,
        'ids_sha256': DIGEST,
        'particles': COUNT,
    },
    {'guide': GUIDE, 'metrics': Record()},
)
NOISE_IN = Record(
    optional={
        'thresholds': Record(others=GREY),
        'belonging': Record(others=BELONGING),
        'energy': Number(0, LARGEST),
        'false_acceptance': SHARE,
        'images': COUNT,
    }
)
# Grey values: particle = gain * reference + offset of ``grey``, reference = scale * network unit + offset of
# ``units``; the network sees (particle - mean) / sd of ``input``. ``ctf``: what is in the references, hence the output.
CARD = Record(
    {
        'format': Text(),
        'version': Number(1, 1000, whole=True),
        'network': Record({'name': Text(NETWORKS), 'options': Record()}),
        'box': Number(SMALLEST_BOX, LARGEST_BOX, whole=True),
        'pixel_size': Number(0.01, 10 * PIXEL.high),
        'ctf': Text((*CTF, 'unknown')),
        'input': Record({'mean': GREY, 'sd': POSITIVE}),
        'grey': Record({'gain': FACTOR, 'offset': GREY}),
        'units': Record({'scale': FACTOR, 'offset': GREY}),
        'members': Array(MEMBER, 1, 256),
        'settings': Record(),
        'data': Record(),
        'metrics': Record(),
        'versions': Record(),
        'licence': Text(),
        'statement': Text(),
    },
    {
        'created': Text(),
        'target': Text(('references', 'self', 'copies')),
        'cross_fit': Record(optional={'mode': Text(longest=100), 'own_half_map': Flag()}),
        'whitening': Record({'gains': Array(Number(1e-6, 1e6), 1, LARGEST_BOX)}),
        'resolution': Record(optional={'cut': Maybe(Number(0, 1e4)), 'frc_limit': SHARE}),
        'uncertainty': Record(optional={'scale': Number(0, 1e6), 'floor': Number(0, LARGEST)}),
        'shown': Maybe(
            Record({'variance': Number(0, LARGEST), 'error': Number(0, LARGEST)}, {'best_at': Maybe(Number(0, 1))})
        ),
        'noise_in': NOISE_IN,
        # Of all fold models together.
        'joint': Maybe(
            Record(
                {
                    'search': SEARCH,
                    'gain': SHARE,
                    'evidence': GREY,
                    'belonging': BELONGING,
                    'uncertainty': Record({'scale': Number(0, 1e6), 'floor': Number(0, LARGEST)}),
                }
            )
        ),
    },
)


# Tensors of the file of a template library.
LIBRARY = ('coefficients', 'profiles', 'order', 'matrices', 'source', 'background', 'spectrum')


def check_entries(card: Json, path: AnyPath) -> None:
    """InputError unless every entry has its type, is in range, and fits the others."""
    require(CARD, card, path)
    if card['box'] % 2:
        raise InputError(f'{path}: box = {card["box"]} is out of range: networks take even boxes')
    members = card['members']
    if len({'guide' in m for m in members}) > 1:
        raise InputError(
            f'{path}: some fold models have a map prior and others do not; copy the whole model folder again'
        )
    if len({m['name'] for m in members}) < len(members):
        raise InputError(f'{path}: two fold models have the same name')
    if 'guide' in members[0] and card['network']['name'] != 'guided':
        raise InputError(
            f'{path}: the fold models have a map prior, but network.name = {card["network"]["name"]!r} uses none'
        )
    if 'whitening' in card:
        rings = int(ring_index(card['box']).max()) + 1
        if len(card['whitening']['gains']) != rings:
            found = len(card['whitening']['gains'])
            raise InputError(f'{path}: whitening.gains has {found} entries, images of {card["box"]} px need {rings}')


def check_library(path: AnyPath, shapes: Mapping[str, tuple[tuple[int, ...], str]], guide: Json, box: int) -> None:
    """InputError unless the tensors of a template library have the sizes that its card and box need.

    shapes: {name: (shape, type)} of the file, before anything of it is read.
    """
    radius = box // 2 - 1
    count, functions = (shapes.get('coefficients', ((0, 0), ''))[0] + (0, 0))[:2]
    wanted = {
        'coefficients': ((count, functions, 2), 'F32'),
        # Profiles are known every quarter of a ring.
        'profiles': ((functions, 4 * radius + 1), 'F32'),
        'order': ((functions,), 'I64'),
        'matrices': ((count, 3, 3), 'F32'),
        'source': ((count,), 'I64'),
        'background': ((1,), 'F32'),
        'spectrum': ((radius + 1,), 'F32'),
    }
    for key, expected in wanted.items():
        if shapes.get(key) != expected:
            raise InputError(f'{path}: {key} is {shapes.get(key, "missing")}, the card and a box of {box} px need '
                             f'{expected}; copy the model folder again')  # fmt: skip
    for key, found in (('templates', count), ('functions', functions)):
        if found < 1 or found > 10**7 or guide.get(key, found) != found:
            raise InputError(
                f'{path}: {found} {key}, the card says {guide.get(key, "more")}; copy the model folder again'
            )
