"""What the fold models of a guided model can do together, on particles that none of them knows: by one library of all
their templates, where that is better than the mean of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.sampling import evenly_spread
from ..posterior.calibration import Sample, temper
from ..posterior.joint_library import ALL, are_apart
from ..posterior.map_prior import Context
from ..posterior.sources import references
from ..shapes import Floats, Json, Rows
from . import noise_response, uncertainty
from .model import Model
from .shown import Shown, squared

if TYPE_CHECKING:
    from .assessment import Answers
    from .replicates import Replicates

# Part of the error of their mean by which particles must gain.
WORTH = 0.01
# Particles that tell how sure the larger library may be.
TEMPERED = 100


@dataclass(frozen=True)
class Compared:
    """Of replicates of particles that no fold model knows. mean: squared error of the mean of the members' answers;
    error, spread: squared error and squared spread of their joint answer; float64 [n] each."""

    mean: Floats
    error: Floats
    spread: Floats

    @property
    def gain(self) -> float:
        """Part of the error of the mean that is gained."""
        return float(1 - self.error.mean() / self.mean.mean())


def unknown_to_all(members: Sequence[Any]) -> Rows:
    """Positions of pairs that FoldTasks kept out of training, and whose references are in the library of none."""
    kept = np.unique(np.concatenate([task.validation for task in members]))
    return np.setdiff1d(kept, np.concatenate([task.training for task in members]))


def may_join(model: Model, members: Sequence[Any]) -> bool:
    """Whether fold models have other templates each, and there are particles to judge all of them together by."""
    banks = [guide.bank for guide in model.guides.values()]
    return len(banks) > 1 and are_apart(banks) and len(unknown_to_all(members)) >= noise_response.FEW


def judge(
    model: Model,
    replicates: Replicates,
    members: Sequence[Any],
    answers: Sequence[Answers],
    shown: Shown,
    context_of: Callable[[Rows], Context],
    most: int,
) -> Json | None:
    """{search: of the joint prior, gain: `Compared.gain`, evidence: its threshold, belonging: PValueCalibration,
    uncertainty: {scale, floor}} of all fold models together; None where that is not worth it.

    answers: of members, as of `assessment`. most: particles to judge them on.
    """
    pairs, positions, prior = replicates.pairs, unknown_to_all(members), model.guide(ALL)
    some = positions[evenly_spread(len(positions), min(most, TEMPERED))]
    noisy, clean = (torch.from_numpy(x).to(prior.device) for x in (pairs.raw(some)[0], references(pairs, some)))
    temper(prior, Sample(noisy, clean, context_of(some), None))
    found = compare(model, replicates, answers, positions, shown, context_of)
    if found is None or found.gain < WORTH:
        return None
    evidence, belonging = noise_response.judged(model, pairs, ALL, positions, context_of, most)
    scale, floor = uncertainty.calibrated(found.error, found.spread)
    return {
        'search': prior.description()['search'], 'gain': found.gain, 'evidence': evidence, 'belonging': belonging,
        'uncertainty': {'scale': scale, 'floor': floor},
    }  # fmt: skip


def compare(
    model: Model,
    replicates: Replicates,
    answers: Sequence[Answers],
    positions: Rows,
    shown: Shown,
    context_of: Callable[[Rows], Context],
) -> Compared | None:
    """Compared on the replicates of answers at these positions; None without any."""
    grey, parts = model.card['grey'], []
    for a in answers:
        mine = np.flatnonzero(np.isin(a.positions, positions))
        if not mine.size:
            continue
        particles = (a.signal[mine] + a.noise[mine]).astype(np.float32)
        opinions = dict.fromkeys(model.members, model.posterior(particles, context_of(a.positions[mine]), ALL))
        every = (uncertainty.answers(model, particles, opinions=opinions) - grey['offset']) / grey['gain']
        own = uncertainty.posterior_sd(model, opinions)
        assert own is not None
        spread = uncertainty.spread(shown(every), abs(shown.gain / grey['gain']) * own)
        truth = replicates.truth(a.references[mine])
        means = (a.every[: len(model.members), mine].mean(0), every.mean(0))
        errors = [squared(shown(x), truth) for x in means]
        parts.append([*errors, np.square(spread, dtype=np.float64).mean((1, 2))])
    return Compared(*(np.concatenate(column) for column in zip(*parts))) if parts else None


def sentence(found: Json) -> str:
    """What `judge` found, for the log."""
    return (
        'particles that no fold model knows are compared with the templates of all of them at once: on replicates of '
        f'such particles the error is {found["gain"]:.0%} lower than that of the mean of their answers'
    )
