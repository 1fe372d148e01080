"""Which map each particle shows, in a table of particles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.table import ParticleTable
from ..shapes import Floats, Json

# The class of a refinement stays what it is. The probability of each class follows, its number at the end.
CLASS, PROBABILITY = 'cryoemganClass', 'cryoemganClassProbability'


def write_classes(output: ParticleTable, probabilities: Floats, classes: Sequence[int]) -> None:
    """Set the columns of a table: the most probable class, its probability, and that of each; float64 [n, K]."""
    if not len(classes):
        return
    best = probabilities.argmax(1)
    output.set(CLASS, np.asarray(classes)[best])
    output.set(PROBABILITY, probabilities[np.arange(len(best)), best])
    for number, values in zip(classes, probabilities.T):
        output.set(f'{PROBABILITY}{number}', values)


def counts(table: ParticleTable) -> Json | None:
    """Particles of each class in a table that was denoised, and the part of them whose class is expected to be right;
    None where the classes of its particles are not known."""
    if not table.has(CLASS):
        return None
    numbers, found = np.unique(table.ints(CLASS), return_counts=True)
    particles = {str(number): int(count) for number, count in zip(numbers, found)}
    return {'particles': particles, 'right': float(table.floats(PROBABILITY).mean())}


def words(found: Json) -> str:
    """A sentence on `counts`."""
    each = ', '.join(f'{count} of {number}' for number, count in found['particles'].items())
    return f'particles of each class (cryoemganClass): {each}; {found["right"]:.0%} of them should be in the right one'
