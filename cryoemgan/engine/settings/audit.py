"""Parameters of ``audit``."""

from dataclasses import dataclass

from .base import Settings, option
from .denoise import cut_resolution
from .reading import Reading


@dataclass
class Audit(Reading, Settings):
    """Measure how far denoised particles can be believed: noise in, wrong molecule in, bias, uncertainty, leakage."""

    particles: str = option(
        None, 'Noisy particles (STAR), those to be denoised.', required=True, path=True, label='Particles'
    )
    references: str = option(
        None,
        'Reference projections of these particles (STAR, from project). Matched by identity.',
        required=True,
        path=True,
        label='References',
    )
    model: str = option(None, 'Model folder written by train.', required=True, path=True, label='Denoiser model')
    second_model: str | None = option(
        None,
        'Another model folder, whose output is compared with that of the first: best one trained without references '
        '(a map-free network). Where the two disagree more on real particles than on simulations of the references, '
        'the particles hold something that the map does not, or the network shows something that only the map says.',
        path=True,
        label='Second opinion',
    )
    noise_particles: str | None = option(
        None,
        'Empty particles (STAR): extracted where there is none, with the same box and normalisation. They go in as '
        'noise beside the simulated noise, which knows nothing of carbon, ice and neighbours.',
        path=True,
        label='Empty particles',
    )
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

    def validate(self) -> None:
        """As in every command; and the cut-off is a resolution, auto or none."""
        super().validate()
        cut_resolution(self.cut)
