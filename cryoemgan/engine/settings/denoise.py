"""Parameters of ``denoise``."""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from .base import Settings, batches, option
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

    DECIDING: ClassVar[frozenset[str]] = frozenset({'threads'})

    particles: str = option(
        None,
        'Noisy particles (STAR) with the field of view (box times pixel size) that the model was trained on. '
        'Angles are passed on; only a guided network with a pose prior uses them.',
        required=True,
        path=True,
        label='Particles',
    )
    model: str = option(None, 'Model folder written by train.', required=True, path=True, label='Denoiser model')
    batch_size: int = batches(
        64, 'Number of images denoised at a time; the result does not depend on it. Large boxes take fewer.'
    )
    pose_prior: str = option(
        'model',
        'Networks guided by the map: ' + POSE_PRIOR + ' model: as in training.',
        expert=True,
        label='Pose prior',
    )
    precision: str = option(
        'auto',
        'Arithmetic of the network.\n'
        'auto: bfloat16 where the processor supports it, which is faster, otherwise float32. The difference is '
        'far smaller than the error of the images.',
        choices=('auto', 'float32', 'bfloat16'),
        expert=True,
        label='Precision',
    )
    output_box: str = option(
        'input',
        'input: the result has the box and pixel size of the particles.\n'
        "model: it has those that the network was trained at; the files are smaller if the network's box is.",
        choices=('model', 'input'),
        expert=True,
        label='Output box',
    )
    cut: str = option(
        'auto',
        'Resolution (A) at which the denoised images are softly cut off. Finer detail is what the network thinks '
        'likely, not what the particle shows.\n'
        'auto: where the FRC with the truth, on simulated copies of particles kept out of training, falls below 0.5; '
        'below 0.143 where a cut at 0.5 would take signal away, as at a low SNR (stored in the model).\n'
        'none: no cut-off. Or a number.',
        label='Resolution cut-off',
    )
    uncertainty: bool = option(
        True,
        'Estimate the expected error of each image, in standard deviations of the image (0.3: about a third of '
        'what is seen), and write it as cryoemganUncertainty. It is found by comparing the fold models (or, of a '
        'single network, its answers for the particle and for the particle turned), and takes up to twice the '
        'time.',
        label='Uncertainty',
    )

    def validate(self) -> None:
        """As in every verb; and the pose prior is a width, none or model."""
        super().validate()
        cut_resolution(self.cut)
        if self.pose_prior != 'model':
            degrees(self.pose_prior)
