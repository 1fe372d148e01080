"""What the classical methods share: their interface, and the noise level from an image's corners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..shapes import Flags, Floats, Images


@dataclass
class Batch:
    """Images with what is known of them.

    images: float32 [n, box, box]. noise_sd: float64 [n], s.d. of the white noise. transfer: float [n, box, box//2 + 1],
    the contrast transfer function on the rfft2 grid, or None when there is none.
    profile: float [n, f], the same without its astigmatism at ``profile_frequencies(box)``.
    """

    images: np.ndarray
    noise_sd: np.ndarray
    transfer: np.ndarray | None = None
    profile: np.ndarray | None = None


def profile_frequencies(box: int) -> Floats:
    """float64 [3 * box], cycles/px: midpoints from 0 to 0.75, fine enough to integrate what a disc of the box holds."""
    return (np.arange(3 * box) + 0.5) / (4 * box)


class Method:
    """A denoiser. ``learns``: needs ``fit``, which sets the attributes ``learnt`` (arrays, or lists of them);
    ``uses_ctf``: takes account of ``Batch.transfer``."""

    learns = False
    learnt: tuple[str, ...] = ()
    uses_ctf = False

    def __init__(self, box: int) -> None:
        self.box = box

    def fit(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Learn from a set. batches: callable that gives a fresh iterator of ``Batch`` (several passes are allowed)."""

    def denoise(self, batch: Batch) -> Images:
        """float32 [n, box, box]: the estimate; without the transfer function where ``uses_ctf``, with it elsewhere."""
        raise NotImplementedError


def corners(box: int) -> Flags:
    """bool [box, box]: pixels outside the inscribed circle, where a centred particle is not."""
    axis = np.arange(box) - box // 2
    return axis[:, None] ** 2 + axis**2 >= (box // 2) ** 2


def corner_noise(images: Images) -> tuple[Floats, Floats]:
    """Mean and s.d. of the pixels outside the inscribed circle of each image: float64 [n], [n]."""
    outside = images[:, corners(images.shape[1])].astype(np.float64)
    return outside.mean(axis=1), outside.std(axis=1, ddof=1)
