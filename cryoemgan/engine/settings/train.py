"""Parameters of ``train``."""

from dataclasses import dataclass

from .base import Settings, option


@dataclass
class Train(Settings):
    """Train a denoiser on pairs (particle, reference)."""

    particles: str | None = option(None, 'Noisy particles (STAR).', required=True, path=True, label='Particles')
    references: str | None = option(None, 'Reference projections of the same particles (STAR, from project). '
                                    'Matched by identity, never by row.', required=True, path=True,
                                    label='References')
