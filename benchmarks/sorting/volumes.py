"""A map changed as molecules are: with a domain gone, or one more bound."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cryoemgan.engine.shapes import Volume

# Parts of the mass: of what breaks off, and of a domain that binds.
LOST, BOUND = 0.3, 0.1
DIRECTION = np.array([0.35, -0.8, 0.49])


def broken(volume: Volume, lost: float = LOST) -> Volume:
    """The map without what lies beyond a plane: a part ``lost`` of its mass."""
    along = _along(volume)
    mass = np.clip(volume, 0, None).ravel()
    order = np.argsort(along.ravel())
    reached = np.cumsum(mass[order]) / mass.sum()
    limit = along.ravel()[order][np.searchsorted(reached, 1 - lost)]
    return (volume / (1 + np.exp((along - limit) / 0.7))).astype(np.float32)


def bound_domain(volume: Volume, part: float = BOUND) -> Volume:
    """The map with a round domain of a ``part`` of its mass that touches it."""
    dense = ndimage.gaussian_filter(np.clip(volume, 0, None), 1)
    inside = dense > 0.25 * dense.max()
    radius = (3 * part * inside.sum() / (4 * np.pi)) ** (1 / 3)
    along = np.where(inside, _along(volume), -np.inf)
    tip = np.array(np.unravel_index(along.argmax(), volume.shape))
    centre = tip + DIRECTION / np.linalg.norm(DIRECTION) * 0.8 * radius
    grid = np.indices(volume.shape) - centre[:, None, None, None]
    away = np.sqrt((grid**2).sum(0))
    ball = 1 / (1 + np.exp((away - radius) / 0.7))
    return (volume + ball * (part * np.clip(volume, 0, None).sum() / ball.sum())).astype(np.float32)


def _along(volume: Volume) -> np.ndarray:
    grid = np.indices(volume.shape) - len(volume) // 2
    return np.tensordot(DIRECTION / np.linalg.norm(DIRECTION), grid, 1)
