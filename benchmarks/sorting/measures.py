"""What a score is worth: how well it parts each kind of junk from the molecule, and what that costs."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from cryoemgan.engine.shapes import Floats
from cryoemgan.engine.trust.pose_fit import REASONS

from .planted import JUNK, MAJOR, MINOR

ALL = 'all'
LOSS, REJECTED = 0.05, 0.95


def measured(kinds: np.ndarray, values: Floats) -> dict[str, dict[str, float]]:
    """{kind: {measure: value}} of one score.

    auc: probability that a particle of the major state has more than an image of the kind (a half for equals).
    lost_at_95: part of the major state that a limit costs that rejects 95 % of the kind. left_at_5: part of the kind
    that is left by a limit that costs 5 % of the major state. Equal values count by halves, as if drawn by lot.

    kinds: str [n]; values: [n], high is good.
    """
    values = np.nan_to_num(np.asarray(values, np.float64), nan=-np.inf)
    ranks = np.unique(values, return_inverse=True)[1]
    major = ranks[kinds == MAJOR]
    found = {}
    for kind in (*JUNK, ALL, MINOR):
        rows = np.isin(kinds, JUNK) if kind == ALL else kinds == kind
        some = ranks[rows]
        if not len(some):
            continue
        truth = np.repeat([1, 0], [len(major), len(some)])
        found[kind] = {
            'auc': float(roc_auc_score(truth, np.concatenate([major, some]))),
            'lost_at_95': _below(major, some, REJECTED),
            'left_at_5': 1 - _below(some, major, LOSS),
        }
    return found


def flagged(kinds: np.ndarray, p_values: Floats) -> dict[str, dict[str, float]]:
    """{kind: parts of it with a p-value below 0.05 and below 0.01}: of the major state these are false alarms."""
    return {
        kind: {f'below_{percent}': float((p_values[kinds == kind] < percent / 100).mean()) for percent in (5, 1)}
        for kind in np.unique(kinds).tolist()
    }


def with_reasons(kinds: np.ndarray, reasons: np.ndarray) -> dict[str, dict[str, float]]:
    """{kind: {reason: part of it that has this reason}}, a reason as the name of a column."""
    return {
        kind: {reason.replace('-', '_'): float((reasons[kinds == kind] == reason).mean()) for reason in REASONS[1:]}
        for kind in np.unique(kinds).tolist()
    }


def _below(values: Floats, others: Floats, part: float) -> float:
    """Part of ``values`` below the limit that has a ``part`` of ``others`` below it; what lies on it by lot."""
    limit = np.sort(others)[min(int(part * len(others)), len(others) - 1)]
    under, on = float((others < limit).mean()), float((others == limit).mean())
    lot = min(max((part - under) / on, 0.0), 1.0)
    return float((values < limit).mean() + lot * (values == limit).mean())
