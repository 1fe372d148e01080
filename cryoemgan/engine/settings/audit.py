"""Parameters of ``audit``."""

from dataclasses import dataclass

from .base import Settings, option


@dataclass
class Audit(Settings):
    """Measure how far denoised particles can be believed: noise in, wrong molecule in, bias, uncertainty, leakage."""

    particles: str | None = option(
        None, 'Noisy particles (STAR), those to be denoised.', required=True, path=True, label='Particles'
    )
    references: str | None = option(
        None,
        'Reference projections of these particles (STAR, from project). Matched by identity.',
        required=True,
        path=True,
        label='References',
    )
    model: str | None = option(None, 'Model folder written by train.', required=True, path=True, label='Denoiser model')
    sample: int = option(
        500,
        'Particles looked at, spread over the set (fewer of large boxes: images of 64 MB in all). The s.d. of a mean '
        'falls with its root; each is denoised about seven times.',
        ge=20,
        le=20000,
        label='Sample',
    )
    pictures: int = option(
        6, 'Particles shown with their uncertainty maps.', ge=1, le=50, expert=True, label='Pictures'
    )
    cut: str = option(
        'auto', 'Resolution cut-off of the output, as in denoise.', expert=True, label='Resolution cut-off'
    )
    batch_size: int = option(64, 'Images denoised together.', ge=1, le=8192, expert=True, label='Batch size')
