"""Whether a model fits particles: field of view, box, grey scale; and the boxes on the way through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.sampling import evenly_spread
from ..data.stacks import StackReader
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.resample import resample
from .model import Model

# Fields of view that differ by less are the same; magnifications are calibrated to about a percent.
SAME_FIELD = 0.005
# Pixels denoised together at most: 64 images of 128 px. More needs memory and brings no speed.
PIXELS_AT_ONCE = 64 * 128**2
SAMPLE = 256


@dataclass(frozen=True)
class Boxes:
    """Boxes (px) and pixel size (A) on the way: particles, network, output; and images a batch."""

    input_box: int
    model_box: int
    box: int
    pixel_size: float
    batch_size: int


def choose_boxes(table: ParticleTable, model: Model, output_box: str, batch_size: int) -> Boxes:
    """The Boxes for these particles; InputError when the model saw another field of view.

    A network has learnt objects of one size in pixels: particles may be resampled onto its box when the
    field of view is the same (within 0.5 percent), never otherwise.
    """
    box, pixel_size = table.box, table.pixel_size
    field, trained = box * pixel_size, model.box * model.pixel_size
    if abs(field / trained - 1) > SAME_FIELD:
        raise InputError(
            f'{table.path}: the particles have {box} px of {pixel_size:g} A = {field:.1f} A, the model '
            f'{model.folder} was trained on {model.box} px of {model.pixel_size:g} A = {trained:.1f} A. Extract the '
            f'particles with a box of about {round(trained / pixel_size / 2) * 2} px at their pixel size of '
            f'{pixel_size:g} A, or train a model on these particles'
        )
    result = model.box if output_box == 'model' else box
    at_once = max(1, PIXELS_AT_ONCE // max(box, model.box) ** 2)
    return Boxes(box, model.box, result, pixel_size * box / result, min(batch_size, at_once))


def grey_scale_warning(model: Model, images: StackReader, plan: Boxes) -> str | None:
    """A sentence when the particles' grey values are not those of the training set, else None.

    Looks at up to 256 particles spread over the set.
    """
    rows = evenly_spread(len(images), SAMPLE)
    sums = np.zeros(3)
    for start in range(0, len(rows), plan.batch_size):
        chunk = resample(images.read(rows[start : start + plan.batch_size]), plan.model_box)
        sums += chunk.size, chunk.sum(dtype=np.float64), np.square(chunk, dtype=np.float64).sum()
    mean, trained = sums[1] / sums[0], model.card['input']
    sd = max(sums[2] / sums[0] - mean**2, 0.0) ** 0.5
    if abs(mean - trained['mean']) < 0.5 * trained['sd'] and 0.5 < sd / trained['sd'] < 2:
        return None
    return (
        f'the particles have a mean of {mean:.3g} and an s.d. of {sd:.3g}, the model was trained on '
        f'{trained["mean"]:.3g} and {trained["sd"]:.3g}: normalise them in the same '
        'way, or the result is unreliable'
    )
