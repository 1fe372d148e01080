"""How far a limit of 0.05 for the p-value of a joint library flags what it promises, and what that depends on.

    python -m benchmarks.studies.joint_fit SET SEED [--held 1000] --work WORK

Right particles that are in neither of two libraries are asked by both together; again and again some of them, and
simulated ones, make a calibration, and the part of the others is counted that it flags. Posteriors only, one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.inference.noise_response import part_of
from cryoemgan.engine.posterior.calibration import Sample, temper
from cryoemgan.engine.posterior.context import Context
from cryoemgan.engine.posterior.joint_library import joint_library
from cryoemgan.engine.posterior.map_prior import MapPrior
from cryoemgan.engine.posterior.p_value import FLAG, SURE, PValueCalibration
from cryoemgan.engine.posterior.wrong_particles import right_scores
from cryoemgan.engine.shapes import Floats

from ..datasets import Dataset, make
from .joint_library import prior, references

SIZES, DRAWS, LIBRARY = (60, 100, 250, 500), 100, 2400
CALIBRATED, TEMPERED, CHUNK, SIMULATED = 120, 100, 50, 900


def scores(data: Dataset, held: int) -> tuple[Floats, Floats]:
    """Scores of particles kept out [held, 5], as of `ImagePosterior.scores`, and of simulated ones [SIMULATED, 3]."""
    table, clean = ParticleTable.read(data.particles), ParticleTable.read(data.clean)
    order = np.random.default_rng(0).permutation(len(table))
    kept, training = np.sort(order[:held]), np.sort(order[held:])[:LIBRARY]
    halves = np.array_split(np.random.default_rng(1).permutation(training), 2)
    one = prior(data, joint_library([references(data, np.sort(half)) for half in halves]))
    one.search.contrast = 0.02
    rows = training[np.linspace(0, len(training) - 1, CALIBRATED).astype(int)]
    one.calibrate(torch.from_numpy(table.images().read(rows)), Context.of(table, rows, table.box), 2)
    if not data.recipe.ctf:
        rows = kept[:TEMPERED]
        noisy, shown = (torch.from_numpy(t.images().read(rows)) for t in (table, clean))
        temper(one, Sample(noisy, shown, Context.of(table, rows, table.box), None))
    context = Context.of(table, np.resize(kept, SIMULATED), table.box)
    return _asked(one, table, kept), right_scores(one, context, SIMULATED)


def _asked(one: MapPrior, table: ParticleTable, rows: np.ndarray) -> Floats:
    parts = np.array_split(rows, -(-len(rows) // CHUNK))
    return np.concatenate(
        [one(torch.from_numpy(table.images().read(p)), Context.of(table, p, table.box)).scores() for p in parts]
    )


def study(data: Dataset, held: int) -> None:
    """Print a line for each number of particles that a calibration is made of."""
    real, simulated = scores(data, held)
    rng = np.random.default_rng(0)
    for size in SIZES:
        flagged, told = [], []
        for _ in range(DRAWS):
            order, some = rng.permutation(len(real)), rng.choice(len(simulated), part_of(300, size), replace=False)
            (evidence, _, _, misfit, match), rest = real[order[:size]].T, real[order[size:]].T
            found = PValueCalibration.of(evidence, match, misfit, simulated[some])
            fit = found.fit(rest[0], rest[4], rest[3])
            flagged.append([(fit < FLAG).mean(), (fit < SURE).mean()])
            told.append(found.flags)
        (mean, sure), sd, (low, high) = np.mean(flagged, 0), np.std(flagged, 0)[0], np.mean(told, 0)
        near = np.mean([0.75 * FLAG <= f[0] <= 1.25 * FLAG for f in flagged])
        print(
            f'{size} particles, {part_of(300, size)} simulated: {mean:.1%} below {FLAG}, s.d. {sd:.1%}, {near:.0%} of '
            f'the calibrations within a quarter; stated {low:.1%} to {high:.1%}; {sure:.1%} below {SURE}',
            flush=True,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set')
    parser.add_argument('seed', type=int)
    parser.add_argument('--held', type=int, default=1000)
    parser.add_argument('--work', type=Path, default=Path('work'))
    given = parser.parse_args()
    torch.set_num_threads(1)
    study(make(given.set, given.seed, given.work), given.held)


if __name__ == '__main__':
    main()
