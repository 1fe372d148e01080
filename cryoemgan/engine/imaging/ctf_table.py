"""The CTFs of a whole set, ready on a device: those of any images of it follow without the host.

The phase of a CTF is linear in five numbers of its image, with functions of the frequency (sx, sy) that all images
share: s^2, sx^2 - sy^2, 2 sx sy, s^4 and 1 (ctf.py has the formula). So the CTFs of a batch are the sine of a product
of two matrices. With anisotropic magnification s is M s, and four more functions of fourth order are needed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch_ctf import calculate_relativistic_electron_wavelength

from ..devices import to_device
from ..shapes import CtfParameters, Rows, Tensor
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
        quadratic = np.stack([squared, x**2 - y**2, 2 * x * y])
        quartic = quadratic[[0, 0, 0, 1, 1]] * quadratic[[0, 1, 2, 1, 2]]
        coefficients, decay = _coefficients(pixel_size, params)
        # Without anisotropic magnification four of the quartic functions are not needed.
        kept = [0, 1, 2, 3, *range(4, 8), 8] if 'magnification' in params else [0, 1, 2, 3, 8]
        basis = np.concatenate([quadratic, quartic, np.ones_like(squared)[None]])[kept].reshape(len(kept), -1)
        self._basis = torch.tensor(basis, dtype=torch.float32, device=device)
        self._coefficients = torch.tensor(coefficients[:, kept], dtype=torch.float32, device=device)
        self._decay: Tensor | None = None
        if np.any(decay):
            self._decay = torch.tensor(decay, dtype=torch.float32, device=device)
        self._scale: Tensor | None = None
        if 'scale' in params:
            self._scale = torch.tensor(params['scale'], dtype=torch.float32, device=device)

    def __call__(self, rows: Tensor) -> Tensor:
        """CTFs of some images on the grid of an rfft2: float32 [n, box, box // 2 + 1].

        rows: int64 [n], on the table's device.
        """
        ctf = (self._coefficients[rows] @ self._basis).sin_()
        if self._decay is not None:
            ctf *= torch.exp(self._decay[rows] @ self._basis[:3])
        if self._scale is not None:
            ctf *= self._scale[rows, None]
        return ctf.view(-1, self.box, self.box // 2 + 1)

    def apply(self, images: Tensor, rows: Tensor, mode: str = 'full') -> Tensor:
        """Images float32 [n, box, box] multiplied by the CTFs of ``rows`` as ``mode`` says (`ctf.apply_ctf`)."""
        if mode == MODES[0]:
            return images
        spectra = apply_ctf(torch.fft.rfft2(images), self(rows), mode)
        return torch.fft.irfft2(spectra, s=(self.box, self.box))


def plane_of_ctf(ctf: Tensor) -> Tensor:
    """CTFs [n, N, N // 2 + 1] of an rfft2 as images [n, N, N] of the whole plane about N // 2, which turn as images do.

    ``N`` even.
    """
    box = ctf.shape[-2]
    # F(-k) = F(k): the missing columns are the others, reversed in both directions.
    rest = ctf[..., 1 : (box + 1) // 2].flip(-1, -2).roll(1, -2)
    return torch.fft.fftshift(torch.cat([ctf, rest], -1), dim=(-2, -1))


def half_plane(planes: Tensor) -> Tensor:
    """The inverse of `plane_of_ctf`: [n, N, N] -> [n, N, N // 2 + 1]."""
    return torch.fft.ifftshift(planes, dim=(-2, -1))[..., : planes.shape[-1] // 2 + 1]


class CtfPlanes:
    """CTF planes of images of a set for a network, on whatever device they are asked for.

    Parameters: as of `CtfTable`.
    """

    def __init__(self, box: int, pixel_size: float, params: CtfParameters) -> None:
        self._of = box, pixel_size, params
        self._tables: dict[torch.device, CtfTable] = {}

    def __call__(self, rows: Rows, device: torch.device) -> Tensor:
        """float32 [n, 1, box, box] of these rows (`plane_of_ctf`)."""
        if device not in self._tables:
            self._tables[device] = CtfTable(*self._of, device)
        return plane_of_ctf(self._tables[device](to_device(rows, device)))[:, None]


def _coefficients(pixel_size: float, params: CtfParameters) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the nine functions float64 [n, 9], and the exponent of the decay by the first three [n, 3].

    The functions: q0 = s^2, q1 = sx^2 - sy^2, q2 = 2 sx sy, q0^2, q0 q1, q0 q2, q1^2, q1 q2 and 1; s in cycles per
    pixel.
    """
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    wavelength = _wavelength(p['voltage'])
    twice = 2 * np.deg2rad(p['defocus_angle'])
    first = np.pi * wavelength / pixel_size**2
    mean, half = (p['defocus_u'] + p['defocus_v']) / 2, (p['defocus_u'] - p['defocus_v']) / 2
    m = p.get('magnification', np.broadcast_to(np.eye(2), (len(mean), 2, 2)))
    # What q0, q1 and q2 of the specimen's frequency are in those of the image's.
    own, axes, diagonals = (
        _form(m, np.array(f, np.float64)) for f in ([[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]])
    )
    quadratic = first[:, None] * (
        mean[:, None] * own + (half * np.cos(twice))[:, None] * axes + (half * np.sin(twice))[:, None] * diagonals
    )
    a, b, c = own.T
    # From mm to A.
    fourth = (-np.pi / 2 * 1e7 * p['cs'] * wavelength**3 / pixel_size**4)[:, None]
    # q2^2 = q0^2 - q1^2.
    quartic = fourth * np.stack([a**2 + c**2, 2 * a * b, 2 * a * c, b**2 - c**2, 2 * b * c], axis=1)
    w = p['amplitude_contrast']
    constant = np.arctan2(w, np.sqrt(1 - w**2)) + np.deg2rad(p['phase_shift'])
    b_factor = np.broadcast_to(p.get('b_factor', 0.0), len(mean))[:, None]
    return np.concatenate([quadratic, quartic, constant[:, None]], axis=1), -b_factor / (4 * pixel_size**2) * own


def _form(m: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Of a quadratic form of M s: its factors of q0, q1, q2 of s, float64 [n, 3]."""
    of = np.einsum('nji,jk,nkl->nil', m, form, m)
    return np.stack([(of[:, 0, 0] + of[:, 1, 1]) / 2, (of[:, 0, 0] - of[:, 1, 1]) / 2, of[:, 0, 1]], axis=1)


def _wavelength(voltage: np.ndarray) -> np.ndarray:
    """Of electrons, A; voltage: kV. There are few different ones in a set."""
    levels, which = np.unique(voltage, return_inverse=True)
    metres = calculate_relativistic_electron_wavelength(torch.from_numpy(1e3 * levels))
    return (1e10 * metres.numpy().astype(np.float64))[which]
