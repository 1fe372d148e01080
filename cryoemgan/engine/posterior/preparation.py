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
# Questions of a calibration for each particle of its sample: three rounds of gain and noise for all, eleven of
# contrast and temperature for every second one, and three kinds of simulated ones for as many.
QUESTIONS = 10
FEWEST, MOST = 40, 200
# Of the judging that follows the training of all fold models, questions to each at least.
JUDGING = 400
# Numbers of templates that are tried, and what a question costs with them, in units of that to the smallest library
# (a large one is searched by view clusters); and what it costs to make them, in units of that of the smallest library,
# most of which is its basis.
PILOT, SIZES = 1000, {1000: 1.0, 2000: 1.2, 4000: 1.4, 8000: 1.7, 15999: 2.2, 16000: 1.3}
MAKING = {1000: 1.0, 2000: 1.2, 4000: 1.6, 8000: 2.4, 16000: 4.2}
PILOT_PARTICLES = 16
FEWEST_PARTICLES = 64
# What is asked for and the least are equal within this factor.
NEAR = 1.2
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

    @property
    def judged(self) -> int:
        """Simulated particles of each kind, by which threshold and p-value of training particles are found."""
        return max(FEWEST, self.calibrated // 2)

    def as_dict(self) -> Json:
        """Plain values."""
        return asdict(self)


def fitting(
    seconds: float, templates: int, particles: int, candidates: int | None, library: float, question: float
) -> Preparation:
    """The most that can be prepared in a part of ``seconds``.

    Parameters
    ----------
    seconds : float
        All the time of the fold model.
    templates, particles, candidates
        What is wanted.
    library, question : float
        Seconds for making a library of `PILOT` templates, and for a question to it.
    """
    budget = PREPARING * seconds
    sizes = sorted({min(size, templates) for size in (*SIZES, templates)}, reverse=True)
    for size in sizes:
        cost = question * asking(size)
        calibrated = int(min(MOST, max(FEWEST, CALIBRATING * budget / (QUESTIONS * cost))))
        left = budget - library * making(size) - QUESTIONS * calibrated * cost
        # A small library asked about all particles is worth more than a large one asked about a part of them.
        if left >= particles * cost:
            # A search for the width costs as much as the rest of a calibration.
            width = candidates or (None if left > 2 * particles * cost else 48)
            return Preparation(size, None, calibrated, width, budget - left + particles * cost)
    asked = max(FEWEST_PARTICLES, int(left / cost))
    asked_all = None if asked >= particles else asked
    spent = budget - left + min(asked, particles) * cost
    return Preparation(size, asked_all, calibrated, candidates or 48, spent)


def least(library: float, question: float, models: int) -> float:
    """Minutes below which a training of so many fold models does not become shorter: the smallest preparation, as much
    of the time again for training as it may have, and the judging."""
    prepared = fitting(0.0, PILOT, FEWEST_PARTICLES, None, library, question).seconds
    assert prepared is not None
    return models * (prepared / PREPARING + JUDGING * question) / 60


def needed(templates: int, particles: int, library: float, question: float) -> float:
    """Minutes that a fold model would need to prepare everything that is wanted."""
    cost = question * asking(templates)
    return (library * making(templates) + (particles + QUESTIONS * MOST) * cost) / PREPARING / 60


def asking(size: int) -> float:
    """What a question to a library of this size costs, in units of one to `PILOT` templates."""
    return next((factor for known, factor in SIZES.items() if size <= known), SIZES[max(SIZES)])


def making(size: int) -> float:
    """What a library of this size costs, in units of one of `PILOT` templates."""
    most = max(MAKING)
    return next((factor for known, factor in MAKING.items() if size <= known), MAKING[most] * size / most)


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = clock()
    work()
    return clock() - start
