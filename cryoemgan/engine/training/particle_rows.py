"""What all training pairs answer of their particles, whatever stands beside these."""

from __future__ import annotations

from functools import cached_property

from ..data.identity import Kin, Who, kin, who
from ..data.table import ParticleTable
from ..imaging.ctf_table import CtfPlanes
from ..shapes import Rows


class ParticleRows:
    """Rows of a table of particles, in the order of the pairs; box (px) and pixel_size (A) of the network."""

    particles: ParticleTable
    rows: Rows
    box: int
    pixel_size: float
    _planes: CtfPlanes | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def show_ctf(self) -> None:
        """From now on the network sees each particle's CTF plane in a second channel."""
        self._planes = CtfPlanes(self.box, self.pixel_size, self.particles.ctf())

    @property
    def shows_ctf(self) -> bool:
        """Whether it does."""
        return self._planes is not None

    def half_sets(self) -> Rows | None:
        """[len] (1 or 2) of the particles, or None when a refinement left none."""
        halves = self.particles.half_sets()
        return None if halves is None else halves[self.rows]

    def who(self, positions: Rows) -> Who:
        """Who the particles at these positions are."""
        return self._who.at(self.rows[positions])

    @cached_property
    def _who(self) -> Who:
        return who(self.particles)

    def names(self, positions: Rows) -> list[str]:
        """Their names."""
        return list(self.who(positions).names)

    def references_at(self, positions: Rows) -> ParticleTable | None:
        """None: there are no references (`TrainingPairs.references_at`)."""
        return None

    def known(self, positions: Rows) -> float:
        """0: nothing (`TrainingPairs.known`)."""
        return 0.0

    def kin(self) -> Kin:
        """What of the pairs belongs on one side of a split."""
        found = kin(self.particles)
        return Kin(found.group[self.rows], found.copies, found.filaments)
