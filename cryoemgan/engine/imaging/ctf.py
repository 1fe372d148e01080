"""The contrast transfer function of the microscope, as RELION and Xmipp apply it.

CTF(s) = +sin(chi + atan(w / sqrt(1 - w^2)) + phase shift) exp(-B s^2 / 4),
chi = pi lambda z s^2 - pi/2 Cs lambda^3 s^4, z = (U + V)/2 + (U - V)/2 cos 2(a - angle), a from the x axis:
at low frequency white protein stays white.
torch-ctf computes it with the exact wavelength; RELION's and Xmipp's constant is 6e-6 longer, which far out, at a
phase of 300 rad, is a difference of 2e-3.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch_ctf import calculate_ctf_2d

from ..shapes import CtfParameters, Images, Tensor

MODES = ('none', 'phase-flip', 'full')


def ctf_rfft(box: int, pixel_size: ArrayLike, params: CtfParameters, device: str | torch.device = 'cpu') -> Tensor:
    """CTF on the grid of an rfft2: float32 [n, box, box // 2 + 1].

    Parameters
    ----------
    pixel_size : float or float [n]
        A.
    params : dict of float [n]
        As ParticleTable.ctf() gives them: defocus_u, defocus_v (A, positive = underfocus), defocus_angle, phase_shift
        (deg), voltage (kV), cs (mm), amplitude_contrast, b_factor (A^2, optional).
    """

    def tensor(values: ArrayLike) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    u, v = np.asarray(params['defocus_u'], np.float64), np.asarray(params['defocus_v'], np.float64)
    # torch-ctf gives NaN for U < V, which RELION writes; U and V exchanged at a right angle are the same ellipse.
    angle = np.asarray(params['defocus_angle']) + np.where(u < v, 90.0, 0.0)
    sizes = np.broadcast_to(np.asarray(pixel_size, np.float64), u.shape)
    # With one pixel size torch-ctf computes the frequencies once for all images: three times faster.
    one_size = np.ptp(sizes) == 0
    ctf = calculate_ctf_2d(
        defocus=tensor((u + v) / 2e4),
        astigmatism=tensor(abs(u - v) / 2e4),
        astigmatism_angle=tensor(angle),
        voltage=tensor(params['voltage']),
        spherical_aberration=tensor(params['cs']),
        amplitude_contrast=tensor(params['amplitude_contrast']),
        phase_shift=tensor(params['phase_shift']),
        pixel_size=float(sizes[0]) if one_size else tensor(sizes),
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    b_factor = np.asarray(params.get('b_factor', 0.0), np.float64)
    if np.any(b_factor):
        fx, fy = torch.fft.rfftfreq(box, device=device), torch.fft.fftfreq(box, device=device)
        squared = fx**2 + fy[:, None] ** 2
        ctf *= torch.exp(-tensor(b_factor / sizes**2)[:, None, None] / 4 * squared)
    return ctf


def apply_ctf(spectrum: Tensor, ctf: Tensor, mode: str = 'full') -> Tensor:
    """Multiply spectra complex [n, N, N // 2 + 1] by the CTF ('full'), its absolute value ('phase-flip') or 1 ('none').

    Phase-flipped particles hold |CTF|: the microscope's CTF times its sign. ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f'mode: {mode!r} is not one of {", ".join(MODES)}')
    if mode == 'none':
        return spectrum
    return spectrum * (ctf if mode == 'full' else ctf.abs())


def with_ctf(images: Images, pixel_size: ArrayLike, params: CtfParameters, mode: str = 'full') -> Images:
    """Images float [n, N, N] multiplied by their CTF: float32 [n, N, N]. Arguments as `ctf_rfft` and `apply_ctf`."""
    box = images.shape[-1]
    spectra = torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images, np.float32)))
    return torch.fft.irfft2(apply_ctf(spectra, ctf_rfft(box, pixel_size, params), mode), s=(box, box)).numpy()
