"""Columns of a table as the image model takes them: pixel sizes, poses and CTF."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..geometry import euler_to_matrix
from ..shapes import CtfParameters, Floats, Matrices, Rows, Shifts
from . import optics
from .columns import Columns
from .quantities import require_degrees, require_possible
from .sampling import chunks

# Particles that are turned into matrices together.
CHUNK = 2**14
# Names of a quantity in RELION 3.1 (A) and 3.0 (px).
SHIFTS = (('rlnOriginXAngst', 'rlnOriginX'), ('rlnOriginYAngst', 'rlnOriginY'))


class ImageModel(Columns):
    """What each particle's image is: how large its pixels are, from where the particle was seen, through which CTF."""

    @property
    def pixel_sizes(self) -> Floats:
        """float64 [n], A: of the image, from the optics group (3.1) or detector and magnification (3.0)."""
        if self.has('rlnImagePixelSize'):
            sizes = self.floats('rlnImagePixelSize')
        elif self.has('rlnDetectorPixelSize') and self.has('rlnMagnification'):
            sizes = 1e4 * self.floats('rlnDetectorPixelSize') / self.floats('rlnMagnification')
        elif self.has('rlnPixelSize'):
            sizes = self.floats('rlnPixelSize')
        else:
            raise InputError(
                f'{self.path}: no pixel size (_rlnImagePixelSize of the optics group, or '
                '_rlnDetectorPixelSize and _rlnMagnification)'
            )
        require_possible(self.path, 'rlnPixelSize', sizes)
        return sizes

    @property
    def pixel_size(self) -> float:
        """Pixel size of the whole set, A; InputError when optics groups differ by more than 0.1 percent."""
        sizes = self.pixel_sizes
        if sizes.max() > 1.001 * sizes.min():
            raise InputError(
                f'{self.path}: pixel sizes from {sizes.min():g} to {sizes.max():g} A; take one optics '
                'group at a time, or resample the particles to one pixel size'
            )
        return float(np.median(sizes))

    def rotations(self) -> Matrices:
        """float64 [n,3,3]: A with p_img = A p_vol (ZYZ Euler angles rot, tilt, psi); InputError without angles."""
        missing = [a for a in ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi') if not self.has(a)]
        if missing:
            raise InputError(
                f'{self.path}: particles without projection angles (_{", _".join(missing)} missing); '
                'use the particles that came out of a 3D refinement'
            )
        angles = [self.floats(a) for a in ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')]
        require_degrees(self.path, *angles)
        found: Matrices = np.empty((len(angles[0]), 3, 3))
        # What is worked with on the way is several times as large.
        for part in chunks(len(found), CHUNK):
            found[part] = euler_to_matrix(*(values[part] for values in angles))
        return found

    def shifts(self) -> Shifts:
        """float64 [n,2], px: (x, y) shift that centres the image; the raw image is the projection moved by minus it."""
        columns = []
        for angstrom, pixels in SHIFTS:
            if self.has(angstrom):
                columns.append(self.floats(angstrom) / self.pixel_sizes)
            else:
                columns.append(self.floats(pixels, 0.0))
        return np.stack(columns, axis=1)

    def ctf(self) -> CtfParameters:
        """CTF parameters, each float64 [n]: defocus_u/v (A), defocus_angle, phase_shift (deg), voltage (kV), cs (mm),
        amplitude_contrast, b_factor (A^2); where they are not 1, scale and magnification [n,2,2]. InputError when
        defocus or microscope are missing."""
        if not self.has('rlnDefocusU'):
            raise InputError(
                f'{self.path}: particles without CTF (_rlnDefocusU missing): estimate it first; if their '
                'CTF was corrected, or they never had one, make the references with project --ctf none'
            )
        u = self.floats('rlnDefocusU')
        found = dict(
            defocus_u=u,
            defocus_v=self.floats('rlnDefocusV') if self.has('rlnDefocusV') else u,
            defocus_angle=self.floats('rlnDefocusAngle', 0.0),
            voltage=self.floats('rlnVoltage'),
            cs=self.floats('rlnSphericalAberration'),
            amplitude_contrast=self.floats('rlnAmplitudeContrast'),
            phase_shift=self.floats('rlnPhaseShift', 0.0),
            b_factor=self.floats('rlnCtfBfactor', 0.0),
        )
        if self.has('rlnCtfScalefactor') and (self.floats('rlnCtfScalefactor') != 1).any():
            found['scale'] = self.floats('rlnCtfScalefactor')
        stretch = self.magnification()
        return found if stretch is None else {**found, 'magnification': stretch}

    def magnification(self) -> Floats | None:
        """float64 [n,2,2], anisotropic magnification of each image, or None when there is none (`optics`)."""
        return optics.magnification(self)

    def projections(self) -> Matrices:
        """float64 [n,3,3]: `rotations` as the images show them, stretched where magnification is anisotropic."""
        return optics.stretched(self.rotations(), self.magnification())

    def half_sets(self) -> Rows | None:
        """int64 [n] (1 or 2), or None when the refinement left none."""
        return self.ints('rlnRandomSubset') if self.has('rlnRandomSubset') else None
