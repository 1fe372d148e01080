"""What the pose fits of a run say, and which particles show their map."""

from __future__ import annotations

from ...data.scores import BY_NAME, REASON
from ...data.table import ParticleTable
from ...job import Job
from ...shapes import Flags, Floats
from ...trust import pose_fit
from .comparison import Sample


def judge(
    job: Job, references: ParticleTable, numbers: Floats, model: pose_fit.PairModel, sample: Sample, belong: bool
) -> tuple[str, Flags | None]:
    """(What the pose fits say, bool [n] of the particles that hold their reference; None where that cannot be told).

    belong: whether particles and references belong together, as far as is known. The fits are written into the table
    where they say anything."""
    label, found = BY_NAME['pose_fit'].label, pose_fit.pose_fit(numbers)
    if found is None:
        return f'fewer than {pose_fit.FEWEST} particles: too few to know what right ones are like', None
    power = model.power_against_nothing(sample.references, found.shortage)
    if power < pose_fit.LEAST_POWER:
        why = (
            'the particles are too noisy to tell which of them show the map'
            if belong
            else 'particles and references do not belong together as they are (see above)'
        )
        said = f'{why}: of images of noise only {power:.0%} would be flagged. {label} is therefore not written'
        job.say(said)
        return said, None
    references.set(label, found.p_values)
    references.set(REASON, found.reasons)
    said = pose_fit.words(found)
    job.say(said)
    return said, found.holding
