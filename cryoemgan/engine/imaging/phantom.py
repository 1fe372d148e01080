"""A phantom molecule with a moving domain, known in closed form: Gaussian blobs.

The sum of three-dimensional Gaussians projects to a sum of two-dimensional ones, so that projections are exact at
every angle and shift: an independent truth for projectors, and a data set without any file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..shapes import Floats, Images, Matrices, Shifts, Volume

# Sizes are fractions of the box; a blob of 0.028 boxes is 1.8 px wide at 64 px, where sampling loses nothing.
BLOB = 0.028
BODY, MOVING = 110, 50
OPENING = 40.0
# Room for shifts of a few pixels: nothing reaches the edge of the box.
SIZE = 0.85


@dataclass(frozen=True)
class Phantom:
    """Gaussian blobs. centres: [k, 3] (x, y, z) and sigmas: [k] in boxes; heights: [k], density at the centres."""

    centres: np.ndarray
    sigmas: np.ndarray
    heights: np.ndarray

    def volume(self, box: int) -> Volume:
        """Density sampled on a grid [z, y, x] with the origin at box // 2, float32. Its z-sum is its projection."""
        axis = np.arange(box) - box // 2
        x, y, z = (self._profiles(axis, self.centres[None, :, i] * box, box)[0] for i in range(3))
        return np.einsum('kz,ky,kx->zyx', z * self.heights[:, None], y, x, optimize=True).astype(np.float32)

    def project(self, box: int, rotations: Matrices, shifts: Shifts | None = None) -> Images:
        """Exact projections along z, [n, box, box] float32, in the grey scale of ``volume(box).sum(0)``.

        rotations: A [n, 3, 3] of p_img = A p_vol. shifts: s [n, 2] (x, y) in px that centre the image: what is drawn
        is the projection moved by -s.
        """
        centres = box * np.einsum('nij,kj->nki', rotations[:, :2], self.centres)
        if shifts is not None:
            centres -= np.asarray(shifts)[:, None, :]
        axis = np.arange(box) - box // 2
        x, y = (self._profiles(axis, centres[:, :, i], box) for i in range(2))
        # A Gaussian is separable: the image is a matrix product of its profiles.
        strength = self.heights * np.sqrt(2 * np.pi) * self.sigmas * box
        return (y.transpose(0, 2, 1) @ (x * strength[:, None])).astype(np.float32)

    def _profiles(self, axis: np.ndarray, centres: np.ndarray, box: int) -> Floats:
        """[n, k] positions in px -> [n, k, len(axis)] Gaussian profiles of height 1."""
        return np.exp(-0.5 * ((axis - centres[..., None]) / (self.sigmas * box)[:, None]) ** 2)


def claw(states: int, seed: int = 7) -> list[Phantom]:
    """``states`` conformations of a claw of two jaws; one jaw turns by 0 to 40 degrees about its hinge.

    Returns a list of Phantom, closed first. Every phantom fills about 0.7 of the box and has no symmetry.
    """
    rng = np.random.default_rng(seed)
    body, jaw = _body(rng), _jaw(rng)
    hinge = np.array([-0.08, 0.0, 0.04])
    axis = np.array([0.25, 1.0, 0.1]) / np.linalg.norm([0.25, 1.0, 0.1])
    sigmas = np.full(BODY + MOVING, BLOB) * rng.uniform(0.9, 1.3, BODY + MOVING)
    heights = rng.uniform(0.5, 1.5, BODY + MOVING)
    result = []
    for angle in np.linspace(0, OPENING, states) if states > 1 else [0.0]:
        turned = Rotation.from_rotvec(-np.deg2rad(angle) * axis).apply(jaw - hinge) + hinge
        result.append(Phantom(SIZE * np.concatenate([body, turned]), sigmas, heights))
    return result


def _body(rng: np.random.Generator) -> Floats:
    """Blobs of the base and the fixed jaw."""
    base = rng.normal([-0.10, 0.0, -0.02], [0.07, 0.10, 0.08], (70, 3))
    return np.concatenate([base, _arm(rng, BODY - 70, [-0.06, 0.0, -0.10], [0.29, 0.06, -0.10], 0.045)])


def _jaw(rng: np.random.Generator) -> Floats:
    """Blobs of the jaw that moves, ending in a knob off its axis."""
    arm = _arm(rng, MOVING - 15, [-0.06, 0.0, 0.08], [0.27, -0.03, 0.11], 0.04)
    return np.concatenate([arm, rng.normal([0.25, -0.10, 0.14], 0.03, (15, 3))])


def _arm(rng: np.random.Generator, count: int, start: list[float], end: list[float], width: float) -> Floats:
    along = np.linspace(0, 1, count)[:, None]
    return (1 - along) * np.array(start) + along * np.array(end) + rng.normal(0, width, (count, 3))
