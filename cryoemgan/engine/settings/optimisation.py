"""Options of the optimiser, of the length of a run, and of its evaluations: parts of ``train``'s.

A value that is open (None) is taken from the preset before anything is trained (``Train.filled``): the types are those
of filled settings.
"""

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Optimisation:
    """Options of the optimiser."""

    GROUP: ClassVar[str] = 'Optimiser'

    learning_rate_generator: float = option(
        None,
        "Adam's learning rate for the generator; the highest value, if there is a schedule. Too high a rate makes"
        ' training unstable, too low a rate needs a longer run.',
        gt=0,
        le=1,
        expert=True,
        label='Learning rate, generator',
    )
    learning_rate_discriminator: float = option(
        None,
        "Adam's learning rate for the discriminator.",
        gt=0,
        le=1,
        expert=True,
        label='Learning rate, discriminator',
    )
    adam_beta1: float = option(
        None,
        "Decay of Adam's first moment; 0 to 0.5 is usual for Wasserstein GANs.",
        ge=0,
        lt=1,
        expert=True,
        label='Adam beta 1',
    )
    adam_beta2: float = option(None, "Decay of Adam's second moment.", ge=0, lt=1, expert=True, label='Adam beta 2')
    batch_size: int = option(
        None,
        'Training pairs per step. Halved, with a message, if memory runs out. Larger batches need a higher '
        'learning rate.',
        ge=1,
        le=4096,
        label='Batch size',
    )
    schedule: str = option(
        None,
        'How the learning rate changes during the run.\n'
        'cosine: a short rise, then down to 0; gives a lower error at equal cost.\n'
        'constant: as in the paper.',
        choices=('cosine', 'constant'),
        expert=True,
        label='Schedule',
    )
    warmup: float = option(
        None,
        'Fraction of the run in which the cosine schedule rises from 0.',
        ge=0,
        le=0.5,
        expert=True,
        label='Warm-up',
    )
    ema: float = option(
        None,
        'Decay per step of the running average of the generator, which becomes the model. The closer to 1, the '
        'more steps are averaged; 0 takes the last weights.',
        ge=0,
        lt=1,
        expert=True,
        label='Weight averaging',
    )
    clip: float = option(
        None,
        'Limit on the norm of the gradient; 0 for none. Protects a run against outlying particles.',
        ge=0,
        expert=True,
        label='Gradient clipping',
    )
    precision: str = option(
        'auto',
        'Arithmetic of the networks.\n'
        'auto: bfloat16 where the processor supports it, which is faster, otherwise float32. Losses and metrics '
        'are always float32.',
        choices=('auto', 'float32', 'bfloat16'),
        expert=True,
        label='Precision',
    )


@dataclass
class Length:
    """Length of a run: one of three, or the preset's."""

    GROUP: ClassVar[str] = 'Length'

    epochs: int | None = option(
        None,
        'Length of the run as passes over the training pairs. Give only one of --epochs, --iterations, --minutes.',
        ge=1,
        blank='by training time',
        label='Epochs',
    )
    iterations: int | None = option(
        None,
        'Length of the run as iterations of k_d + k_g steps: the same on every machine.',
        ge=1,
        blank='by training time',
        label='Iterations',
    )
    minutes: float | None = option(
        None,
        'Length of the run as wall time. It includes reading the data and preparing a guided network, for which '
        'fewer particles and templates are used if time is short. The schedule follows the clock, so two such '
        'runs differ slightly.',
        gt=0,
        unit='minutes',
        label='Training time',
    )
    most_epochs: int = option(
        None,
        'End before the training time is over, once the training pairs have been shown this often; 0 = never. A '
        'network that learns from noisy particles alone overfits their noise if it sees them too often.',
        ge=0,
        expert=True,
        label='Epochs at most',
    )


@dataclass
class Evaluation:
    """Options of the evaluations: on what, how often, and what is kept of them."""

    GROUP: ClassVar[str] = 'Validation'

    validation_fraction: float = option(
        None,
        'Fraction of the particles (of each fold model) kept out of training, drawn at random, to choose the best'
        ' checkpoint.',
        gt=0,
        le=0.5,
        expert=True,
        label='Validation fraction',
    )
    evaluations: int = option(
        None,
        'How many times during the run the validation set is evaluated and a checkpoint saved; fewer in a run of so '
        'few minutes that this would take much of them. A run that is killed loses at most one such interval.',
        ge=1,
        le=10000,
        expert=True,
        label='Evaluations',
    )
    patience: int = option(
        None,
        'Stop after this many evaluations without improvement; 0 = never. The end of a run with the cosine '
        'schedule is its best part: leave 0.',
        ge=0,
        expert=True,
        label='Patience',
    )
    keep: int = option(
        None,
        'Number of checkpoints kept: those with the lowest validation error.',
        ge=1,
        le=50,
        expert=True,
        label='Checkpoints kept',
    )
