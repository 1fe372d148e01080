"""What if the pairs are wrong? The usual mistakes are tried on a sample of particles, and the best one is named."""

from dataclasses import dataclass

import numpy as np

from ..metrics import pair_agreement

# An alternative must beat the given pairs by this many standard errors of the mean difference, and this part of the
# mean correlation: twenty are tried. A pixel size 5 % off costs 4 % of it (RELION's refinement of the shared data).
SIGNIFICANT, MARGIN = 4.0, 0.01
SAMPLE = 150
GIVEN = 'given'
MIRROR, TRANSPOSE = np.diag([1.0, 1.0, -1.0]), (0, 2, 1)


@dataclass(frozen=True)
class Hypothesis:
    """How references are made otherwise: matrices [n, 3, 3], shifts [n, 2] (px), scale of the map, CTF mode."""

    matrices: np.ndarray
    shifts: np.ndarray
    scale: float = 1.0
    ctf: str | None = None


@dataclass(frozen=True)
class HypothesisTest:
    """Mean correlation under each alternative, and the name of the best one ('given' unless another clearly wins)."""

    means: dict
    best: str

    def as_dict(self):
        """For the summary."""
        return {'best': self.best, 'mean_correlation': {k: round(v, 5) for k, v in self.means.items()}}


def hypotheses(matrices, shifts, mode, has_ctf):
    """{name: Hypothesis} of the alternatives. mode: CTF mode of the comparison."""
    found = {
        'the inverse rotations (another convention of angles)': Hypothesis(matrices.transpose(TRANSPOSE), shifts),
        'the mirrored map (the other hand)': Hypothesis(matrices @ MIRROR, shifts),
    }
    if np.abs(shifts).max(initial=0) > 0.5:
        found['shifts of the opposite sign'] = Hypothesis(matrices, -shifts)
        found['no shifts (particles that are centred already)'] = Hypothesis(matrices, 0 * shifts)
    for percent in (-10, -5, 5, 10):
        name = f'a pixel size of the map {abs(percent)} % {"smaller" if percent < 0 else "larger"}'
        # Larger pixels of the map: those of the image are smaller beside them.
        found[name] = Hypothesis(matrices, shifts, 1 / (1 + percent / 100))
    if has_ctf:
        words = {'none': 'no CTF', 'phase-flip': 'phase-flipped particles', 'full': 'a full CTF'}
        found |= {word: Hypothesis(matrices, shifts, ctf=other) for other, word in words.items() if other != mode}
    return found


def compare(render, particles, given, alternatives, pixel_size):
    """HypothesisTest. render: Hypothesis -> references float32[n, N, N]. particles: float32[n, N, N]."""
    own = pair_agreement.correlations(render(given), particles, pixel_size)
    found = {GIVEN: own}
    for name, pose in alternatives.items():
        found[name] = pair_agreement.correlations(render(pose), particles, pixel_size)
    # Inverted contrast turns the sign of every correlation.
    found |= {f'inverted contrast and {k}' if k != GIVEN else 'inverted contrast': -v for k, v in found.items()}
    means = {name: float(values.mean()) for name, values in found.items()}
    best = max(means, key=lambda name: means[name])
    return HypothesisTest(
        {k: v for k, v in means.items() if v > 0}, best if _clearly_better(found[best], own) else GIVEN
    )


def _clearly_better(values, own):
    difference = values - own
    error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else np.inf
    return bool(
        len(own) >= pair_agreement.FEWEST
        and difference.mean() > SIGNIFICANT * error
        and difference.mean() > MARGIN * abs(own.mean())
    )
