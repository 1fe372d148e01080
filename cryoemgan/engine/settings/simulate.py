"""Parameters of ``simulate``."""

from dataclasses import dataclass

from .base import Settings, option


@dataclass
class Simulate(Settings):
    """Simulate a data set with a known truth: clean and noisy particles of one or several conformations."""

    model: list[str] = option(
        [],
        'Atomic model (PDB or mmCIF, .gz too), one a conformation, superposed. Repeatable. Centred by the first one.',
        path=True,
        label='Atomic models',
    )
    volume: list[str] = option([], 'Density map (MRC), one a conformation. Repeatable.', path=True, label='Maps')
    phantom: int | None = option(
        None,
        'No file: a claw of Gaussian blobs in this many states, one jaw turned by 0 to '
        '40 degrees. Its projections are exact.',
        ge=1,
        le=50,
        label='Phantom states',
    )
    count: int = option(
        1000,
        'Particles of each conformation. They are interleaved: any first part of the set holds as many of each.',
        ge=1,
        le=10_000_000,
        label='Particles per conformation',
    )
    split: list[int] = option(
        [],
        'Also write tables of consecutive parts with this many particles each (noisy_1.star, '
        'clean_1.star, ...): training, test and other sets that share no particle. Repeatable.',
        ge=1,
        label='Parts',
    )
    box: int = option(128, 'Box of the images.', unit='px', ge=16, le=1024, label='Box')
    pixel_size: float | None = option(
        None,
        'Pixel size of the images. Default: that of the first map; 4 for the phantom. Needed for atomic models.',
        unit='A/px',
        gt=0,
        le=100,
        label='Pixel size',
    )
    b_factor: float | None = option(
        None,
        'B-factor added to the atoms of a model; default 14 pixel^2, which damps '
        'the map to 0.42 at Nyquist. 0 gives ringing around sharp atoms.',
        unit='A^2',
        ge=0,
        label='B-factor',
        expert=True,
    )
    interpolation: str = option(
        'cubic',
        'Projection of maps in Fourier space. cubic: error 0.02 percent; linear: 1.5 percent, five times faster.',
        choices=('linear', 'cubic'),
        expert=True,
        label='Interpolation',
    )
    snr: float = option(
        0.1,
        'Signal-to-noise ratio var(signal) / var(noise) over all pixels of the box. At 64 px a '
        'number means four times less information than at 128 px.',
        gt=0,
        label='SNR',
    )
    snr_per: str = option(
        'set',
        'set: the same noise in every image, as in a microscope; image: noise in proportion '
        'to each image, as in the paper.',
        choices=('set', 'image'),
        label='SNR holds per',
    )
    noise: str = option(
        'white',
        'white; or coloured: power 1 / 4 + 1 / (1 + (f / 0.1)^2) of the frequency f in '
        '1/px, five times stronger at low than at high frequency, like ice and carbon.',
        choices=('white', 'coloured'),
        label='Noise',
    )
    clip: bool = option(
        False,
        'Clip noisy images to [0, 1], as the authors of the paper did by accident: it cripples '
        'every linear method. Only for repeating their numbers; needs --scale unit.',
        label='Clip',
        expert=True,
    )
    scale: str = option(
        'none',
        'none: grey values as projected; unit: each clean image scaled to [0, 1] on its own as '
        'in the paper, which loses their relative intensities.',
        choices=('none', 'unit'),
        label='Scale',
    )
    ctf: bool = option(False, 'Multiply by a CTF, drawn for every particle.', label='CTF')
    ctf_table: str | None = option(
        None,
        'STAR file whose CTF parameters are drawn at random instead of the range below; implies --ctf.',
        path=True,
        label='Table of defoci',
    )
    defocus_min: float = option(10000.0, 'Smallest defocus; drawn uniformly.', unit='A', gt=0, label='Defocus from')
    defocus_max: float = option(25000.0, 'Largest defocus.', unit='A', gt=0, label='Defocus to')
    astigmatism: float = option(
        200.0,
        'Half the difference of the two defoci is drawn uniformly from 0 to this.',
        unit='A',
        ge=0,
        label='Astigmatism',
        expert=True,
    )
    voltage: float = option(300.0, 'Acceleration voltage.', unit='kV', gt=0, label='Voltage', expert=True)
    cs: float = option(2.7, 'Spherical aberration.', unit='mm', ge=0, label='Cs', expert=True)
    amplitude_contrast: float = option(
        0.1, 'Share of amplitude contrast.', ge=0, le=1, expert=True, label='Amplitude contrast'
    )
    clean_ctf: str = option(
        'full',
        'Whether the clean images carry the CTF as the noisy ones do (full) or not (none). '
        'The SNR counts the signal with CTF either way.',
        choices=('full', 'none'),
        expert=True,
        label='CTF in clean images',
    )
    view_spread: float | None = option(
        None,
        'All particles seen from about one side, drawn by the seed: s.d. of the rotations about each axis away from '
        'it, in the plane too. For clustering as in the paper, whose test images cannot have been seen from '
        'everywhere. Default: all orientations equally likely.',
        unit='deg',
        gt=0,
        le=180,
        label='View spread',
        expert=True,
    )
    shift_sd: float = option(0.0, 'S.d. of random shifts in x and y.', unit='px', ge=0, label='Shifts')
    contaminate: str = option(
        'none',
        'Replace some images by pure noise of the same mean and s.d.: the particles, '
        'their references, or both. clean.star stays the truth; spoilt references go to '
        'references.star.',
        choices=('none', 'references', 'particles', 'both'),
        label='Contaminate',
    )
    contaminate_fraction: float = option(
        0.1, 'Share of particles that are replaced.', ge=0, le=1, label='Share replaced'
    )
    contaminate_kind: str = option(
        'gaussian', 'Noise that replaces them.', choices=('gaussian', 'uniform'), expert=True, label='Kind of noise'
    )
    perturb_angles: float = option(
        0.0,
        'Also write refined.star: the noisy particles with angles wrong by a random '
        'rotation of this s.d. about each axis, as a refinement leaves them (RELION on '
        '64 px: 1 to 2).',
        unit='deg',
        ge=0,
        le=60,
        label='Angle error',
    )
    perturb_shifts: float = option(
        0.0, 'S.d. of the error of shifts in refined.star.', unit='px', ge=0, label='Shift error'
    )
    per_micrograph: int | None = option(
        None,
        'Invent micrographs with this many particles each and coordinates on them; without it there are none.',
        ge=1,
        label='Particles per micrograph',
        expert=True,
    )
    batch_size: int = option(
        64,
        'Images computed together; the result does not depend on it.',
        ge=1,
        le=8192,
        expert=True,
        label='Batch size',
    )
