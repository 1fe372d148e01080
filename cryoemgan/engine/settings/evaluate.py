"""Parameters of ``evaluate``."""

from dataclasses import dataclass

from .base import Settings, option
from .reading import Reading


@dataclass
class Evaluate(Reading, Settings):
    """Compare particles, denoised by any method, with references."""

    references: str = option(
        None,
        'References (STAR): projections, or the truth of a simulation.',
        required=True,
        path=True,
        label='References',
    )
    particles: list[str] = option(
        [],
        'NAME=FILE.star: a set to compare, with the name it gets in tables and pictures. Repeatable.',
        required=True,
        path=True,
        label='Particles',
    )
    data_range: float | None = option(
        None,
        'Grey-value range L of PSNR and SSIM; default: maximum minus minimum '
        'over all references (1 for images scaled to [0,1]).',
        gt=0,
        expert=True,
        label='Data range',
    )
    pictures: int = option(32, 'Particles shown in the gallery picture.', ge=1, le=400, expert=True, label='Pictures')
    batch_size: int = option(128, 'Images read together.', ge=1, le=8192, expert=True, label='Batch size')
