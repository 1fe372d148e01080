"""Centre and spread of values of which some may be wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Of a normal distribution: standard deviation over median absolute deviation, 1 / Phi^-1(3/4).
SD_PER_MAD = 1.4826


def robust_spread(values: ArrayLike) -> tuple[float, float]:
    """(median, s.d.) of values [n], the s.d. from the median absolute deviation: up to half of them may be anything."""
    numbers = np.asarray(values)
    centre = float(np.median(numbers))
    return centre, SD_PER_MAD * float(np.median(np.abs(numbers - centre)))
