"""What a microscope does to images beside its CTF, as the optics groups of RELION say it.

Anisotropic magnification is applied; antisymmetric and higher aberrations are not, and how far they would move the
phase is said. Formulas as in RELION 3.1: its obs_model, tilt_helper and Zernike classes define the columns.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..shapes import Floats

if TYPE_CHECKING:
    from .columns import Columns
    from .table import ParticleTable

MAGNIFICATION = ('rlnMagMat00', 'rlnMagMat01', 'rlnMagMat10', 'rlnMagMat11')
# Anisotropy that moves nothing by a thousandth of a pixel in a box of 1000 px.
NO_DIFFERENCE = 1e-6
# A magnification matrix farther from 1 than this is no measurement of one.
LARGEST_STRETCH = 0.3
# Directions of the Nyquist circle on which phases are compared.
DIRECTIONS = 360
TOMOGRAPHY = {
    'rlnTomoName': 'tilt series', 'rlnTomoParticleName': 'tilt series', 'rlnTomoParticleId': 'tilt series',
    'rlnTomoVisibleFrames': 'tilt series', 'rlnCtfImage': 'subtomograms with a 3D CTF',
}  # fmt: skip


def magnification(table: Columns) -> Floats | None:
    """float64 [n, 2, 2] of each particle, or None where all are 1.

    A frequency k of an image is the frequency M k of the specimen.
    """
    if not any(table.has(label) for label in MAGNIFICATION):
        return None
    found = np.stack([table.floats(m, float(i in (0, 3))) for i, m in enumerate(MAGNIFICATION)], axis=-1)
    found = found.reshape(-1, 2, 2)
    away = np.abs(found - np.eye(2)).max(axis=(1, 2))
    if away.max() > LARGEST_STRETCH:
        row = int(away.argmax())
        raise InputError(
            f'{table.path}: row {row + 1}: the magnification matrix (_rlnMagMat00 to _rlnMagMat11) is '
            f'{found[row].ravel().round(4).tolist()}: anisotropy of magnification is a few percent at most'
        )
    return found if away.max() > NO_DIFFERENCE else None


def stretched(matrices: Floats, magnification: Floats | None) -> Floats:
    """Rotations [n, 3, 3] as images of anisotropic magnification show them: the slice at A^T M k.

    What is stretched is the image, so that a projector takes the result for A; it is no rotation any more.
    """
    if magnification is None:
        return matrices
    out = np.array(matrices, np.float64)
    out[:, :2] = np.einsum('nji,njk->nik', magnification, out[:, :2])
    return out


def unread(table: ParticleTable) -> list[str]:
    """Sentences about what the table says of aberrations and is not applied, with how much it would change."""
    found = [_beam_tilt(table), *(_zernike(table, label) for label in ('rlnOddZernike', 'rlnEvenZernike'))]
    return [f'{table.path}: {sentence}' for sentence in found if sentence]


def _beam_tilt(table: ParticleTable) -> str | None:
    labels = ('rlnBeamTiltX', 'rlnBeamTiltY')
    if not any(table.has(label) for label in labels) or not table.has('rlnSphericalAberration'):
        return None
    tilt = np.hypot(*(table.floats(label, 0.0) for label in labels))
    if not tilt.max() > 0:
        return None
    wavelength = electron_wavelength(table.floats('rlnVoltage'))
    # 2 pi Cs lambda^2 k^3 theta: Cs in mm, theta in mrad.
    nyquist = 0.5 / table.pixel_sizes
    turn = 360 * 1e7 * table.floats('rlnSphericalAberration') * wavelength**2 * nyquist**3 * 1e-3 * tilt
    return _sentence(f'beam tilt of {tilt.max():.3g} mrad (_rlnBeamTiltX, _rlnBeamTiltY)', turn, nyquist)


def _zernike(table: ParticleTable, label: str) -> str | None:
    if not table.has(label):
        return None
    text = table.strings(label)
    nyquist = 0.5 / table.pixel_sizes
    known = {key: largest_phase(key[0], key[1], label == 'rlnOddZernike') for key in set(zip(text, nyquist))}
    turn = np.rad2deg([known[key] for key in zip(text, nyquist)])
    kind = 'antisymmetric' if label == 'rlnOddZernike' else 'symmetric'
    return _sentence(f'{kind} aberrations (_{label})', turn, nyquist) if turn.max() > 0 else None


def _sentence(what: str, turn: Floats, nyquist: Floats) -> str:
    most = int(np.argmax(turn))
    weight = 'it matters' if turn[most] > 45 else 'it hardly matters' if turn[most] < 10 else 'it matters a little'
    return (
        f'{what} is not applied: it moves the phase by up to {turn[most]:.2g} degrees at the resolution of the box '
        f'({1 / nyquist[most]:.3g} A): {weight}'
    )


def largest_phase(text: str, frequency: float, odd: bool) -> float:
    """Largest absolute phase (rad) of RELION's Zernike coefficients on the circle of a frequency (1/A).

    text: ``[0,0.1,...]`` as it stands in a table, in RELION's order of (m, n).
    """
    values = [float(v) for v in re.findall(r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?', text)]
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    phase = np.zeros(DIRECTIONS)
    for index, value in enumerate(values):
        m, n = _odd_order(index) if odd else _even_order(index)
        radial = _radial(abs(m), n, frequency)
        phase += value * radial * (np.cos(m * angles) if m >= 0 else np.sin(-m * angles))
    return float(np.abs(phase).max())


def _odd_order(index: int) -> tuple[int, int]:
    k = int((math.sqrt(1 + 4 * index) - 1) / 2)
    return 2 * (index - k * k - k) - (2 * k + 1), 2 * k + 1


def _even_order(index: int) -> tuple[int, int]:
    k = math.isqrt(index)
    return 2 * (index - k * k - k), 2 * k


def _radial(m: int, n: int, rho: float) -> float:
    """Radial Zernike polynomial."""
    return sum(
        (-1) ** k * math.comb(n - k, k) * math.comb(n - 2 * k, (n - m) // 2 - k) * rho ** (n - 2 * k)
        for k in range((n - m) // 2 + 1)
    )


def electron_wavelength(voltage: Floats) -> Floats:
    """A, relativistic; voltage: kV."""
    volts = 1e3 * np.asarray(voltage, np.float64)
    found: Floats = 12.2642597 / np.sqrt(volts * (1 + 0.978475598e-6 * volts))
    return found


def require_single_particles(table: ParticleTable) -> None:
    """InputError for particles of tomography: they are no projections of one direction each."""
    for label, what in TOMOGRAPHY.items():
        if table.has(label):
            raise _tomography(table, f'_{label}: {what}')
    for label in ('rlnOriginZAngst', 'rlnOriginZ', 'rlnCoordinateZ'):
        # A column of zeros is what a converter of single particles makes of coordinates.
        if table.has(label) and (label != 'rlnCoordinateZ' or table.floats(label).any()):
            raise _tomography(table, f'_{label}: positions in three dimensions')
    if table.has('rlnImageDimensionality') and (table.ints('rlnImageDimensionality') == 3).any():
        raise _tomography(table, '_rlnImageDimensionality 3: volumes')
    if table.has('rlnMicrographName') and table.strings('rlnMicrographName')[0].endswith('.tomostar'):
        raise _tomography(table, 'a tilt series of Warp as _rlnMicrographName')


def _tomography(table: ParticleTable, why: str) -> InputError:
    return InputError(
        f'{table.path}: particles of tomography ({why}): this program denoises single particles, each a projection in '
        'one direction'
    )
