"""The CTFs of a whole set, ready on a device: those of any images of it follow without the host.

The phase of a CTF is linear in five numbers of its image, with functions of the frequency (sx, sy) that all images
share: s^2, sx^2 - sy^2, 2 sx sy, s^4 and 1 (ctf.py has the formula). So the CTFs of a batch are the sine of a product
of two matrices.
"""

from __future__ import annotations

import numpy as np
import torch
from torch_ctf import calculate_relativistic_electron_wavelength

from ..shapes import CtfParameters, Tensor
from .ctf import MODES, apply_ctf


class CtfTable:
    """CTFs of the images of a set.

    Parameters
    ----------
    box, pixel_size : int, float
        Of the images: px, and A/px.
    params : dict of float [n]
        As `ctf.ctf_rfft` takes them, for all images of the set.
    device : torch.device
        Where images are going to be.
    """

    def __init__(self, box: int, pixel_size: float, params: CtfParameters, device: str | torch.device = 'cpu') -> None:
        self.box = box
        y, x = np.meshgrid(np.fft.fftfreq(box), np.fft.rfftfreq(box), indexing='ij')
        squared = x**2 + y**2
        basis = np.stack([squared, x**2 - y**2, 2 * x * y, squared**2, np.ones_like(squared)])
        self._basis = torch.tensor(basis.reshape(5, -1), dtype=torch.float32, device=device)
        self._coefficients = torch.tensor(_coefficients(pixel_size, params), dtype=torch.float32, device=device)
        self._decay: Tensor | None = None
        b_factor = np.asarray(params.get('b_factor', 0.0), np.float64)
        if np.any(b_factor):
            # Of a frequency in cycles per pixel.
            self._decay = torch.tensor(-b_factor / (4 * pixel_size**2), dtype=torch.float32, device=device)

    def __call__(self, rows: Tensor) -> Tensor:
        """CTFs of some images on the grid of an rfft2: float32 [n, box, box // 2 + 1].

        rows: int64 [n], on the table's device.
        """
        ctf = (self._coefficients[rows] @ self._basis).sin_()
        if self._decay is not None:
            ctf *= torch.exp(self._decay[rows, None] * self._basis[0])
        return ctf.view(-1, self.box, self.box // 2 + 1)

    def apply(self, images: Tensor, rows: Tensor, mode: str = 'full') -> Tensor:
        """Images float32 [n, box, box] multiplied by the CTFs of ``rows`` as ``mode`` says (`ctf.apply_ctf`)."""
        if mode == MODES[0]:
            return images
        spectra = apply_ctf(torch.fft.rfft2(images), self(rows), mode)
        return torch.fft.irfft2(spectra, s=(self.box, self.box))


def _coefficients(pixel_size: float, params: CtfParameters) -> np.ndarray:
    """float64 [n, 5]: factors of s^2, sx^2 - sy^2, 2 sx sy, s^4 and 1, s in cycles per pixel."""
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    wavelength = _wavelength(p['voltage'])
    twice = 2 * np.deg2rad(p['defocus_angle'])
    first = np.pi * wavelength / pixel_size**2
    mean, half = (p['defocus_u'] + p['defocus_v']) / 2, (p['defocus_u'] - p['defocus_v']) / 2
    w = p['amplitude_contrast']
    return np.stack(
        [
            first * mean,
            first * half * np.cos(twice),
            first * half * np.sin(twice),
            # From mm to A.
            -np.pi / 2 * 1e7 * p['cs'] * wavelength**3 / pixel_size**4,
            np.arctan2(w, np.sqrt(1 - w**2)) + np.deg2rad(p['phase_shift']),
        ],
        axis=1,
    )


def _wavelength(voltage: np.ndarray) -> np.ndarray:
    """Of electrons, A; voltage: kV. There are few different ones in a set."""
    levels, which = np.unique(voltage, return_inverse=True)
    metres = calculate_relativistic_electron_wavelength(torch.from_numpy(1e3 * levels))
    return (1e10 * metres.numpy().astype(np.float64))[which]
