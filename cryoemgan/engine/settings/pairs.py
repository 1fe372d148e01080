"""Options of the training pairs: how they are moved, fresh ones, wrong ones, and their checks: parts of ``train``'s."""

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Augmentation:
    """How each pair is changed whenever it is shown."""

    GROUP: ClassVar[str] = 'How pairs are shown'

    shuffle: bool = option(
        None, "New order in every epoch; off only to repeat the authors' scripts.", expert=True, label='Shuffle'
    )
    turns: bool = option(
        None,
        'Show each pair in one of its 8 quarter turns and mirror images, about the '
        "particle's origin: more pairs at no cost.",
        expert=True,
        label='Turns and mirrors',
    )
    shift: int = option(
        None,
        'Move each pair by up to this many whole pixels in x and y, so that badly centred '
        'particles are denoised as well.',
        ge=0,
        le=64,
        unit='px',
        expert=True,
        label='Random shifts',
    )
    exchange_noise: float = option(
        None,
        'Part of the samples that get the noise of another particle (particle minus its fitted reference), '
        'turned and mirrored on its own. Multiplies small sets: every reference is seen under new measured noise. 0 '
        'trains on real pairs only.',
        ge=0,
        le=1,
        expert=True,
        label='Exchange noise',
    )
    noise_curriculum: float = option(
        None,
        "Part of the run in which the s.d. of the noise rises from a quarter of the data's to all of it; 0 = off. "
        'For the network that sees the whole particle (equivariant), whose schedule in the preset has it; convolutions '
        'gained nothing.',
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
        'How the network learns from noisy particles alone (--target self). recorruption: noise like that of the '
        'particle is added to it and taken away from its target; needs Gaussian noise, and uses all of the particle. '
        'blind-spots: each pixel is predicted from the others; needs only that the noise of different pixels is '
        'independent after whitening, and shows less.',
        choices=('recorruption', 'blind-spots'),
        label='Self-supervision',
    )
    recorruption: float = option(
        None,
        'With recorruption: s.d. of the added noise in units of that of the particles. Less shows the network '
        'images more like those that it will denoise, more makes each step less noisy.',
        gt=0,
        le=2,
        expert=True,
        label='Added noise',
    )
    hidden_pixels: float = option(
        0.25,
        'With blind spots: part of the pixels hidden in each image. More hidden pixels teach more in a step, but the '
        'network learns on less of each particle than it later sees.',
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
        'Map that the references were projected from; repeat for several (states, classes), which then count '
        'equally. With --fresh-fraction new projections of it are made during training, at random angles, with '
        'shifts and CTF of random particles: the cure for small sets and for overfitting to the refined angles. '
        'With --network guided the bank is made of its projections; without it, of those of the maps that project left '
        'beside the references (each member of its own half map), or else of references without CTF themselves.',
        path=True,
        label='Maps for fresh pairs or guide',
    )
    fresh_fraction: float = option(
        None,
        'Part of every batch made anew: references under Gaussian noise with the power spectrum of the data '
        '(measured on particle minus reference). With --volume new projections, each shown 4 times, else the '
        'references given. 0.5 mixes them with the real pairs; 1 never shows a real particle. An image of 64 px '
        'costs about 0.2 ms.',
        ge=0,
        le=1,
        label='Fresh pairs',
    )
    noise_particles: str | None = option(
        None,
        "Images of noise alone (STAR): boxes of background, or empty particles, in the particles' pixel size and in "
        'their box or a larger one. With --fresh-fraction the noise of fresh pairs is cut and turned out of them, '
        "scaled as a set to the strength of the particles' noise, in place of Gaussian noise: it brings what a "
        'spectrum does not tell, such as neighbours, carbon and ice.',
        path=True,
        label='Images of noise',
    )


@dataclass
class Checks:
    """The box, and which pairs are trusted."""

    GROUP: ClassVar[str] = 'Pairs'

    box: int | None = option(
        None,
        "Box to train at; default the particles'. Both sets are resampled in Fourier "
        'space, the field of view is kept. Half the box trains 4 times faster and keeps '
        'detail down to 4 old pixels.',
        ge=32,
        le=512,
        unit='px',
        label='Box',
    )
    min_agreement: float = option(
        4.0,
        'Leave out training pairs whose correlation (column cryoemganCorrelation of project) lies more than this many '
        'robust standard deviations below the median of the set: particles with wrong angles, junk. 0 keeps all. '
        'Take 2 where many angles are wrong; it also leaves out what is rare, such as high defocus.',
        ge=0,
        le=100,
        expert=True,
        label='Outlier limit of agreement',
    )
    invert_contrast: bool = option(
        False,
        'References and particles have opposite contrast: reverse the references. '
        'Asked for by an error message when that is the case.',
        label='Invert contrast',
    )
    force: bool = option(
        False,
        'Train although particles and references do not correlate (wrong poses, wrong map, other particles).',
        expert=True,
        label='Train in spite of failed checks',
    )


@dataclass
class Contamination:
    """Pairs that are contaminated on purpose, in a robustness experiment."""

    GROUP: ClassVar[str] = 'Robustness experiment'

    contaminate: str = option(
        None,
        'Robustness experiment (section 3.4 of the paper): replace a fixed random part of the training '
        'references, particles or both by noise. Off for real work.',
        choices=('none', 'references', 'particles', 'both'),
        expert=True,
        label='Contaminate',
    )
    contaminate_fraction: float = option(
        None,
        'Part of the training pairs replaced, the same in every epoch.',
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
