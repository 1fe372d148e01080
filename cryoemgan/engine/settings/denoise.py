"""Parameters of ``denoise``."""

from dataclasses import dataclass

from ..errors import InputError
from .base import Settings, option
from .map_prior import POSE_PRIOR, degrees
from .processes import Processes
from .reading import Reading


def cut_resolution(text: str) -> float | None:
    """Resolution (A) of --cut; None for 'auto' and 'none'. InputError for anything else."""
    if text in ('auto', 'none'):
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise InputError(f'--cut: {text!r} is not auto, none or a resolution in A')
    return value


@dataclass
class Denoise(Processes, Reading, Settings):
    """Denoise particles with a trained model."""

    particles: str = option(
        None,
        'Noisy particles (STAR) with the field of view the model was trained on (box times pixel size, within 0.5 '
        'percent). Angles pass through; only a guided model with a pose prior uses them.',
        required=True,
        path=True,
        label='Particles',
    )
    model: str = option(None, 'Model folder written by train.', required=True, path=True, label='Denoiser model')
    batch_size: int = option(
        64,
        'Images denoised together; the result does not depend on it. Boxes above 128 px take fewer, so that a '
        'batch never holds more than 64 images of 128 px.',
        ge=1,
        le=8192,
        expert=True,
        label='Batch size',
    )
    pose_prior: str = option(
        'model',
        'Guided models only; model = as it was trained. ' + POSE_PRIOR,
        expert=True,
        label='Pose prior',
    )
    precision: str = option(
        'auto',
        'Arithmetic of the network: auto = bfloat16 where the processor multiplies it (up to twice as fast), '
        'float32 elsewhere. Images differ by 1.5 percent of their s.d., their error against the truth by 0.1 percent.',
        choices=('auto', 'float32', 'bfloat16'),
        expert=True,
        label='Precision',
    )
    output_box: str = option(
        'input',
        "input: the result has the particles' box and pixel size; model: those the network was trained at, smaller "
        "files if the network's box is smaller.",
        choices=('model', 'input'),
        expert=True,
        label='Output box',
    )
    cut: str = option(
        'auto',
        'Resolution (A) at which the output is cut softly: beyond it a denoised image shows what the network thinks '
        'likely, not what the particle says. auto: where the FRC with the references of particles kept out of '
        'training fell below 0.5 (in the model card); none: no cut; or a number.',
        label='Resolution cut-off',
    )
    uncertainty: bool = option(
        True,
        'Ask every member of the model (a single network twice, the second time with the particle turned) and write '
        'the expected error of each image, in standard deviations of it, as cryoemganUncertainty: 0.3 = a third of '
        'what is seen. Doubles the time with two members.',
        label='Uncertainty',
    )

    def validate(self) -> None:
        """As in every verb; and the pose prior is a width, none or model."""
        super().validate()
        cut_resolution(self.cut)
        if self.pose_prior != 'model':
            degrees(self.pose_prior)

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """As in every command; the number of threads decides the last digits of the images."""
        return super().of_machine() - {'threads'}
