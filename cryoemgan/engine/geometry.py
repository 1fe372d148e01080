"""Orientations: RELION's and Xmipp's Euler angles and the matrices that project with them.

Convention (checked against RELION's images and xmippLib): p_img = A(rot, tilt, psi) p_vol, column vectors (x, y, z)
about the origin at N//2; the rows of A are the axes of the image in the frame of the volume. ZYZ angles in degrees.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from .shapes import Floats, Matrices


def euler_to_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> Matrices:
    """Matrices A float64[..., 3, 3] of ZYZ angles in degrees (scalars or arrays that broadcast)."""
    angles = np.stack(np.broadcast_arrays(rot, tilt, psi), axis=-1).astype(np.float64)
    # RELION rotates the frame, scipy the vector: one is the transpose of the other.
    active = Rotation.from_euler('ZYZ', angles.reshape(-1, 3), degrees=True).as_matrix()
    return active.swapaxes(-1, -2).reshape(*angles.shape[:-1], 3, 3)


def matrix_to_euler(matrices: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """(rot, tilt, psi) in degrees, float64[...] each, of matrices A[..., 3, 3]; 0 <= tilt <= 180.

    At tilt 0 and 180 only the sum or difference of rot and psi is determined: rot is set to 0 there.
    """
    # scipy's as_euler is wrong by 1.5e-8 near tilt 0 and 180 (it takes an arccos); arctan2 is exact there too.
    m = np.asarray(matrices, np.float64)
    sine = np.hypot(m[..., 2, 0], m[..., 2, 1])
    regular = sine > 1e-12
    rot = np.where(regular, np.arctan2(m[..., 2, 1], m[..., 2, 0]), 0.0)
    pole = np.arctan2(m[..., 0, 1], m[..., 1, 1])
    psi = np.where(regular, np.arctan2(m[..., 1, 2], -m[..., 0, 2]), pole)
    return tuple(np.rad2deg(angle) for angle in (rot, np.arctan2(sine, m[..., 2, 2]), psi))


def angles_between(first: Matrices, second: Matrices) -> Floats:
    """Degrees float64[n] by which rotations [n, 3, 3] differ from others."""
    trace = np.einsum('nij,nij->n', first, second)
    return np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def random_matrices(count: int, seed: int | np.random.Generator) -> Matrices:
    """float64[count, 3, 3]: rotations drawn uniformly (Haar measure); ``seed`` is an int or a numpy Generator."""
    return Rotation.random(count, random_state=seed).as_matrix()
