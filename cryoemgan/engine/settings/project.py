"""Parameters of ``project``."""

from dataclasses import dataclass
from typing import ClassVar

from .base import Settings, option
from .processes import Processes
from .reading import Reading

MAPS = 'Maps'
AS_PARTICLES = 'particles'


@dataclass
class Project(Processes, Reading, Settings):
    """Project a refined map at every particle's angles and shifts."""

    GROUP: ClassVar[str] = 'References'

    particles: str = option(
        None,
        'Particles with projection angles: a RELION STAR file (3.0 or 3.1).',
        required=True,
        path=True,
        label='Particles',
    )
    volume: str | None = option(
        None,
        "Refined map (MRC). Box and pixel size may differ from the particles'; the pixel size is read from the header. "
        'Beside half maps it serves only particles without half set.',
        path=True,
        group=MAPS,
        label='Refined map',
    )
    half1: str | None = option(
        None,
        'Half map 1 (MRC, unfiltered) of the same refinement. With both, each particle is projected from the map of '
        'its own half set (_rlnRandomSubset), so that a denoiser trained on half 1 never meets the noise of half 2; '
        'and the references are low-passed where the FSC of the two falls below 0.143.',
        path=True,
        group=MAPS,
        label='Half map 1',
    )
    half2: str | None = option(None, 'Half map 2; see half map 1.', path=True, group=MAPS, label='Half map 2')
    class_volume: list[str] = option(
        [],
        'Map of one class of a 3D classification (MRC), repeated for each class: as NUMBER=FILE, or in the order of '
        'the class numbers from 1. Each particle is projected from the map of its own class (_rlnClassNumber); '
        '--volume then serves only particles of classes without a map. Not together with half maps.',
        path=True,
        group=MAPS,
        label='Maps of the classes',
    )
    volume_pixel_size: float | None = option(
        None,
        'Pixel size of the map, when its header is wrong or empty.',
        unit='A/px',
        gt=0.05,
        lt=100,
        expert=True,
        group=MAPS,
        label='Map pixel size',
    )
    mask: str | None = option(
        None,
        'Mask (MRC, values 0 to 1, same box as the map). Removes solvent noise, which '
        'the network would otherwise learn to paint.',
        path=True,
        group=MAPS,
        label='Mask',
    )
    lowpass: float | None = option(
        None,
        'Low-pass the map at this resolution (raised-cosine edge). Use the FSC 0.143 '
        'resolution of the refinement: detail beyond it is noise of the map. Left open: the FSC 0.143 of the half '
        'maps (within the mask, or one made from them) when they are given, else the map as it is.',
        unit='A',
        gt=0,
        le=1e5,
        group=MAPS,
        label='Low-pass',
    )
    ctf: str = option(
        AS_PARTICLES,
        'What the references contain. particles = what the particles do, so that a reference is the particle without '
        'noise (most faithful; the denoised image keeps the CTF): their table says whether they are phase-flipped or '
        'premultiplied, and else they hold the full CTF. none = the bare projection: the network has to undo the CTF, '
        'which looks best and is least certain. full, phase-flip (its absolute value) and premultiplied (its square) '
        'for tables that do not say it.',
        choices=('none', 'phase-flip', 'full', 'premultiplied', AS_PARTICLES),
        label='CTF in the references',
    )
    invert: bool = option(
        False,
        "Multiply the map by -1. For a map whose contrast is the opposite of the particles': "
        'the run says so when it finds one, and never does it by itself.',
        group=MAPS,
        label='Invert the map',
    )
    interpolation: str = option(
        'linear',
        'Interpolation in Fourier space. linear: error 1 percent (2.4 for a '
        'particle that fills the box); cubic: 0.01 to 0.05 percent, four times slower. Noise '
        'of the map is larger than either.',
        choices=('linear', 'cubic'),
        label='Interpolation',
        expert=True,
    )
    pad: float | None = option(
        None,
        'Zero-padding of the map before its Fourier transform. Error of linear interpolation '
        'falls with its square; memory grows with its cube: 4 bytes x (pad x box)^3, at 2.5 '
        '0.13 GB for 128 px, 1 GB for 256 px. Default 2.5, above 256 px 2.',
        ge=1,
        le=4,
        label='Padding',
        expert=True,
    )
    box: int | None = option(
        None,
        "Box of the references; default the particles'. The field of view is kept, the "
        'pixel size changes with the box.',
        unit='px',
        ge=16,
        le=2048,
        label='Box',
        expert=True,
    )
    batch_size: int = option(
        64, 'Projections computed together; more needs more memory.', ge=1, le=8192, expert=True, label='Batch size'
    )

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """As in every command; the number of threads decides the last digits of the images."""
        return super().of_machine() - {'threads'}
