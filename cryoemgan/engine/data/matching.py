"""Which particles two tables share: by identity, never by position."""

from collections import Counter

import numpy as np

from ..errors import InputError


def match(a, b):
    """Rows of the particles that tables a and b share: (rows_a, rows_b), in a's order.

    By _rlnImageId when both have it and what else they say of these particles agrees; otherwise by the name of the
    image or of the image it was made from. InputError when they share none.
    """
    of_a, of_b = a.identities(), b.identities()
    best, disagree = None, None
    for kinds in (
        ('id', 'id'),
        ('original', 'original'),
        ('name', 'original'),
        ('original', 'name'),
        ('name', 'name'),
    ):
        if kinds[0] not in of_a or kinds[1] not in of_b:
            continue
        pairs = _join(of_a[kinds[0]], of_b[kinds[1]])
        if kinds[0] == 'id' and len(pairs):
            # Every Scipion set counts its particles from 1: equal ids of unrelated sets mean nothing.
            disagree = _disagreement(a, b, pairs)
            if disagree:
                continue
        if len(pairs) and (best is None or len(pairs) > len(best)):
            best = pairs
            if kinds[0] == 'id':
                break
    if best is None:
        raise InputError(
            f'{a.path} and {b.path} share no particle '
            f'({disagree or "neither _rlnImageId nor image names agree"}); '
            'take references that were projected from these particles'
        )
    return best[:, 0], best[:, 1]


def _join(names_a, names_b):
    """int64 [k,2]: rows with equal names; names that stand twice in a table identify nothing and are left out."""
    once_a, once_b = (Counter(n) for n in (names_a, names_b))
    where = {name: row for row, name in enumerate(names_b) if once_b[name] == 1}
    rows = [(row, where[n]) for row, n in enumerate(names_a) if n in where and once_a[n] == 1]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _disagreement(a, b, pairs):
    """What speaks against two tables holding the same particles, or None: their coordinates and defocus."""
    for label in ('rlnCoordinateX', 'rlnCoordinateY', 'rlnDefocusU'):
        if a.has(label) and b.has(label):
            same = np.isclose(a.floats(label)[pairs[:, 0]], b.floats(label)[pairs[:, 1]], rtol=1e-4, atol=0.5)
            if same.mean() < 0.9:
                return f'particles with equal _rlnImageId differ in _{label}'
    return None
