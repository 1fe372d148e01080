"""What the images of a table hold of the CTF, in one place: from the table to the model card."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from .table import ParticleTable


class CtfState(str, Enum):
    """What images hold of the CTF; the values are the words of settings, tables and cards."""

    NONE = 'none'  # corrected, or never there
    FLIPPED = 'phase-flip'  # its absolute value
    FULL = 'full'  # as the microscope made it
    PREMULTIPLIED = 'premultiplied'  # multiplied by it once more: its square
    UNKNOWN = 'unknown'

    def __str__(self) -> str:
        return self.value


# RELION's columns, true where the images are so.
FLAGS = {'rlnCtfDataAreCtfPremultiplied': CtfState.PREMULTIPLIED, 'rlnCtfDataArePhaseFlipped': CtfState.FLIPPED}


def stated(table: ParticleTable) -> CtfState:
    """What a table says of its images: this program's own block first, then RELION's columns; else unknown."""
    word = table.provenance.get('ctf')
    if word is not None:
        if word not in {state.value for state in CtfState}:
            raise InputError(f'{table.path}: its images hold the CTF as {word!r}, which is none of {words()}')
        return CtfState(word)
    found = [state for label, state in FLAGS.items() if _flag(table, label)]
    if len(found) > 1:
        raise InputError(f'{table.path}: _{" and _".join(FLAGS)} cannot both be true')
    return found[0] if found else CtfState.UNKNOWN


def of_particles(table: ParticleTable) -> CtfState:
    """What particles hold: what their table says; where it says nothing, they are as the microscope made them."""
    state = stated(table)
    return CtfState.FULL if state is CtfState.UNKNOWN else state


def particles_shown_as(table: ParticleTable, references: CtfState | str) -> CtfState:
    """What particles hold, when references of such a state are known: a table that is silent is told by them."""
    state = stated(table)
    told = CtfState(references)
    if state is CtfState.UNKNOWN and told not in (CtfState.NONE, CtfState.UNKNOWN):
        return told
    return CtfState.FULL if state is CtfState.UNKNOWN else state


def require_known(table: ParticleTable, wanted_for: str) -> CtfState:
    """What references hold; InputError when their table does not say it and there is a CTF to be known.

    wanted_for: what cannot be done without it.
    """
    state = stated(table)
    if state is CtfState.UNKNOWN and table.has('rlnDefocusU'):
        raise InputError(
            f'{table.path} does not say what its images hold of the CTF, which {wanted_for} must know: make the '
            f'references with project, or add a block "data_cryoemgan" with the line "_cryoemganCtf STATE", where '
            f'STATE is one of {words(without_unknown=True)}'
        )
    return CtfState.NONE if state is CtfState.UNKNOWN else state


def words(without_unknown: bool = False) -> str:
    """The states, for messages."""
    return ', '.join(s.value for s in CtfState if not (without_unknown and s is CtfState.UNKNOWN))


def _flag(table: ParticleTable, label: str) -> bool:
    if not table.has(label):
        return False
    true = table.floats(label) != 0
    if true.any() != true.all():
        raise InputError(
            f'{table.path}: _{label} is true for {np.count_nonzero(true)} of {len(true)} particles: images of two '
            'kinds cannot be treated alike; take one optics group at a time'
        )
    return bool(true.all())
