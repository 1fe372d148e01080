"""What the classical methods share: their interface, and the noise level from an image's corners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch_ctf import calculate_ctf_1d

from ..imaging.ctf import ctf_rfft, seen
from ..shapes import CtfParameters, Flags, Floats, Images


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

    def rows(self, rows: np.ndarray) -> Batch:
        """Some of the images."""
        known = (x if x is None else x[rows] for x in (self.transfer, self.profile))
        return Batch(self.images[rows], self.noise_sd[rows], *known)


def profile_frequencies(box: int) -> Floats:
    """float64 [3 * box], cycles/px: midpoints from 0 to 0.75, fine enough to integrate what a disc of the box holds."""
    return (np.arange(3 * box) + 0.5) / (4 * box)


def transfer(box: int, pixel_size: float, ctf: CtfParameters, held: str) -> tuple[Images, Images]:
    """(``Batch.transfer``, ``Batch.profile``) of images that hold their CTF as ``held`` (phase-flip or full) says."""
    grid, line = ctf_rfft(box, pixel_size, ctf), torch.from_numpy(radial_ctf(box, pixel_size, ctf))
    return seen(grid, held).numpy(), seen(line, held).numpy()


def radial_ctf(box: int, pixel_size: float, ctf: CtfParameters) -> Images:
    """CTF at the mean defocus at ``profile_frequencies(box)``, float32 [n, 3 box]; ctf as ``ParticleTable.ctf``."""
    count = len(ctf['defocus_u'])
    mean = (ctf['defocus_u'] + ctf['defocus_v']) / 2e4
    names = ('voltage', 'cs', 'amplitude_contrast', 'phase_shift')
    values = [torch.as_tensor(v, dtype=torch.float32)[:, None] for v in (mean, *(ctf[n] for n in names))]
    defocus, voltage, cs, amplitude_contrast, phase_shift = values
    # torch-ctf samples from zero to Nyquist: of a finer image, twice as densely, every other one is a midpoint.
    line = calculate_ctf_1d(
        defocus,
        voltage,
        cs,
        amplitude_contrast,
        phase_shift,
        pixel_size=pixel_size / 1.5,
        n_samples=6 * box + 1,
        oversampling_factor=1,
    )
    decay = np.exp(-ctf['b_factor'][:, None] * (profile_frequencies(box) / pixel_size) ** 2 / 4)
    found: Images = (line.reshape(count, -1)[:, 1::2].numpy() * decay).astype(np.float32)
    return found


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
