"""Parameters of guided networks, shared by ``train`` and ``denoise``."""

from dataclasses import dataclass

from ..errors import InputError
from .base import option

POSE_PRIOR = (
    'Use the angles and shifts of the particle table as a prior: none = find every particle afresh, or the width of '
    'the prior in degrees: how far the refinement is trusted. With a prior a guided model follows the refinement and '
    'can no longer contradict it where it is wrong.'
)


def degrees(text: str) -> float | None:
    """None for 'none', else the number; InputError for anything else."""
    if text == 'none':
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 180:
        raise InputError(f'--pose-prior: {text!r} is neither none nor a width of 0.1 to 180 degrees')
    return value


@dataclass
class MapPriorSettings:
    """Options of guided networks."""

    bank_size: int = option(
        16000,
        'Guided networks: templates (projections) in the bank; each stands for all its in-plane rotations. More tell '
        'finer differences of the view, which pays for large boxes and clear particles. Memory and the '
        'model folder grow in proportion. '
        'From 16,000 on groups of similar views are searched, so that the time hardly grows.',
        ge=2,
        le=1000000,
        expert=True,
        label='Templates',
    )
    candidates: int | None = option(
        None,
        'Guided networks: templates, turned and moved, that are weighed exactly for each particle, the best of the '
        'coarse search; default 48, 96, 192 or 384, the fewest beyond which the error on 100 training particles does '
        'not fall by 2 percent. Noisier particles and denser banks need more: many templates then explain a particle '
        'about equally well. Time grows in proportion.',
        ge=4,
        le=1024,
        expert=True,
        label='Candidates',
    )
    contrast_spread: float | None = option(
        None,
        'Guided networks: relative s.d. of the contrast from particle to particle (ice, normalisation); default the '
        'one of 0.02, 0.05, 0.1, 0.2 and 0.4 that makes the training particles most likely.',
        ge=0,
        le=1,
        expert=True,
        label='Contrast spread',
    )
    shift_range: float | None = option(
        None,
        'Guided networks: how far off centre particles are looked for; default what the shifts of 98 % of the '
        'particles in the table need, at most 6 px. Time grows with its square.',
        ge=0,
        le=32,
        unit='px',
        expert=True,
        label='Shift range',
    )
    pose_prior: str = option('none', 'Guided networks: ' + POSE_PRIOR, label='Pose prior')
