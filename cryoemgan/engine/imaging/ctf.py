"""The contrast transfer function of the microscope, as RELION and Xmipp apply it.

CTF(s) = +sin(chi + atan(w / sqrt(1 - w^2)) + phase shift) exp(-B s^2 / 4),
chi = pi lambda z s^2 - pi/2 Cs lambda^3 s^4, z = (U + V)/2 + (U - V)/2 cos 2(a - angle), a from the x axis:
at low frequency white protein stays white.
torch-ctf computes it with the exact wavelength; RELION's and Xmipp's constant is 6e-6 longer, which far out, at a
phase of 300 rad, is a difference of 2e-3.
"""

import numpy as np
import torch
from torch_ctf import calculate_ctf_2d

MODES = ('none', 'phase-flip', 'full')


def ctf_rfft(box, pixel_size, params, device='cpu'):
    """CTF on the grid of an rfft2: float32[B, box, box//2 + 1].

    pixel_size: A, float or float[B]. params: arrays float[B] as ParticleTable.ctf() gives them: defocus_u,
    defocus_v (A, positive = underfocus), defocus_angle, phase_shift (deg), voltage (kV), cs (mm),
    amplitude_contrast, b_factor (A^2, optional).
    """

    def tensor(values):
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


def apply_ctf(spectrum, ctf, mode='full'):
    """Multiply spectra complex[B, N, N//2+1] by the CTF ('full'), its absolute value ('phase-flip') or 1 ('none').

    Phase-flipped particles hold |CTF|: the microscope's CTF times its sign.
    """
    if mode not in MODES:
        raise ValueError(f'mode: {mode!r} is not one of {", ".join(MODES)}')
    if mode == 'none':
        return spectrum
    return spectrum * (ctf if mode == 'full' else ctf.abs())
