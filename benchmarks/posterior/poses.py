"""Poses that the map prior finds, against the true ones: how far off they are, and whether the spread says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryoemgan.engine.geometry import angles_between, euler_to_matrix
from cryoemgan.engine.posterior.pose_columns import numbers_of

from .. import datasets
from .prior import Asked

# Variance of the noise, times that of the set.
SETS = {'rnap-open': (1, 4), 'emd1883': (1, 4, 12), 'emd1252': (1, 4), 'rod': (1,)}
TEMPLATES = 4000
# Degrees from the truth, beyond which it is another view.
FAR = 20.0


def measure(work: Path, name: str, seed: int, count: int) -> list[dict[str, Any]]:
    """Rows (a level of noise each) for the first particles of a set."""
    data, rows, found = datasets.make(name, seed, work), np.arange(count), []
    for noise in SETS[name]:
        asked = Asked(data, TEMPLATES, noise=float(noise))
        said, milliseconds = asked(rows)
        poses = np.concatenate([numbers_of(part, asked.table.pixel_size) for part in said])
        truth = asked.truth.rotations()[rows]
        away = angles_between(euler_to_matrix(*poses[:, :3].T), truth)
        off = np.hypot(*(poses[:, 3:5] - asked.table.pixel_size * asked.truth.shifts()[rows]).T)
        near = away < FAR
        found.append({
            'snr': data.recipe.snr / noise, 'temperature': asked.prior.search.temperature,
            'candidates': asked.prior.search.candidates,
            'refinement': float(np.median(angles_between(asked.table.rotations()[rows], truth))),
            'angle': float(np.median(away)), 'spread': float(np.median(poses[:, 5])),
            'within': float((away <= poses[:, 5]).mean()), 'within_twice': float((away <= 2 * poses[:, 5]).mean()),
            'far': float(1 - near.mean()), 'sure_and_far': float((away > np.maximum(FAR, 3 * poses[:, 5])).mean()),
            'shift': float(np.median(off)), 'shift_spread': float(np.median(poses[:, 6])),
            'shift_within': float((off <= poses[:, 6]).mean()), 'ms': milliseconds,
        })  # fmt: skip
    return found
