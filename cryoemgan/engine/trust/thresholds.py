"""The traffic light: which value of each measure is good, and which is not. Limits come from simulation.

``benchmarks/studies/audit_thresholds.py`` trains on simulated sets, plants every failure and prints the worst good and
the best bad value of each measure; the limits of fidelity, rank, noise, bias and opinion divide the gap between them
into thirds (measured gaps: benchmarks/results/audit_thresholds.md). Leakage, agreement (standard errors), conventions
and calibration have limits by definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COLOURS = ('green', 'yellow', 'red')


@dataclass(frozen=True)
class Threshold:
    """green: value that is still good; red: value that is bad; what it says, and what to do. certain: it is counted,
    and so as true between the two as beyond."""

    green: float
    red: float
    title: str
    good: str
    bad: str
    certain: bool = False

    def sentence(self, colour: str) -> str:
        """What a light of this colour says."""
        if colour == 'yellow' and not self.certain:
            return f'A sign, not certain: {self.bad[0].lower()}{self.bad[1:]}'
        return self.good if colour == 'green' else self.bad

    def colour(self, value: float) -> str:
        """'green', 'yellow' or 'red'."""
        sign = 1 if self.green > self.red else -1
        if sign * value >= sign * self.green:
            return 'green'
        return 'red' if sign * value <= sign * self.red else 'yellow'


THRESHOLDS = {
    'leakage': Threshold(
        0.0, 0.05, 'Leakage', 'Every particle is denoised by a network that never saw it.',
        'Particles are denoised by a network that was trained on them and repeats some of their noise. Train with '
        'cross-fitting.', certain=True,
    ),
    'agreement': Threshold(
        8.0, 3.0, 'Pairs belong together (standard errors)',
        'Particles agree with their own references more than with those of others.',
        'Particles agree with their own references no better than with others: shuffled or wrong pairs, or no signal.',
    ),
    'conventions': Threshold(
        0.0, 0.5, 'Conventions (1 = project found a better fit, 0.25 = it has doubts)',
        'Hand, angles, contrast, pixel size and CTF as given fit best.',
        'The particles agree better with another hand, contrast, pixel size, CTF or convention of angles: see the '
        'warning of project.',
    ),
    'fidelity': Threshold(
        0.87, 0.73, 'Real particles behave like simulated ones',
        'Denoised particles are as close to their references as denoised simulations of them.',
        'Denoised particles are much further from their references than simulations are: another molecule, wrong '
        'angles, or noise.',
    ),
    'rank': Threshold(
        0.86, 0.76, 'The output shows the particle, not the average',
        'A denoised image is more like its own reference than like others.',
        'A denoised image is hardly more like its own reference than like others: it shows the average particle.',
    ),
    'noise': Threshold(
        0.76, 0.67, 'Noise does not look like a particle',
        'Pure noise gives images that are less like any reference than those of particles are.',
        'Pure noise gives images that are as much like a reference as those of particles are: what you see may come '
        'from nothing.',
    ),
    'bias': Threshold(
        0.55, 0.68, 'Bias (fraction of the signal)',
        'The denoiser changes the signal by less than it keeps.',
        'The denoiser replaces most of the signal by what it expects.',
    ),
    'opinion': Threshold(
        0.21, 0.28, 'Second opinion (its weight on particles minus that on simulations)',
        'Where a second model differs from this one, it is no more right on particles than on simulations.',
        'Where a second model differs from this one, the particles agree with the second more than the references '
        'explain: they hold something that is not in the map, or the network shows something that is not in them.',
    ),
    'calibration': Threshold(
        1.5, 2.0, 'Uncertainty (error / expected)',
        'The errors are as large as the uncertainty says.',
        'The errors are much larger than the uncertainty says.',
    ),
}  # fmt: skip


def judge(values: Mapping[str, float | None]) -> tuple[dict[str, str], str]:
    """({measure: colour}, overall colour); overall is the worst. A measure that is None has no light."""
    found = {name: THRESHOLDS[name].colour(v) for name, v in values.items() if v is not None}
    return found, max(found.values(), key=COLOURS.index)
