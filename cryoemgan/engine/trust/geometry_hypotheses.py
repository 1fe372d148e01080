"""What if the pairs are wrong? The usual mistakes in tables and maps, each as templates that would then be right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.image_state import CtfState
from ..shapes import Matrices, Shifts

GIVEN = 'given'
MIRROR, TRANSPOSE = np.diag([1.0, 1.0, -1.0]), (0, 2, 1)
# Factors by which shifts are wrong when they are in the pixels of another binning, beside those of a unit.
BINNINGS = (0.25, 0.5, 2.0, 4.0)
PIXEL_SIZES = (-10, -5, 5, 10)
# Pixel sizes that differ by less are the same.
SAME_SIZE = 0.01
# Degrees that a phase plate adds, on top of what the table says.
PHASES = (30, 60, 90, 120, 150)
STATES = {
    CtfState.NONE: 'no CTF', CtfState.FLIPPED: 'phase-flipped particles', CtfState.FULL: 'a full CTF',
    CtfState.PREMULTIPLIED: 'particles multiplied by their CTF',
}  # fmt: skip


@dataclass(frozen=True)
class Hypothesis:
    """How templates are made otherwise.

    Attributes
    ----------
    kind : str
        What would be wrong: hypotheses of one kind exclude each other.
    matrices : float [n, 3, 3]
    shifts : float [n, 2]
        px.
    scale : float
        Of the map.
    pixel : float
        Of the pixel size of the images, which changes the scale of the map and the CTF.
    ctf : str or None
        CTF state of the particles; None: the one that the table says.
    phase : float
        Degrees, added to the phase shift of the table.
    """

    kind: str
    matrices: Matrices
    shifts: Shifts
    scale: float = 1.0
    pixel: float = 1.0
    ctf: str | None = None
    phase: float = 0.0


def hypotheses(
    matrices: Matrices,
    shifts: Shifts,
    mode: str,
    has_ctf: bool,
    pixel_size: float,
    header: float | None = None,
    volume: float | None = None,
) -> dict[str, Hypothesis]:
    """{name: Hypothesis} of what may be true instead of what the table says.

    Parameters
    ----------
    matrices, shifts
        As given, float [n, 3, 3] and [n, 2] (px).
    mode : str
        CTF state of the particles, as given.
    has_ctf : bool
        Whether the table has CTF parameters.
    pixel_size : float
        A.
    header : float, optional
        Pixel size in the header of the particles' stack, where it is another one.
    volume : float, optional
        A, pixel size of a map that has the box of the particles and should therefore have their pixels.
    """
    given = Hypothesis(GIVEN, matrices, shifts)
    found = {
        'the inverse rotations (another convention of angles)': replace(
            given, kind='angles', matrices=matrices.transpose(TRANSPOSE)
        ),
        **_mirrors(given),
        **_shifts(given, pixel_size),
    }
    for percent in PIXEL_SIZES:
        name = f'a pixel size of the map {abs(percent)} % {"smaller" if percent < 0 else "larger"}'
        # Larger pixels of the map: those of the image are smaller beside them.
        found[name] = replace(given, kind='pixel size', scale=1 / (1 + percent / 100))
    if header:
        name = f'the pixel size of {header:g} A in the header of the stack'
        found[name] = replace(given, kind='pixel size', pixel=header / pixel_size)
    factor = volume / pixel_size if volume else 1.0
    if all(abs(factor * (1 + percent / 100) - 1) > SAME_SIZE for percent in (0, *PIXEL_SIZES)):
        name = f'a map of {pixel_size:g} A/px, like the particles, whose box it has'
        found[name] = replace(given, kind='pixel size', scale=factor)
    if has_ctf:
        found |= {word: replace(given, kind='CTF', ctf=s.value) for s, word in STATES.items() if s.value != mode}
        if mode != CtfState.NONE:
            for degrees in PHASES:
                name = f'a phase shift about {degrees} degrees larger (a phase plate: _rlnPhaseShift)'
                found[name] = replace(given, kind='phase shift', phase=float(degrees))
    return found


def _mirrors(given: Hypothesis) -> dict[str, Hypothesis]:
    """The map of the other hand, by whichever axis programs mirror; where they leave the centre.

    An even box that is turned round as a whole has its centre one voxel beside where it was.
    """
    axes = {'z': MIRROR, 'y': np.diag([1.0, -1.0, 1.0]), 'x': np.diag([-1.0, 1.0, 1.0]), 'all': -np.eye(3)}
    found = {}
    for axis, mirror in axes.items():
        matrices = given.matrices @ mirror
        name = 'the mirrored map (the other hand' + (')' if axis == 'z' else f', along {axis})')
        found[name] = replace(given, kind='hand', matrices=matrices)
        beside = matrices[:, :2, :] @ (mirror.diagonal() < 0)
        found[name.removesuffix(')') + ', its centre moved by one voxel)'] = replace(
            given, kind='hand', matrices=matrices, shifts=given.shifts - beside
        )
    return found


def _shifts(given: Hypothesis, pixel_size: float) -> dict[str, Hypothesis]:
    if np.abs(given.shifts).max(initial=0) <= 0.5:
        return {}
    factors = {
        -1.0: 'shifts of the opposite sign',
        0.0: 'no shifts (particles that are centred already)',
        pixel_size: 'shifts in pixels where the table says Angstrom',
        1 / pixel_size: 'shifts in Angstrom where the table says pixels',
    }
    for factor in BINNINGS:
        if all(abs(factor / known - 1) > 0.1 for known in factors if known > 0):
            factors[factor] = f'shifts {factor:g} times as large (pixels of another binning)'
    near_one = [f for f in factors if abs(f - 1) < 0.1]
    return {
        name: replace(given, kind='shifts', shifts=factor * given.shifts)
        for factor, name in factors.items()
        if factor not in near_one
    }
