"""How sure a denoised image is: how far answers that ought to be equal lie apart.

Members of a cross-fitted model answer for the same particle without having seen the same noise. A single network is
asked twice, the second time with the particle turned by 180 degrees and moved by a pixel. Disagreement misses what all
answers share (a wrong map): it is a lower bound of the error, scaled on particles kept out of training (see
assessment.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..imaging.flips import turned
from ..posterior.map_prior import ImagePosterior
from ..shapes import Floats, Images
from .model import Model
from .seen_ctf import Knowledge

# Two answers say little about one pixel: the variance is averaged over its neighbours (Gaussian, px).
NEIGHBOURS = 2.0


def answers(
    model: Model, particles: Images, precision: str = 'float32', opinions: Mapping[str, Knowledge] | None = None
) -> Images:
    """All answers to particles [n, N, N]: float32 [k >= 2, n, N, N]; the first len(model.members) are the members'.

    opinions: {member: ImagePosterior} of the particles (Model.ask_all). With one member it is turned with
    the particles: the answers then differ by the network only, and an error of the search does not show in them.
    """
    return begin_answers(model, particles, precision, opinions)()


def begin_answers(
    model: Model, particles: Images, precision: str = 'float32', opinions: Mapping[str, Knowledge] | None = None
) -> Callable[[], Images]:
    """As `answers`, begun on the device: what is given back waits for them when it is called."""
    known = opinions or {}
    begun = [model.begin(particles, m, precision, known.get(m)) for m in model.members]
    if len(begun) == 1:
        # `equivariant` answers a turned particle with the turned answer, however wrong: without an opinion, which stays
        # in its place, the turn is about the middle of the box and moves the origin by a pixel.
        turn = turned if model.guides else lambda images: images[:, ::-1, ::-1]
        moved = [opinion.turned() for opinion in known.values()]
        second = model.begin(np.ascontiguousarray(turn(particles)), None, precision, *moved)
        begun.append(lambda: turn(second()))
    return lambda: np.stack([finish() for finish in begun])


def spread(found: Images, own: Images | None = None) -> Images:
    """Standard deviation over answers [k, n, N, N] about each pixel: float32 [n, N, N]; the mean grey does not count.

    Its mean square is that of the single pixels. own: s.d. of the posterior behind each answer (`posterior_sd`), which
    adds to it.
    """
    found = found - found.mean(axis=(2, 3), keepdims=True)
    variance = gaussian_filter(found.var(axis=0, ddof=1), (0, NEIGHBOURS, NEIGHBOURS), mode='wrap')
    if own is not None:
        variance = variance + np.square(own)
    return np.sqrt(np.maximum(variance, 0))


def calibrated(errors: Floats, spreads: Floats, mean: float | None = None) -> tuple[float, float]:
    """(scale, floor): the expected error is the root of floor^2 + (scale * spread)^2.

    errors, spreads: float64 [n], mean squared error of each of some images (it may be noisy) and mean square of its
    spread. mean: of the errors, where it is better known. By least squares, neither of the two below 0: where spreads
    do not tell which images are worse, all are expected to be as wrong as they are on the average.
    """
    mean, level = float(errors.mean()) if mean is None else mean, float(spreads.mean())
    if mean <= 0 or level <= 0:
        return 1.0, 0.0
    away = spreads - level
    slope = float(away @ errors) / max(float(away @ away), 1e-12 * level**2)
    slope = float(np.clip(slope, 0, mean / level))
    return slope**0.5, max(mean - slope * level, 0.0) ** 0.5


def posterior_sd(model: Model, opinions: Mapping[str, Knowledge] | None) -> Images | None:
    """S.d. of the pixels of each particle by the banks of a guided model, in particle grey: float32 [n, N, N], root
    mean square over members; None for a blind model. opinions: {member: ImagePosterior}."""
    known = [o for o in (opinions or {}).values() if isinstance(o, ImagePosterior)]
    if not known:
        return None
    variance = torch.stack([o.sd.square() for o in known]).mean(0)
    found: Images = abs(model.card['grey']['gain']) * variance.sqrt().cpu().numpy()
    return found


def relative(spreads: Images, images: Images) -> Floats:
    """Root mean square of a spread [n, N, N] in standard deviations of the denoised image [n, N, N]: float64 [n]."""
    size = np.sqrt(np.mean(np.square(spreads, dtype=np.float64), axis=(1, 2)))
    sd = images.std(axis=(1, 2), dtype=np.float64)
    return np.divide(size, sd, out=np.full(len(size), np.inf), where=sd > 0)
