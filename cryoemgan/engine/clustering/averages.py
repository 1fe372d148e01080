"""Averages of the classes of particles: each centred and turned to one in-plane angle where these are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from ..data.table import ParticleTable
from ..shapes import Floats, Images, Rows


def class_averages(table: ParticleTable, labels: ArrayLike, batch: int = 256) -> tuple[np.ndarray, Images, Rows]:
    """(class numbers, averages float32 [classes, N, N], sizes) of a ParticleTable's images by ``labels`` int [n].

    The refinement's shift centres a particle, and psi is undone, so that particles seen from one side agree whatever
    their turn in the plane. Without angles the images are averaged as they are. Reads ``batch`` images at a time.
    """
    labels = np.asarray(labels)
    numbers, members = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(numbers), table.box, table.box))
    images = table.images()
    psi = np.radians(table.floats('rlnAnglePsi')) if table.has('rlnAnglePsi') else None
    shifts = table.shifts()
    for start in range(0, len(table), batch):
        rows = np.arange(start, min(start + batch, len(table)))
        for row, image in zip(rows, images.read(rows)):
            sums[members[row]] += image if psi is None else aligned(image, psi[row], shifts[row])
    sizes = np.bincount(members)
    return numbers, (sums / sizes[:, None, None]).astype(np.float32), sizes


def aligned(image: np.ndarray, psi: float, shift: Floats) -> np.ndarray:
    """An image [N, N] centred by ``shift`` (x, y; px) and turned by psi (radians), linearly, about N // 2.

    p_img = A(rot, tilt, psi) p_vol, and psi is the last turn, in the plane: the image at psi = 0 has at (x, y) what
    this one has at Rz(psi) (x, y) - shift, with Rz = [[cos, sin], [-sin, cos]].
    """
    c, s = np.cos(psi), np.sin(psi)
    # Rows are y, columns x.
    matrix = np.array([[c, -s], [s, c]])
    centre = np.full(2, image.shape[0] // 2)
    return ndimage.affine_transform(image, matrix, centre - matrix @ centre - shift[::-1], order=1)
