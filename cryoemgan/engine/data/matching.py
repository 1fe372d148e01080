"""Which particles two tables share: by identity, never by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..shapes import Flags, Rows
from .identity import stem, tail, who

if TYPE_CHECKING:
    from .table import ParticleTable

# Part of the pairs whose witnesses must agree: a few may have been picked anew or refined.
MOST = 0.9
# Relative difference by which a refinement changes a particle's defocus.
REFINED = 0.05
IDS = {'id': '_rlnImageId', 'uid': 'uid'}
NAMES = (('original', 'original'), ('name', 'original'), ('original', 'name'), ('name', 'name'))


def match(a: ParticleTable, b: ParticleTable) -> tuple[Rows, Rows]:
    """Rows of the particles that tables a and b share: (rows_a, rows_b), in a's order.

    By cryoSPARC's uid or _rlnImageId when both have it; otherwise by the name of the image or of the image it was made
    from, spelled with or without folders; otherwise by the place on the micrograph. What else the tables say of these
    particles must agree: equal names of other particles are no match. Rows that show one image several times are told
    apart by their angles, and equal ones by their order. InputError when they share none.
    """
    of_a, of_b = a.identities(), b.identities()
    pairs, disagree = _by_key(a, b, of_a, of_b, [('uid', 'uid')])
    if pairs is None:
        pairs, disagree = _by_key(a, b, of_a, of_b, [('id', 'id')])
    if pairs is None:
        pairs, other = _by_key(a, b, of_a, of_b, NAMES)
        disagree = other or disagree
    if pairs is None:
        pairs, other = _by_key(a, b, _without_folders(of_a), _without_folders(of_b), NAMES)
        disagree = other or disagree
    if pairs is None:
        pairs, _ = _by_key(a, b, _places(a), _places(b), [('place', 'place')])
    if pairs is None:
        raise InputError(
            f'{a.path} and {b.path} share no particle '
            f'({disagree or "neither _rlnImageId nor image names agree"}); '
            'take references that were projected from these particles'
        )
    return pairs[:, 0], pairs[:, 1]


def rows_of_all(particles: ParticleTable, source: ParticleTable) -> Rows:
    """Row in the source of every particle; InputError when one is not there."""
    rows, found = match(particles, source)
    if len(rows) < len(particles):
        missing = np.setdiff1d(np.arange(len(particles)), rows)
        raise InputError(
            f'{particles.describe(missing[0])} is not in {source.path} ({len(missing)} of {len(particles)} particles '
            'are not): give the set that was denoised as --source'
        )
    return found


def _without_folders(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {kind: [tail(name) for name in of] for kind, of in names.items()}


def _places(table: ParticleTable) -> dict[str, list[str]]:
    found = who(table).places
    return {} if found is None else {'place': found}


def _by_key(
    a: ParticleTable,
    b: ParticleTable,
    of_a: dict[str, list[str]],
    of_b: dict[str, list[str]],
    kinds: Sequence[tuple[str, str]],
) -> tuple[Rows | None, str | None]:
    """(most pairs [k, 2] that one of the kinds gives and witnesses do not contradict or None, what they said)."""
    best, disagree = None, None
    for mine, theirs in kinds:
        if mine not in of_a or theirs not in of_b:
            continue
        pairs = _join(*_told_apart(a, b, of_a[mine], of_b[theirs]))
        if not len(pairs):
            continue
        agree, label = _witnesses(a, b, pairs)
        if agree.mean() < MOST:
            # Every Scipion set counts its particles from 1, every job its images.
            disagree = f'particles with equal {IDS.get(mine, "names")} differ in _{label}'
            continue
        pairs = pairs[agree]
        if best is None or len(pairs) > len(best):
            best = pairs
    return best, disagree


def _told_apart(
    a: ParticleTable, b: ParticleTable, names_a: list[str], names_b: list[str]
) -> tuple[list[str], list[str]]:
    """Names, those that stand several times in a table with what tells their rows apart."""
    counts = Counter(names_a), Counter(names_b)
    several = {n for count in counts for n, k in count.items() if k > 1}
    if not several:
        return names_a, names_b
    poses = [_poses(t) for t in (a, b)]
    found = []
    for names, pose in zip((names_a, names_b), poses if None not in poses else (None, None)):
        seen: Counter[str] = Counter()
        keys = []
        for row, name in enumerate(names):
            key = name
            if name in several:
                key = f'{name}|{pose[row]}' if pose is not None else name
                seen[key] += 1
                # Without angles the order tells copies apart only where both tables have all of them.
                if pose is not None or counts[0][name] == counts[1][name]:
                    key = f'{key}|{seen[key]}'
            keys.append(key)
        found.append(keys)
    return found[0], found[1]


def _poses(table: ParticleTable) -> list[str] | None:
    angles = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')
    if not all(table.has(label) for label in angles):
        return None
    return ['|'.join(f'{v:.2f}' for v in row) for row in zip(*(table.floats(label) for label in angles))]


def _join(names_a: list[str], names_b: list[str]) -> Rows:
    """int64 [k,2]: rows with equal names; names that stand twice in a table identify nothing and are left out."""
    once_a, once_b = (Counter(n) for n in (names_a, names_b))
    where = {name: row for row, name in enumerate(names_b) if once_b[name] == 1}
    rows = [(row, where[n]) for row, n in enumerate(names_a) if n in where and once_a[n] == 1]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _witnesses(a: ParticleTable, b: ParticleTable, pairs: Rows) -> tuple[Flags, str]:
    """(which pairs the first witness that both tables have confirms bool [k], its label)."""
    places = [label for label in ('rlnCoordinateX', 'rlnCoordinateY') if a.has(label) and b.has(label)]
    if places:
        close = [_close(a, b, pairs, label, rtol=1e-4, atol=0.5) for label in places]
        return np.logical_and.reduce(close), places[int(np.argmin([c.mean() for c in close]))]
    if a.has('rlnMicrographName') and b.has('rlnMicrographName'):
        names = [t.strings('rlnMicrographName') for t in (a, b)]
        same = [stem(names[0][i]) == stem(names[1][j]) for i, j in pairs]
        if np.mean(same) >= MOST or not a.has('rlnDefocusU') or not b.has('rlnDefocusU'):
            return np.array(same), 'rlnMicrographName'
    if a.has('rlnDefocusU') and b.has('rlnDefocusU'):
        return _close(a, b, pairs, 'rlnDefocusU', rtol=REFINED, atol=0.5), 'rlnDefocusU'
    return np.ones(len(pairs), bool), ''


def _close(a: ParticleTable, b: ParticleTable, pairs: Rows, label: str, rtol: float, atol: float) -> Flags:
    found: Flags = np.isclose(a.floats(label)[pairs[:, 0]], b.floats(label)[pairs[:, 1]], rtol=rtol, atol=atol)
    return found
