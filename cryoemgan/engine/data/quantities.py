"""What the numbers of a table can be: the physical range of every column, its unit, and the units it is mistaken for.

A number outside its range is a slip of unit or of column, and would spoil every image without a word; it is refused
with its column, row and value, and with the unit that it seems to be in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..shapes import Floats


@dataclass(frozen=True)
class Quantity:
    """A kind of number: what it may be, what it mostly is, and what else people write.

    Attributes
    ----------
    name, unit : str
        As messages write them.
    low, high : float
        What is possible.
    usual : (float, float)
        Absolute values that experiments have: a value that falls among them in another unit is in that unit.
    slips : ((unit, factor), ...)
        Other units, and what one of them is in this one.
    least : float
        A whole column that holds nothing but 0 and absolute values below this is in another unit.
    whole : bool
        Whole numbers only.
    """

    name: str
    unit: str
    low: float
    high: float
    usual: tuple[float, float] = (np.inf, np.inf)
    slips: tuple[tuple[str, float], ...] = ()
    least: float = 0.0
    whole: bool = False

    @property
    def range(self) -> str:
        """The range, for messages."""
        return f'{self.low:g} to {self.high:g}{" " * bool(self.unit)}{self.unit}'

    def possible(self, values: Floats) -> np.ndarray:
        """bool [n]: which values can be; NaN and infinity cannot."""
        values = np.asarray(values, np.float64)
        fits = (values >= self.low) & (values <= self.high)
        return fits & (values == np.round(values)) if self.whole else fits

    def likely_unit(self, value: float) -> str:
        """A clause on the unit that an impossible value seems to be in; empty when none is likely."""
        for unit, factor in self.slips:
            if self.usual[0] <= abs(value) * factor <= self.usual[1]:
                return f'; it looks like {unit}: write {value * factor:.6g}{" " * bool(self.unit)}{self.unit}'
        return ''


PIXEL = Quantity('pixel size', 'A', 0.05, 100, (0.2, 20), (('nm', 10), ('m', 1e10), ('um', 1e4), ('pm', 0.01)))
VOLTAGE = Quantity('voltage', 'kV', 1, 5000, (30, 1500), (('V', 1e-3), ('MV', 1e3)))
SPHERICAL = Quantity('spherical aberration', 'mm', -100, 100, (0.001, 10), (('um', 1e-3), ('nm', 1e-6), ('A', 1e-7)))
CONTRAST = Quantity('amplitude contrast', '', -1, 1, (0.01, 1), (('percent', 0.01),))
DEFOCUS = Quantity('defocus', 'A', -1e6, 1e6, (500, 2e5), (('um', 1e4), ('nm', 10), ('m', 1e10), ('pm', 0.01)), 20)
ANGLE = Quantity('angle', 'degrees', -3600, 3600)
SHIFT = Quantity('shift', 'px or A, by the name of the column', -1e4, 1e4)
POSITION = Quantity('position in the micrograph', 'px', -1e6, 1e6)
COUNT = Quantity('number', '', 0, 2**53, whole=True)
TILT = Quantity('beam tilt', 'mrad', -100, 100)

QUANTITIES = {
    'rlnVoltage': VOLTAGE,
    'rlnSphericalAberration': SPHERICAL,
    'rlnAmplitudeContrast': CONTRAST,
    'rlnDefocusU': DEFOCUS,
    'rlnDefocusV': DEFOCUS,
    'rlnDefocusAngle': ANGLE,
    'rlnPhaseShift': ANGLE,
    # A gain of exp(300 A^2 / 16) at 2 A is more than any refinement finds, and still a number that images can hold.
    'rlnCtfBfactor': Quantity('B factor of the CTF', 'A^2', -300, 1e5),
    'rlnCtfScalefactor': Quantity('scale of the CTF', '', -100, 100),
    'rlnImagePixelSize': PIXEL,
    'rlnPixelSize': PIXEL,
    'rlnMicrographOriginalPixelSize': PIXEL,
    'rlnDetectorPixelSize': Quantity(
        'pixel size of the detector', 'um', 0.01, 1000, (1, 100), (('A', 1e-4), ('m', 1e6))
    ),
    'rlnMagnification': Quantity('magnification', '', 10, 1e8),
    'rlnAngleRot': ANGLE,
    'rlnAngleTilt': ANGLE,
    'rlnAnglePsi': ANGLE,
    'rlnOriginX': SHIFT,
    'rlnOriginY': SHIFT,
    'rlnOriginXAngst': SHIFT,
    'rlnOriginYAngst': SHIFT,
    'rlnCoordinateX': POSITION,
    'rlnCoordinateY': POSITION,
    'rlnRandomSubset': COUNT,
    'rlnClassNumber': COUNT,
    'rlnHelicalTubeID': COUNT,
    'rlnImageId': COUNT,
    'rlnImageSize': Quantity('box', 'px', 1, 65536, whole=True),
    'rlnBeamTiltX': TILT,
    'rlnBeamTiltY': TILT,
    **{f'rlnMagMat{i}{i}': Quantity('magnification', '', 0.5, 2) for i in '01'},
    **{f'rlnMagMat{i}{j}': Quantity('shear of the magnification', '', -0.5, 0.5) for i, j in ('01', '10')},
}
# Of a pixel: far above what any camera or map holds, far below where sums of squares in float32 end.
LARGEST_VALUE = 1e12
# Three angles of many particles never all lie in so narrow a range, unless they are in radians.
RADIANS, FEWEST = 2 * np.pi + 1e-3, 20


def require_possible(path: Path | str, label: str, values: Floats, row_word: str = 'row') -> None:
    """InputError when a column holds what it cannot be; columns that are not known here pass.

    Parameters
    ----------
    path
        Of the table, for the message.
    label
        Of the column, as ``rlnVoltage``.
    values : float64 [n]
    row_word
        What a row is: ``row``, or ``optics row``.
    """
    quantity = QUANTITIES.get(label)
    if quantity is None or not len(values):
        return
    values = np.asarray(values, np.float64)
    bad = np.flatnonzero(~quantity.possible(values))
    if len(bad):
        value = float(values[bad[0]])
        whole = 'a whole number, ' if quantity.whole else ''
        raise InputError(
            f'{path}: column _{label}, {row_word} {bad[0] + 1}: {value:.10g} is not a possible {quantity.name} '
            f'({whole}{quantity.range}){quantity.likely_unit(value)} ({len(bad)} of {len(values)} rows)'
        )
    largest = np.abs(values).max()
    if 0 < largest < quantity.least:
        row = int(np.abs(values).argmax())
        raise InputError(
            f'{path}: column _{label}, {row_word} {row + 1}: {values[row]:.10g} is the largest value, too small for a '
            f'{quantity.name} in {quantity.unit}{quantity.likely_unit(float(values[row]))}'
        )


def require_degrees(path: Path | str, rot: Floats, tilt: Floats, psi: Floats) -> None:
    """InputError when the projection angles [n] of a set are in radians."""
    angles = np.abs(np.stack([rot, tilt, psi]))
    if angles.shape[1] >= FEWEST and angles.max() <= RADIANS and np.ptp(psi) > 1:
        raise InputError(
            f'{path}: columns _rlnAngleRot, _rlnAngleTilt, _rlnAnglePsi: no angle of {angles.shape[1]} particles is '
            f'larger than {angles.max():.3g}: they look like radians; write degrees'
        )
