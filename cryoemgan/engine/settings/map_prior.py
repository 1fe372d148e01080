"""Parameters of guided networks, shared by ``train`` and ``denoise``."""

from dataclasses import dataclass

from ..errors import InputError
from .base import option

POSE_PRIOR = (
    'use the angles and shifts in the particle table as a prior. none: the pose of every particle is found afresh. A '
    'number: the width of the prior in degrees, that is, how far the refinement is trusted. With a prior the network '
    'follows the refinement and can no longer contradict it where it is wrong.'
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
        'Networks guided by the map: number of projections (templates) in the template library; each stands for '
        'all its in-plane rotations. More templates distinguish finer differences of view, which helps with large'
        ' boxes and clear particles, and take more memory and disk. Large libraries are searched by groups of '
        'similar views, so that the time hardly grows.',
        ge=2,
        le=1000000,
        expert=True,
        label='Templates',
    )
    candidates: int | None = option(
        None,
        'Networks guided by the map, or by what particles have in common: '
        'number of templates, turned and shifted, that are compared exactly with each'
        ' particle after the coarse search. Noisier particles and larger libraries need more. The time grows in '
        'proportion. Default: the fewest beyond which the error on some training particles no longer falls.',
        ge=4,
        le=1024,
        expert=True,
        label='Candidates',
        blank='found by itself',
    )
    contrast_spread: float | None = option(
        None,
        'Networks guided by the map, or by what particles have in common: '
        'relative s.d. of the contrast from particle to particle (ice thickness, '
        'normalisation). Default: the value under which the training particles are most likely.',
        ge=0,
        le=1,
        expert=True,
        label='Contrast spread',
        blank='found by itself',
    )
    shift_range: float | None = option(
        None,
        'Networks guided by the map, or by what particles have in common: '
        'how far from the centre particles are searched for. Default: enough for '
        'nearly all shifts in the particle table; without a map, and without shifts in the table, a small part of the '
        'box. The time grows with its square.',
        ge=0,
        le=32,
        unit='px',
        expert=True,
        label='Shift range',
        blank='from the shifts',
    )
    pose_prior: str = option('none', 'Networks guided by the map: ' + POSE_PRIOR, label='Pose prior')
