"""Parameters of ``project``."""

from dataclasses import dataclass
from typing import ClassVar

from .base import Settings, batches, option
from .processes import Processes
from .reading import Reading

MAPS = 'Maps'
AS_PARTICLES = 'particles'


@dataclass
class Project(Processes, Reading, Settings):
    """Project a refined map at every particle's angles and shifts."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({'threads'})

    GROUP: ClassVar[str] = 'References'

    particles: str = option(
        None,
        'Particles with projection angles (RELION STAR file).',
        required=True,
        path=True,
        label='Particles',
    )
    volume: str | None = option(
        None,
        "Refined map (MRC). Box and pixel size may differ from the particles'; the pixel size is read from the "
        'header. If there are half maps too, it is used only for particles without a half set.',
        path=True,
        group=MAPS,
        label='Refined map',
    )
    half1: str | None = option(
        None,
        'Unfiltered half map of the same refinement (MRC). If both are given, each particle is projected from the'
        ' map of its own half set (_rlnRandomSubset), so that a network trained on one half never meets the noise'
        ' of the other. The references are low-passed where the FSC of the two half maps falls below 0.143.',
        path=True,
        group=MAPS,
        label='Half map 1',
    )
    half2: str | None = option(None, 'Half map 2; see half map 1.', path=True, group=MAPS, label='Half map 2')
    class_volume: list[str] = option(
        [],
        'Map of one class of a 3D classification (MRC), as NUMBER=FILE, or in the order of the class numbers from'
        ' 1. Each particle is projected from the map of its class (_rlnClassNumber); --volume is then used only '
        'for classes without a map. Not together with half maps.',
        path=True,
        group=MAPS,
        label='Maps of the classes',
    )
    volume_pixel_size: float | None = option(
        None,
        'Pixel size of the map, if its header is wrong or empty.',
        unit='A/px',
        gt=0.05,
        lt=100,
        expert=True,
        group=MAPS,
        label='Map pixel size',
    )
    mask: str | None = option(
        None,
        'Mask around the molecule, with values from 0 to 1 and the same box as the map (MRC). It removes solvent '
        'noise, which the network would otherwise learn to paint.',
        path=True,
        group=MAPS,
        label='Mask',
    )
    lowpass: float | None = option(
        None,
        'Low-pass the map at this resolution. Use the resolution of the refinement (FSC 0.143): finer detail is '
        'noise of the map. Default: the FSC 0.143 of the half maps if there are any, otherwise no low-pass.',
        unit='A',
        gt=0,
        le=1e5,
        group=MAPS,
        label='Low-pass',
        blank="the half maps' FSC",
    )
    ctf: str = option(
        AS_PARTICLES,
        'What the references hold.\n'
        'particles: what the particles hold, according to their table, so that a reference is the particle '
        'without noise. The denoised images then keep the CTF.\n'
        'none: the bare projection. The network has to undo the CTF, which looks best and is least certain.\n'
        'full, phase-flip, premultiplied: the CTF, its absolute value or its square, if the table does not say '
        'what the particles hold.',
        choices=('none', 'phase-flip', 'full', 'premultiplied', AS_PARTICLES),
        label='CTF in the references',
    )
    invert: bool = option(
        False,
        'Multiply the map by -1, if its contrast is opposite to that of the particles. This is never done '
        'silently: a message asks for it.',
        group=MAPS,
        label='Invert the map',
    )
    interpolation: str = option(
        'linear',
        'Interpolation in Fourier space. linear is accurate enough for real maps, whose noise is larger; cubic is'
        ' more accurate and slower.',
        choices=('linear', 'cubic'),
        label='Interpolation',
        expert=True,
    )
    pad: float | None = option(
        None,
        'Zero-padding of the map before its Fourier transform. More padding makes linear interpolation more '
        'accurate; the memory needed grows with its cube.',
        ge=1,
        le=4,
        label='Padding',
        expert=True,
        blank='2 to 2.5',
    )
    box: int | None = option(
        None,
        'Box of the references. The field of view is kept, so the pixel size changes with the box. Default: the '
        "particles' box.",
        unit='px',
        ge=16,
        le=2048,
        label='Box',
        expert=True,
        blank="the particles'",
    )
    batch_size: int = batches(64, 'Number of projections computed at a time; more need more memory.')
