"""Parameters of ``originals``."""

from dataclasses import dataclass

from .base import Settings, option


@dataclass
class Originals(Settings):
    """The original particles of any selection of denoised ones, by identity: for the final reconstruction."""

    particles: str = option(
        None,
        'Selected denoised particles (STAR): any subset of the output of denoise, in any order.',
        required=True,
        path=True,
        label='Selected denoised particles',
    )
    source: str = option(
        None,
        'The particles that were denoised (STAR), or any set that contains them.',
        required=True,
        path=True,
        label='Original particles',
    )
