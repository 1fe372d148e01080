"""The poses that a guided network found, in a table of particles, and how they agree with the refinement's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data.table import ParticleTable
from ..geometry import angles_between, euler_to_matrix, matrix_to_euler
from ..shapes import Floats, Json

if TYPE_CHECKING:
    from .image_posterior import ImagePosterior

# Part of the posterior that lies within the spread.
SHARE = 0.68
# The refinement's own columns stay what they are.
ANGLES = ('cryoemganAngleRot', 'cryoemganAngleTilt', 'cryoemganAnglePsi')
SPREAD = 'cryoemganAngleSpread'
LABELS = (*ANGLES, 'cryoemganOriginXAngst', 'cryoemganOriginYAngst', SPREAD, 'cryoemganOriginSpreadAngst')
POSE = len(LABELS)
# Degrees from the refinement's pose, beyond which it is another view.
FAR = 15.0


def numbers_of(found: ImagePosterior, pixel_size: float) -> Floats:
    """float64 [n, POSE]: rot, tilt, psi (degrees), the shift in x and y that centres the image (A), and within how many
    degrees and A the posterior holds SHARE of it; NaN where the templates have no pose.

    pixel_size: of the images that were asked about, A.
    """
    matrices, shifts, turn, move = (
        v.cpu().numpy().astype(np.float64)
        for v in (found.matrices, found.shifts, found.angle_spread, found.shift_spread)
    )
    angles = np.stack(matrix_to_euler(matrices), 1)
    return np.column_stack([angles, pixel_size * shifts, turn, pixel_size * move])


def write_poses(output: ParticleTable, poses: Floats) -> None:
    """Set the columns of a table from `numbers_of` float64 [n, POSE]; none where templates had no poses."""
    if np.isfinite(poses).all():
        for label, values in zip(LABELS, poses.T):
            output.set(label, values)


def agreement(table: ParticleTable) -> Json | None:
    """How the poses in a denoised table agree with the refinement's: median angle between them, median spread,
    the part of the refinement's poses within the spread, and farther than FAR; None where it has not both."""
    if not (table.has(SPREAD) and table.has('rlnAngleRot')):
        return None
    away = angles_between(euler_to_matrix(*(table.floats(label) for label in ANGLES)), table.rotations())
    spread = table.floats(SPREAD)
    return {'angle_median': float(np.median(away)), 'spread_median': float(np.median(spread)),
            'within_spread': float((away <= spread).mean()), 'far': float((away > FAR).mean())}  # fmt: skip


def words(found: Json) -> str:
    """A sentence on an `agreement`."""
    return (
        f"poses: the median angle to the refinement's is {found['angle_median']:.1f} degrees, where the particles "
        f'themselves tell theirs within {found["spread_median"]:.1f}; {found["within_spread"]:.0%} of the '
        f"refinement's lie within the spread (of right ones {SHARE:.0%} would), {found['far']:.0%} are more than "
        f'{FAR:g} degrees away'
    )
