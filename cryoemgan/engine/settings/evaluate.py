"""Parameters of ``evaluate``."""

from dataclasses import dataclass

from .base import Settings, batches, option
from .reading import Reading


@dataclass
class Evaluate(Reading, Settings):
    """Compare particles, denoised by any method, with references."""

    references: str = option(
        None,
        'References (STAR): projections of a map, or the true images of a simulation.',
        required=True,
        path=True,
        label='References',
    )
    particles: list[str] = option(
        [],
        'NAME=FILE.star: a set to compare, and its name in tables and pictures.',
        required=True,
        path=True,
        label='Particles',
    )
    data_range: float | None = option(
        None,
        'Range of grey values for PSNR and SSIM. Default: maximum minus minimum over all references.',
        gt=0,
        expert=True,
        label='Grey-value range',
        blank="the references'",
    )
    pictures: int = option(
        32, 'Number of particles shown in the gallery.', ge=1, le=400, expert=True, label='Particles shown'
    )
    batch_size: int = batches(128, 'Number of images read at a time.')
