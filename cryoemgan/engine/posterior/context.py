"""What is known of particles beside their pixels."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.image_state import CtfState
from ..data.table import ParticleTable
from ..shapes import CtfParameters, Matrices, Rows, Shifts


@dataclass
class Context:
    """What is known of particles beside their pixels; arrays have a row a particle.

    ctf: as ParticleTable.ctf() gives it, or None; pixel_size: A; matrices float[n, 3, 3] and shifts float[n, 2] (px
    of these images), or None. held: what the particles hold of the CTF; unknown = as the references.
    """

    pixel_size: float
    ctf: CtfParameters | None = None
    matrices: Matrices | None = None
    shifts: Shifts | None = None
    held: CtfState = CtfState.UNKNOWN

    @classmethod
    def of(cls, table: ParticleTable, rows: Rows | slice, box: int) -> Context:
        """Context of rows of a table for images resampled to ``box``."""
        ctf = {k: v[rows] for k, v in table.ctf().items()} if table.has('rlnDefocusU') else None
        posed = table.has('rlnAngleRot')
        shifts = table.shifts()[rows] * box / table.box if posed else None
        return cls(
            table.pixel_size * table.box / box, ctf, table.rotations()[rows] if posed else None, shifts, table.ctf_state
        )

    def part(self, rows: Rows | slice) -> Context:
        """Context of some of the particles."""
        matrices, shifts = (None if v is None else v[rows] for v in (self.matrices, self.shifts))
        ctf = self.ctf and {k: v[rows] for k, v in self.ctf.items()}
        return Context(self.pixel_size, ctf, matrices, shifts, self.held)
