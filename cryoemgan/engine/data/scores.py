"""What is known of single particles that they can be sorted by: columns of a table, and which end of each is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..shapes import Floats

if TYPE_CHECKING:
    from .table import ParticleTable


@dataclass(frozen=True)
class Score:
    """A column by which particles are sorted.

    Attributes
    ----------
    name : as the command line says it.
    label : column of the table.
    title : for pictures and forms; ``axis``: what its numbers are, with the unit.
    low_is_bad : whether particles with low values are those to leave out.
    p_value : whether it is the part of good particles that are worse still.
    """

    name: str
    label: str
    title: str
    axis: str
    low_is_bad: bool
    p_value: bool = False

    def badness(self, values: Floats) -> Floats:
        """Values float64 [n], turned so that high ones are bad."""
        return -values if self.low_is_bad else values


# In the order in which one is proposed, the best first: docs/sorting.rst.
SCORES = (
    Score(
        'pose_fit',
        'cryoemganPoseFit',
        'Pose fit',
        'fraction of good particles that fit no better',
        True,
        p_value=True,
    ),
    Score(
        'fit',
        'cryoemganFit',
        'Fit to the map',
        "fraction of the map's own particles that fit no better",
        True,
        p_value=True,
    ),
    Score(
        'evidence', 'cryoemganEvidence', 'Evidence', 'log Bayes factor: projection of the map against empty image', True
    ),
    Score('correlation', 'cryoemganCorrelation', 'Correlation', 'correlation of particle and reference', True),
    Score('uncertainty', 'cryoemganUncertainty', 'Uncertainty', 'expected error (s.d. of the denoised image)', False),
    Score(
        'pose_disagreement',
        'cryoemganPoseDisagreement',
        'Pose disagreement',
        'angle between the pose found and that of the refinement (degrees)',
        False,
    ),
    Score(
        'other_state',
        'cryoemganStateScore',
        'Another state',
        'probability that the particle shows another state than the map',
        False,
    ),
)
# Column that says what is wrong with particles whose pose fit is low.
REASON = 'cryoemganReason'
BY_NAME = {score.name: score for score in SCORES}


def scores_of(table: ParticleTable) -> list[Score]:
    """The scores that a ParticleTable has, in their order."""
    return [score for score in SCORES if table.has(score.label)]
