"""What an audit needs, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.table import ParticleTable
from ..inference.boxes import Boxes
from ..inference.model import Model
from ..inference.routing import Routing
from ..shapes import Rows
from .empty_particles import EmptyParticles
from .second_opinion import SecondModel


@dataclass
class AuditInputs:
    """Checked input: both tables, rows of the sample in each, model, routing of all particles."""

    particles: ParticleTable
    references: ParticleTable
    rows: Rows
    reference_rows: Rows
    model: Model
    plan: Boxes
    routing: Routing
    cut: float | None
    second: SecondModel | None
    empties: EmptyParticles | None
