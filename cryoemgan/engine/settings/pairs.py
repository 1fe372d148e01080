"""Options of the training pairs: how they are moved, fresh ones, wrong ones, and their checks: parts of ``train``'s."""

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Augmentation:
    """How each pair is changed whenever it is shown."""

    GROUP: ClassVar[str] = 'How pairs are shown'

    shuffle: bool = option(
        None,
        "Use a new random order in every epoch. Off only to repeat the authors' scripts.",
        label='Shuffle',
    )
    turns: bool = option(
        None,
        'Show each pair turned by multiples of 90 degrees and mirrored, about the origin of the particle: more '
        'pairs at no cost.',
        expert=True,
        label='Turns and mirrors',
    )
    shift: int = option(
        None,
        'Shift each pair by up to this many whole pixels in x and y, so that badly centred particles are denoised'
        ' as well.',
        ge=0,
        le=64,
        unit='px',
        expert=True,
        label='Random shifts',
    )
    exchange_noise: float = option(
        None,
        'Fraction of the samples that get the noise of another particle (particle minus its fitted reference), '
        'turned and mirrored on its own. It makes more of small sets, because every reference is seen under new, '
        'measured noise. Where references at imperfect angles leave signal in a particle, new noise takes its place. '
        '0 trains on the real pairs only.',
        ge=0,
        le=1,
        expert=True,
        label='Exchange noise',
    )
    noise_curriculum: float = option(
        None,
        'Fraction of the run in which the noise is raised from weak to full strength; 0 = off. Meant for the '
        'architecture "equivariant".',
        ge=0,
        le=0.9,
        label='Noise curriculum',
    )


@dataclass
class SelfSupervision:
    """How a particle becomes a pair of its own (--target self)."""

    GROUP: ClassVar[str] = 'Learning from particles alone'

    self_supervision: str = option(
        None,
        'How the network learns from noisy particles alone (--target self).\n'
        'recorruption: noise like that of the particle is added to it, and subtracted from its target. Needs Gaussian '
        'noise, and uses the whole particle.\n'
        'blind-spots: each pixel is predicted from the others. Needs only that the noise of different pixels is '
        'independent after whitening, and shows less.',
        choices=('recorruption', 'blind-spots'),
        label='Self-supervision',
    )
    recorruption: float = option(
        None,
        'For recorruption: s.d. of the added noise, relative to that of the particles. With less, the network learns '
        'from images more like those that it will denoise; with more, each step is less noisy.',
        gt=0,
        le=2,
        expert=True,
        label='Added noise',
    )
    hidden_pixels: float = option(
        0.25,
        'For blind spots: fraction of the pixels hidden in each image. More hidden pixels teach more per step, but the '
        'network then learns from less of each particle than it sees later.',
        gt=0,
        le=0.9,
        expert=True,
        label='Hidden pixels',
    )


@dataclass
class Fresh:
    """Pairs that are made during training."""

    GROUP: ClassVar[str] = 'Fresh pairs'

    volume: list[str] = option(
        [],
        'Map from which the references were projected; several maps (states, classes) count equally. With '
        '--fresh-fraction, new projections of it are made during training at random angles, with the shifts and '
        'CTFs of random particles, which helps small sets. For --network guided its projections make the template'
        ' library. Left open: the maps that project left beside the references (for each fold model its own half '
        'map), or else the references themselves.',
        path=True,
        label='Maps for projections',
    )
    fresh_fraction: float = option(
        None,
        'Fraction of every batch that is made anew: references under Gaussian noise with the power spectrum of '
        'the noise of the particles. With --volume these are new projections, otherwise the given references. 0.5'
        ' mixes them with the real pairs; 1 never shows a real particle.',
        ge=0,
        le=1,
        label='Fresh pairs',
    )
    noise_particles: str | None = option(
        None,
        'Images that hold no particle (STAR): background or empty picks, with the pixel size of the particles and'
        ' their box or a larger one. With --fresh-fraction the noise of fresh pairs is cut out of them instead of'
        ' being Gaussian, and so contains neighbours, carbon and ice. It is scaled to the strength of the noise '
        'of the particles.',
        path=True,
        label='Noise images',
    )


@dataclass
class Checks:
    """The box, and which pairs are trusted."""

    GROUP: ClassVar[str] = 'Pairs'

    box: int | None = option(
        None,
        'Box to train at. Particles and references are resampled, and the field of view is kept. A smaller box '
        "trains faster and loses fine detail. Default: the particles' box.",
        ge=32,
        le=512,
        unit='px',
        label='Box',
        blank="the particles'",
    )
    min_agreement: float = option(
        4.0,
        'Leave out training pairs whose correlation lies more than this many robust standard deviations below the'
        ' median of the set: particles with wrong angles, junk. 0 keeps all. A lower limit helps if many angles '
        'are wrong, but also leaves out what is rare, such as high defocus.',
        ge=0,
        le=100,
        expert=True,
        label='Outlier limit of agreement',
    )
    leave_out_wrong: bool = option(
        None,
        'Leave out training pairs whose particle agrees with its reference no better than with references of other '
        'particles: wrong angles, junk, or a reference of something else. None is left out unless there are more of '
        'them than a set of right pairs under the same noise would have. A refinement turns junk until it agrees with '
        'its reference, and such junk is not found here: sort by the fit first.',
        label='Leave out wrong pairs',
    )
    invert_contrast: bool = option(
        False,
        'Invert the references, because particles and references have opposite contrast. A message asks for this '
        'if it is so.',
        label='Invert contrast',
    )
    force: bool = option(
        False,
        'Train although particles and references do not agree (wrong poses, wrong map, other particles).',
        expert=True,
        label='Train in spite of failed checks',
    )


@dataclass
class Contamination:
    """Pairs that are contaminated on purpose, in a robustness experiment."""

    GROUP: ClassVar[str] = 'Robustness experiment'

    contaminate: str = option(
        None,
        'Robustness experiment (section 3.4 of the paper): replace a fixed random fraction of the training '
        'references, of the particles, or of both by noise. Off for real work.',
        choices=('none', 'references', 'particles', 'both'),
        expert=True,
        label='Contaminate',
    )
    contaminate_fraction: float = option(
        None,
        'Fraction of the training pairs that are replaced, the same in every epoch.',
        ge=0,
        le=1,
        expert=True,
        label='Contaminated fraction',
    )
    contaminate_noise: str = option(
        None,
        'Noise that replaces them: gaussian with the mean and s.d. of the set, or uniform over its range.',
        choices=('gaussian', 'uniform'),
        expert=True,
        label='Contaminating noise',
    )
