"""Parameters of ``audit``."""

from dataclasses import dataclass

from .base import Settings, batches, option
from .denoise import cut_resolution
from .reading import Reading


@dataclass
class Audit(Reading, Settings):
    """Measure how far denoised particles can be believed: noise in, wrong molecule in, bias, uncertainty, leakage."""

    particles: str = option(
        None, 'Noisy particles of the kind that the model denoises (STAR).', required=True, path=True, label='Particles'
    )
    references: str = option(
        None,
        'Reference projections of these particles (STAR), the output of "project". Matched by identity.',
        required=True,
        path=True,
        label='References',
    )
    model: str = option(None, 'Model folder written by train.', required=True, path=True, label='Denoiser model')
    second_model: str | None = option(
        None,
        'A second model to compare with, ideally a map-free one. Where the two disagree more on the real '
        'particles than on simulated replicates, either the particles hold something that is not in the map, or '
        'the network shows something that only the map says.',
        path=True,
        label='Second opinion',
    )
    noise_particles: str | None = option(
        None,
        'Images that hold no particle (STAR): background or empty picks, with the same box and normalisation as '
        'the particles. They are used beside simulated noise, which has no carbon, ice or neighbouring particles.',
        path=True,
        label='Noise images',
    )
    sample: int = option(
        500,
        'Number of particles to examine, spread over the set (fewer if the boxes are large). More particles make '
        'the results more precise and take longer.',
        ge=20,
        le=20000,
        label='Particles examined',
    )
    pictures: int = option(
        6, 'Number of particles shown with their uncertainty maps.', ge=1, le=50, expert=True, label='Particles shown'
    )
    cut: str = option(
        'auto',
        'Resolution at which the denoised images are cut off: auto, none, or a number in A, as for denoising.',
        expert=True,
        label='Resolution cut-off',
    )
    batch_size: int = batches(64, 'Number of images denoised at a time.')

    def validate(self) -> None:
        """As in every command; and the cut-off is a resolution, auto or none."""
        super().validate()
        cut_resolution(self.cut)
