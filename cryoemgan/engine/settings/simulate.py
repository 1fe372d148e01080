"""Parameters of ``simulate``."""

from dataclasses import dataclass

from .base import Settings, batches, option


@dataclass
class Simulate(Settings):
    """Simulate a data set with a known truth: clean and noisy particles of one or several conformations."""

    model: list[str] = option(
        [],
        'Atomic model (PDB or mmCIF, also .gz) of one conformation. Models are taken as superposed, and are '
        'centred by the first one.',
        path=True,
        label='Atomic models',
    )
    volume: list[str] = option([], 'Density map (MRC) of one conformation.', path=True, label='Maps')
    phantom: int | None = option(
        None,
        'Number of conformations of a built-in test object that needs no file: a claw of Gaussian blobs, one jaw '
        'of which opens.',
        ge=1,
        le=50,
        label='Phantom states',
    )
    count: int = option(
        1000,
        'Number of particles of each conformation. The conformations alternate, so that any first part of the set'
        ' holds equally many of each.',
        ge=1,
        le=10_000_000,
        label='Particles per conformation',
    )
    split: list[int] = option(
        [],
        'Also write tables of consecutive parts with this many particles each (noisy_1.star, clean_1.star, ...): '
        'training, test and other sets that share no particle.',
        ge=1,
        label='Parts',
    )
    box: int = option(128, 'Box of the images.', unit='px', ge=16, le=1024, label='Box')
    pixel_size: float | None = option(
        None,
        'Pixel size of the images. Needed for atomic models. Default: that of the first map, or 4 for the phantom.',
        unit='A/px',
        gt=0,
        le=100,
        label='Pixel size',
        blank="the first map's; phantom 4",
    )
    b_factor: float | None = option(
        None,
        'B-factor added to the atoms of a model. 0 causes ringing around the atoms. Default: 14 times the square '
        'of the pixel size.',
        unit='A^2',
        ge=0,
        label='B-factor',
        expert=True,
        blank='14 pixel^2',
    )
    interpolation: str = option(
        'cubic',
        'Interpolation of maps in Fourier space. cubic is more accurate, linear faster.',
        choices=('linear', 'cubic'),
        expert=True,
        label='Interpolation',
    )
    snr: float = option(
        0.1,
        'Signal-to-noise ratio: variance of the signal / variance of the noise, over all pixels of the box.',
        gt=0,
        label='SNR',
    )
    snr_per: str = option(
        'set',
        'set: all images have the same noise, as in a microscope.\n'
        'image: the noise is in proportion to each image, as in the paper.',
        choices=('set', 'image'),
        label='SNR refers to',
    )
    noise: str = option(
        'white',
        'white; or coloured: stronger at low than at high frequency, as from ice and carbon.',
        choices=('white', 'coloured'),
        label='Noise',
    )
    clip: bool = option(
        False,
        'Clip the noisy images to [0, 1], as the authors of the paper did by accident. It cripples linear methods'
        ' and is only for repeating their numbers. Needs --scale unit.',
        label='Clip',
        expert=True,
    )
    scale: str = option(
        'none',
        'none: grey values as projected.\n'
        'unit: each clean image is scaled to [0, 1] on its own, as in the paper; their relative intensities are '
        'lost.',
        choices=('none', 'unit'),
        label='Grey values',
    )
    ctf: bool = option(False, 'Multiply the images by a CTF, drawn for every particle.', label='Apply a CTF?')
    ctf_table: str | None = option(
        None,
        'STAR file from whose rows the CTF parameters are drawn, instead of from the range of defoci. Implies --ctf.',
        path=True,
        label='Table of defoci',
        blank='none',
    )
    defocus_min: float = option(
        10000.0, 'Smallest defocus; values are drawn uniformly.', unit='A', gt=0, label='Defocus from'
    )
    defocus_max: float = option(25000.0, 'Largest defocus.', unit='A', gt=0, label='Defocus to')
    astigmatism: float = option(
        200.0,
        'Half the difference between the two defoci is drawn uniformly from 0 to this.',
        unit='A',
        ge=0,
        label='Astigmatism',
        expert=True,
    )
    voltage: float = option(300.0, 'Acceleration voltage.', unit='kV', gt=0, label='Voltage', expert=True)
    cs: float = option(2.7, 'Spherical aberration.', unit='mm', ge=0, label='Cs', expert=True)
    amplitude_contrast: float = option(
        0.1, 'Fraction of amplitude contrast.', ge=0, le=1, expert=True, label='Amplitude contrast'
    )
    clean_ctf: str = option(
        'full',
        'full: the clean images have the CTF of the noisy ones.\n'
        'none: they have no CTF. The SNR counts the signal with CTF in either case.',
        choices=('full', 'none'),
        expert=True,
        label='CTF in clean images',
    )
    view_spread: float | None = option(
        None,
        'View all particles from about one side, drawn at random: s.d. of the rotations away from it about each '
        'axis, also in the plane. For clustering images as in the paper. Default: all orientations are equally '
        'likely.',
        unit='deg',
        gt=0,
        le=180,
        label='View spread',
        expert=True,
        blank='all views',
    )
    shift_sd: float = option(0.0, 'S.d. of random shifts in x and y.', unit='px', ge=0, label='Shifts')
    contaminate: str = option(
        'none',
        'Replace some images by pure noise of the same mean and s.d.: the particles, their references, or both. '
        'The true images stay as they are.',
        choices=('none', 'references', 'particles', 'both'),
        label='Replace by noise',
    )
    contaminate_fraction: float = option(
        0.1, 'Fraction of the particles that are replaced.', ge=0, le=1, label='Fraction replaced'
    )
    contaminate_kind: str = option(
        'gaussian', 'Noise that replaces them.', choices=('gaussian', 'uniform'), expert=True, label='Kind of noise'
    )
    perturb_angles: float = option(
        0.0,
        'Also write the particles as a refinement would leave them, in refined.star: with angles that are wrong '
        'by a random rotation of this s.d. about each axis.',
        unit='deg',
        ge=0,
        le=60,
        label='Angle error',
    )
    perturb_shifts: float = option(
        0.0, 'S.d. of the error of the shifts in refined.star.', unit='px', ge=0, label='Shift error'
    )
    per_micrograph: int | None = option(
        None,
        'Invent micrographs with this many particles each, with coordinates. Default: the particles have no '
        'micrographs.',
        ge=1,
        label='Particles per micrograph',
        expert=True,
        blank='none',
    )
    batch_size: int = batches(64, 'Number of images computed at a time; the result does not depend on it.')
