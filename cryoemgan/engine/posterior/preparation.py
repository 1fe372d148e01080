"""How much a guided network prepares in the time it is given: templates, particles, calibration.

Preparing comes before the first step of training and may cost more than all of them: so where the clock rules, a pilot
of a second or two tells what a template and a question to the library cost here and now, and the preparation is made to
fit. What more time would bring is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ..shapes import Json

# Of the time of a fold model, what preparing may take; of that, what calibration may.
PREPARING, CALIBRATING = 0.6, 0.3
# Questions of a calibration for each particle of its sample: three rounds of gain and noise for all, and eleven of
# contrast and temperature for every second one.
QUESTIONS = 8.5
FEWEST, MOST = 40, 200
# Numbers of templates that are tried, and what a question costs with them, in units of that to the smallest library:
# a larger one is searched by view clusters.
PILOT, SIZES = 1000, {1000: 1.0, 2000: 1.2, 4000: 1.6, 8000: 2.4, 16000: 2.0}
PILOT_PARTICLES = 16
FEWEST_PARTICLES = 64
clock = time.monotonic


@dataclass(frozen=True)
class Preparation:
    """templates: at most; particles: that are asked about, None for all; calibrated: particles of the calibration;
    candidates: None to have them measured; seconds: what all of it is expected to take, None if nobody asked."""

    templates: int
    particles: int | None = None
    calibrated: int = MOST
    candidates: int | None = None
    seconds: float | None = None

    def as_dict(self) -> Json:
        """Plain values."""
        return asdict(self)


def fitting(
    seconds: float, templates: int, particles: int, candidates: int | None, template: float, question: float
) -> Preparation:
    """The most that can be prepared in a part of ``seconds``.

    Parameters
    ----------
    seconds : float
        All the time of the fold model.
    templates, particles, candidates
        What is wanted.
    template, question : float
        Seconds for a template, and for a question to a library of `PILOT` templates.
    """
    budget = PREPARING * seconds
    sizes = sorted({min(size, templates) for size in (*SIZES, templates)}, reverse=True)
    for size in sizes:
        cost = question * _growth(size)
        calibrated = int(min(MOST, max(FEWEST, CALIBRATING * budget / (QUESTIONS * cost))))
        left = budget - size * template - QUESTIONS * calibrated * cost
        # A small library asked about all particles is worth more than a large one asked about a part of them.
        if left >= particles * cost:
            # A search for the width costs as much as the rest of a calibration.
            width = candidates or (None if left > 2 * particles * cost else 48)
            return Preparation(size, None, calibrated, width, budget - left + particles * cost)
    asked = max(FEWEST_PARTICLES, int(left / cost))
    asked_all = None if asked >= particles else asked
    return Preparation(size, asked_all, calibrated, candidates or 48, budget)


def needed(templates: int, particles: int, template: float, question: float) -> float:
    """Minutes that a fold model would need to prepare everything that is wanted."""
    cost = question * _growth(templates)
    return (templates * template + (particles + QUESTIONS * MOST) * cost) / PREPARING / 60


def _growth(size: int) -> float:
    return next((factor for known, factor in SIZES.items() if size <= known), list(SIZES.values())[-1])


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = clock()
    work()
    return clock() - start
