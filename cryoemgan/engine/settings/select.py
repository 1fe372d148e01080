"""Parameters of ``select``."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from ..errors import InputError
from .base import Settings, flag, option
from .reading import Reading

PROPOSED = 'proposed'
LIMITS = 'Limits (if none is given: the proposed limit of the first of these scores that the particles have)'
HOW = f'Give a number, the fraction to reject (such as 10%), or "{PROPOSED}".'
# Fields that are limits, in the order in which one is proposed.
NAMES = ('pose_fit', 'fit', 'evidence', 'correlation', 'uncertainty', 'pose_disagreement', 'other_state')


@dataclass
class Select(Reading, Settings):
    """Sort particles by their scores: the original particles that are kept, and those that are not."""

    GROUP: ClassVar[str] = 'What to write'

    particles: str = option(
        None,
        'Particles with scores (STAR): the output of denoise, or any subset of it.',
        required=True,
        path=True,
        label='Particles with scores',
    )
    source: str | None = option(
        None,
        'The original particles (STAR): those that were denoised, or any set that contains them. Left open: the '
        'particles with scores are themselves the originals.',
        path=True,
        label='Original particles',
    )
    scores: list[str] = option(
        [],
        'A further table with scores of these particles, such as the references of project with their '
        'correlations. Matched by identity.',
        path=True,
        label='Further scores',
    )
    pose_fit: str | None = option(
        None,
        'Reject particles whose pose fit is below this (written by project, needs no network): a limit of 0.05 costs '
        f'about 5 in 100 good particles. Empty images, other molecules, wrong angles, crowded boxes. {HOW}',
        group=LIMITS,
        label='Pose fit, at least',
    )
    fit: str | None = option(
        None,
        'Reject particles whose fit to the map is below this (guided by the map only): a limit of 0.05 costs about '
        f'5 in 100 good particles. {HOW}',
        group=LIMITS,
        label='Fit, at least',
    )
    evidence: str | None = option(
        None,
        'Reject particles whose evidence is below this (guided by the map only): the logarithm of how much better a '
        f'projection of the map explains the image than pure noise does. Rejects empty images. {HOW}',
        group=LIMITS,
        label='Evidence, at least',
    )
    correlation: str | None = option(
        None,
        f'Reject particles whose correlation with their reference is below this. {HOW}',
        group=LIMITS,
        label='Correlation, at least',
    )
    uncertainty: str | None = option(
        None,
        f'Reject particles whose expected error is above this, in standard deviations of the denoised image. {HOW}',
        group=LIMITS,
        label='Uncertainty, at most',
    )
    pose_disagreement: str | None = option(
        None,
        'Reject particles for which the network and the refinement disagree about the pose by more than this angle '
        f'(guided by the map only). {HOW}',
        unit='degrees',
        group=LIMITS,
        label='Pose disagreement, at most',
    )
    other_state: str | None = option(
        None,
        'Reject particles that show another state than the map with more than this probability (written by project '
        f'where it found one): 0.5 parts the two states; the rejected ones are the other state. {HOW}',
        group=LIMITS,
        label='Another state, at most',
    )
    denoised: bool = option(
        False,
        'Also write the kept and the rejected particles as denoised images.',
        label='Denoised sets too',
    )

    def validate(self) -> None:
        """As in every command; and the limits can be read."""
        super().validate()
        for name, text in self.limits().items():
            parse_limit(name, text)

    def limits(self) -> dict[str, str]:
        """{score: text} of the limits that were given."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}


def parse_limit(name: str, text: str) -> tuple[str, float]:
    """('proposed', 0), ('fraction', 0 to 1) or ('value', x) of a limit's text; InputError for anything else."""
    text = text.strip()
    if text == PROPOSED:
        return 'proposed', 0.0
    part = text.endswith('%')
    try:
        number = float(text.removesuffix('%'))
    except ValueError:
        number = float('nan')
    if not isfinite(number) or (part and not 0 < number < 100):
        raise InputError(
            f'{flag(name)}: {text!r} is neither a number, nor a part to reject such as 10%, nor "{PROPOSED}"'
        )
    return ('fraction', number / 100) if part else ('value', number)
