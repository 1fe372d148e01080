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

from ..data.optics import electron_wavelength
from ..shapes import CtfParameters, Images, Tensor

# CTF states that images can be made with (data.image_state).
MODES = ('none', 'phase-flip', 'full', 'premultiplied')


def ctf_rfft(box: int, pixel_size: ArrayLike, params: CtfParameters, device: str | torch.device = 'cpu') -> Tensor:
    """CTF on the grid of an rfft2: float32 [n, box, box // 2 + 1].

    Parameters
    ----------
    pixel_size : float or float [n]
        A.
    params : dict of float [n]
        As ParticleTable.ctf() gives them: defocus_u, defocus_v (A, positive = underfocus), defocus_angle, phase_shift
        (deg), voltage (kV), cs (mm), amplitude_contrast; optional: b_factor (A^2), scale, and magnification [n, 2, 2]
        (the CTF at a frequency k of the image is that of the frequency M k of the specimen).
    """
    ctf = (
        _stretched(box, pixel_size, params, device)
        if 'magnification' in params
        else _plain(box, pixel_size, params, device)
    )
    if 'scale' in params:
        ctf *= torch.tensor(params['scale'], dtype=torch.float32, device=device)[:, None, None]
    return ctf


def _stretched(box: int, pixel_size: ArrayLike, params: CtfParameters, device: str | torch.device) -> Tensor:
    """As `ctf_rfft`, with anisotropic magnification, which torch-ctf does not know: the formula above."""
    p = {name: np.asarray(values, np.float64)[:, None, None] for name, values in params.items()}
    sizes = np.broadcast_to(np.asarray(pixel_size, np.float64), len(p['voltage']))[:, None, None]
    y, x = np.meshgrid(np.fft.fftfreq(box), np.fft.rfftfreq(box), indexing='ij')
    m = np.asarray(params['magnification'], np.float64)[:, :, :, None, None] / sizes[:, None, None]
    u, v = (m[:, row, 0] * x + m[:, row, 1] * y for row in (0, 1))
    squared = u**2 + v**2
    wavelength = electron_wavelength(p['voltage'])
    angle = np.arctan2(v, u) - np.deg2rad(p['defocus_angle'])
    defocus = (p['defocus_u'] + p['defocus_v']) / 2 + (p['defocus_u'] - p['defocus_v']) / 2 * np.cos(2 * angle)
    w = p['amplitude_contrast']
    phase = np.pi * wavelength * defocus * squared - np.pi / 2 * 1e7 * p['cs'] * wavelength**3 * squared**2
    phase += np.arctan2(w, np.sqrt(1 - w**2)) + np.deg2rad(p['phase_shift'])
    ctf = np.sin(phase) * np.exp(-p.get('b_factor', 0.0) * squared / 4)
    return torch.tensor(ctf, dtype=torch.float32, device=device)


def _plain(box: int, pixel_size: ArrayLike, params: CtfParameters, device: str | torch.device) -> Tensor:

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
    """Multiply spectra complex [n, N, N // 2 + 1] by what `seen` makes of the CTF."""
    return spectrum if mode == MODES[0] else spectrum * seen(ctf, mode)


def seen(ctf: Tensor, mode: str) -> Tensor:
    """What images of a state show of the CTF: 'full' the CTF, 'phase-flip' its absolute value, 'premultiplied' its
    square (the microscope's, times that of the correction), 'none' 1. ValueError for another mode."""
    if mode not in MODES:
        raise ValueError(f'mode: {mode!r} is not one of {", ".join(MODES)}')
    if mode == 'full':
        return ctf
    return torch.ones_like(ctf) if mode == 'none' else ctf.abs() if mode == 'phase-flip' else ctf.square()


def with_ctf(images: Images, pixel_size: ArrayLike, params: CtfParameters, mode: str = 'full') -> Images:
    """Images float [n, N, N] multiplied by their CTF: float32 [n, N, N]. Arguments as `ctf_rfft` and `apply_ctf`."""
    box = images.shape[-1]
    spectra = torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images, np.float32)))
    return torch.fft.irfft2(apply_ctf(spectra, ctf_rfft(box, pixel_size, params), mode), s=(box, box)).numpy()
