"""The error: one definition for every table and page.

``error`` of a set of images is the mean over images of the squared difference to the truth after the least-squares gain
and offset of each image, over the mean variance of the true images: 0 = the truth, 1 = nothing of it. ``raw_error`` is
the same without gain and offset, the images' means taken off: it also counts a wrong amplitude.
"""

from __future__ import annotations

import numpy as np

from cryoemgan.engine.metrics import frc
from cryoemgan.engine.shapes import Images

FRC_LIMIT = 0.5


def error(images: Images, truth: Images) -> float:
    """Squared difference after a gain and an offset for each image, as a part of the truth's variance."""
    x, y = _centred(images), _centred(truth)
    power, mixed = (x * x).mean((1, 2)), (x * y).mean((1, 2))
    explained = np.divide(mixed**2, power, out=np.zeros_like(power), where=power > 0)
    variance = (y * y).mean((1, 2))
    return float((variance - explained).mean() / variance.mean())


def raw_error(images: Images, truth: Images) -> float:
    """Squared difference, means taken off, as a part of the truth's variance."""
    x, y = _centred(images), _centred(truth)
    return float(((x - y) ** 2).mean() / (y * y).mean())


def gain(images: Images, truth: Images) -> float:
    """The factor for the whole set that brings the images closest to the truth: 1 where the amplitude is right."""
    x, y = _centred(images), _centred(truth)
    return float((x * y).mean() / max(float((x * x).mean()), 1e-30))


def resolution(images: Images, truth: Images, pixel_size: float, limit: float = FRC_LIMIT) -> float | None:
    """A, where the mean FRC with the truth falls below a limit; None when it is never above."""
    curve = frc.ring_correlation(images, truth).mean(0)
    return frc.resolution(curve, limit, pixel_size, truth.shape[-1])


def scores(images: Images, truth: Images, pixel_size: float) -> dict[str, float | None]:
    """All of them by their names."""
    return {
        'error': error(images, truth),
        'raw_error': raw_error(images, truth),
        'gain': gain(images, truth),
        'frc_half': resolution(images, truth, pixel_size),
    }


def expected_ratio(relative: np.ndarray, images: Images, truth: Images) -> float:
    """Expected over true error, r.m.s. over images: 1 = calibrated. relative: [n], expected error in s.d. of the image,
    as the table of ``denoise`` has it."""
    x, y = _centred(images), _centred(truth)
    expected = relative**2 * (x * x).mean((1, 2))
    known = np.isfinite(expected) & (relative < 1e6)
    return float(np.sqrt(expected[known].mean() / ((x - y) ** 2).mean((1, 2))[known].mean()))


def _centred(images: Images) -> np.ndarray:
    x = np.asarray(images, np.float64)
    return x - x.mean((1, 2), keepdims=True)
