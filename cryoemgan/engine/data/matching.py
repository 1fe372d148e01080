"""Which particles two tables share: by identity, never by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..shapes import Flags, Rows
from .identity import name_hashes, stem, tail, who

if TYPE_CHECKING:
    from .table import ParticleTable

# Part of the pairs whose witnesses must agree: a few may have been picked anew or refined.
MOST = 0.9
# Relative difference by which a refinement changes a particle's defocus.
REFINED = 0.05
IDS = {'id': '_rlnImageId', 'uid': 'uid'}
BY_UID, BY_ID, PLACES = (('uid', 'uid'),), (('id', 'id'),), (('place', 'place'),)
NAMES = (('original', 'original'), ('name', 'original'), ('original', 'name'), ('name', 'name'))


def match(a: ParticleTable, b: ParticleTable) -> tuple[Rows, Rows]:
    """Rows of the particles that tables a and b share: (rows_a, rows_b), in a's order.

    By cryoSPARC's uid or _rlnImageId when both have it; otherwise by the name of the image or of the image it was made
    from, spelled with or without folders; otherwise by the place on the micrograph. What else the tables say of these
    particles must agree: equal names of other particles are no match. Rows that show one image several times are told
    apart by their angles, and equal ones by their order. InputError when they share none.
    """
    pairs, disagree = None, None
    for kinds, short in ((BY_UID, False), (BY_ID, False), (NAMES, False), (NAMES, True), (PLACES, False)):
        if pairs is None:
            pairs, other = _by_key(a, b, kinds, short)
            disagree = other or disagree
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


def _keys(table: ParticleTable, kind: str, short: bool) -> Rows | None:
    """Hashes of who the particles are, int64 [n]; None where the table does not say. short: names without folders."""
    names = who(table).places if kind == 'place' else table.identity(kind)
    return None if names is None else name_hashes(map(tail, names) if short else names)


def _by_key(
    a: ParticleTable, b: ParticleTable, kinds: Sequence[tuple[str, str]], short: bool
) -> tuple[Rows | None, str | None]:
    """(most pairs [k, 2] that one of the kinds gives and witnesses do not contradict or None, what they said)."""
    best, disagree = None, None
    for mine, theirs in kinds:
        of_a = _keys(a, mine, short)
        of_b = None if of_a is None else _keys(b, theirs, short)
        if of_a is None or of_b is None:
            continue
        pairs = _join(*_told_apart(a, b, of_a, of_b))
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


def _told_apart(a: ParticleTable, b: ParticleTable, keys_a: Rows, keys_b: Rows) -> tuple[Rows, Rows]:
    """Keys, those that stand several times in a table with what tells their rows apart."""
    counts = [np.unique(keys, return_counts=True) for keys in (keys_a, keys_b)]
    several = np.union1d(*(values[count > 1] for values, count in counts))
    if not len(several):
        return keys_a, keys_b
    often = [dict(zip(values[m].tolist(), count[m].tolist())) for values, count in counts
             for m in [np.isin(values, several)]]  # fmt: skip
    rows = [np.flatnonzero(np.isin(keys, several)) for keys in (keys_a, keys_b)]
    poses = [_poses(table, of) for table, of in zip((a, b), rows)]
    found = []
    for keys, of, pose in zip((keys_a, keys_b), rows, poses if None not in poses else (None, None)):
        seen: Counter[str] = Counter()
        names = []
        for place, key in enumerate(keys[of].tolist()):
            name = f'{key}|{pose[place]}' if pose is not None else str(key)
            seen[name] += 1
            # Without angles the order tells copies apart only where both tables have all of them.
            names.append(f'{name}|{seen[name]}' if pose is not None or often[0].get(key) == often[1].get(key) else name)
        keys = keys.copy()
        keys[of] = name_hashes(names)
        found.append(keys)
    return found[0], found[1]


def _poses(table: ParticleTable, rows: Rows) -> list[str] | None:
    angles = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')
    if not all(table.has(label) for label in angles):
        return None
    return ['|'.join(f'{v:.2f}' for v in row) for row in zip(*(table.floats(label)[rows] for label in angles))]


def _join(keys_a: Rows, keys_b: Rows) -> Rows:
    """int64 [k,2]: rows with equal keys, in a's order; those that stand twice in a table identify nothing and are left
    out."""
    once = []
    for keys in (keys_a, keys_b):
        values, first, count = np.unique(keys, return_index=True, return_counts=True)
        once.append((values[count == 1], first[count == 1]))
    _, in_a, in_b = np.intersect1d(once[0][0], once[1][0], assume_unique=True, return_indices=True)
    rows_a, rows_b = once[0][1][in_a], once[1][1][in_b]
    order = np.argsort(rows_a)
    return np.stack([rows_a[order], rows_b[order]], axis=1)


def _witnesses(a: ParticleTable, b: ParticleTable, pairs: Rows) -> tuple[Flags, str]:
    """(which pairs the first witness that both tables have confirms bool [k], its label)."""
    places = [label for label in ('rlnCoordinateX', 'rlnCoordinateY') if a.has(label) and b.has(label)]
    if places:
        close = [_close(a, b, pairs, label, rtol=1e-4, atol=0.5) for label in places]
        return np.logical_and.reduce(close), places[int(np.argmin([c.mean() for c in close]))]
    if a.has('rlnMicrographName') and b.has('rlnMicrographName'):
        stems = [name_hashes(map(stem, t.texts('rlnMicrographName'))) for t in (a, b)]
        same: Flags = stems[0][pairs[:, 0]] == stems[1][pairs[:, 1]]
        if np.mean(same) >= MOST or not a.has('rlnDefocusU') or not b.has('rlnDefocusU'):
            return same, 'rlnMicrographName'
    if a.has('rlnDefocusU') and b.has('rlnDefocusU'):
        return _close(a, b, pairs, 'rlnDefocusU', rtol=REFINED, atol=0.5), 'rlnDefocusU'
    return np.ones(len(pairs), bool), ''


def _close(a: ParticleTable, b: ParticleTable, pairs: Rows, label: str, rtol: float, atol: float) -> Flags:
    found: Flags = np.isclose(a.floats(label)[pairs[:, 0]], b.floats(label)[pairs[:, 1]], rtol=rtol, atol=atol)
    return found
