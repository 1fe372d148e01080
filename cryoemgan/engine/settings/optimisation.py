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
        "Adam's rate for the generator (highest value, when there is a schedule). Above 1e-2 training is "
        'unstable; below 3e-4 five minutes are too short.',
        gt=0,
        le=1,
        expert=True,
        label='Learning rate, generator',
    )
    learning_rate_discriminator: float = option(
        None, "Adam's rate for the discriminator.", gt=0, le=1, expert=True, label='Learning rate, discriminator'
    )
    adam_beta1: float = option(
        None, "Adam's first moment; 0 to 0.5 is usual for Wasserstein.", ge=0, lt=1, expert=True, label='Adam beta 1'
    )
    adam_beta2: float = option(None, "Adam's second moment.", ge=0, lt=1, expert=True, label='Adam beta 2')
    batch_size: int = option(
        None,
        'Pairs a step. Halved with a message when memory runs out. Batches of 64 '
        'and more need a higher learning rate for the same result.',
        ge=1,
        le=4096,
        label='Batch size',
    )
    schedule: str = option(
        None,
        'Learning rate over the run. cosine: short rise, then down to 0, for a lower '
        'error at equal cost; constant: as in the paper.',
        choices=('cosine', 'constant'),
        expert=True,
        label='Schedule',
    )
    warmup: float = option(
        None, 'Part of the run in which the cosine schedule rises from 0.', ge=0, le=0.5, expert=True, label='Warm-up'
    )
    ema: float = option(
        None,
        'Decay of the running average of the generator that becomes the model; 0 takes '
        'the last weights. 0.998 averages about 500 steps.',
        ge=0,
        lt=1,
        expert=True,
        label='Weight averaging',
    )
    clip: float = option(
        None,
        "Limit of the gradient's norm; 0 = none. Saves runs with outlier particles.",
        ge=0,
        expert=True,
        label='Gradient clipping',
    )
    precision: str = option(
        'auto',
        'Arithmetic of the networks. auto: bfloat16 where the processor has it (about '
        'half the time, same result within seeds), else float32. Losses and metrics are always '
        'float32.',
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
        'Length: passes over the training pairs. Give only one of --epochs, --iterations, --minutes.',
        ge=1,
        label='Epochs',
    )
    iterations: int | None = option(
        None, 'Length: iterations of k_d + k_g steps. The same on every machine.', ge=1, label='Iterations'
    )
    minutes: float | None = option(
        None,
        'Length: minutes of wall time for training, reading and the preparation of a guided network included, which '
        'asks about fewer particles and templates where time is short. The schedule '
        'follows the clock, so two such runs differ slightly.',
        gt=0,
        label='Minutes',
    )
    most_epochs: int = option(
        None,
        'With minutes: end before they are over when the training pairs have been shown this often; 0 = never. A '
        'network that learns from noisy particles alone learns their noise by heart when it sees them too often.',
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
        'Part of the particles (of each member) kept out of training, chosen at random by the seed (not by '
        'micrograph), to choose the best checkpoint. At least 1; more than 2,000 are not used at each evaluation.',
        gt=0,
        le=0.5,
        expert=True,
        label='Validation fraction',
    )
    evaluations: int = option(
        None,
        'How often in the run the validation set is measured and a checkpoint '
        'saved. A killed run loses at most one such interval.',
        ge=1,
        le=10000,
        expert=True,
        label='Evaluations',
    )
    patience: int = option(
        None,
        'Stop after this many evaluations without improvement; 0 = never. With the '
        'cosine schedule the end of the run is its best part: leave 0.',
        ge=0,
        expert=True,
        label='Patience',
    )
    keep: int = option(
        None, 'Checkpoints kept: the best ones by validation error.', ge=1, le=50, expert=True, label='Checkpoints kept'
    )
