"""What a library of a map costs by its size, and a question to it: what `posterior.preparation` expects of them.

    python -m benchmarks.studies.library_cost SET SEED --work WORK [--calibrate]

CPU seconds of one thread, the least of some repetitions; library: templates made, with all tables that the first
question makes. --calibrate: of the largest, also gain, noise, contrast, temperature and width of the search on 200
particles, as ``train`` finds them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.posterior import preparation
from cryoemgan.engine.posterior.calibration import Sample, calibrate
from cryoemgan.engine.posterior.context import Context
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Search

from ..datasets import Dataset, make

ASKED, ROUNDS, CALIBRATED = 32, 3, 200
# Shifts that are looked for, and their s.d. (px).
REACH, SD = 3.0, 1.0


def guide_of(data: Dataset, table: ParticleTable, size: int) -> MapPrior:
    """A MapPrior with so many projections of the first map of a set, which knows the noise of its particles."""
    volume = torch.from_numpy(read_map(sorted(data.folder.glob('volume_*.mrc'))[0]).data)
    bank = TemplateLibrary.from_maps([volume], size)
    options = MapPriorOptions('none', REACH, SD)
    guide = MapPrior(bank, 1.0, torch.ones(bank.plane.radius + 1), Search(contrast=0.05, temperature=2.5), options)
    rows = np.arange(ASKED)
    guide.spectrum = guide.noise_spectrum(guide.plane.vectors(torch.from_numpy(table.images().read(rows))).abs() ** 2)
    guide(torch.from_numpy(table.images().read(rows[:2])), Context.of(table, rows[:2], table.box))
    return guide


def study(data: Dataset, calibrated: bool) -> None:
    """Print a line for each size."""
    table, rows = ParticleTable.read(data.particles), np.arange(ASKED)
    noisy, context = torch.from_numpy(table.images().read(rows)), Context.of(table, rows, table.box)
    first = None
    sizes = sorted({*preparation.SIZES, *preparation.MAKING})
    for size in sizes:
        start = time.process_time()
        guide = guide_of(data, table, size)
        made, question = time.process_time() - start, np.inf
        for _ in range(ROUNDS):
            start = time.process_time()
            guide(noisy, context)
            question = min(question, (time.process_time() - start) / ASKED)
        first = first or (made, question)
        print(
            f'{size} templates: library {made:.1f} s ({made / first[0]:.2f}, expected {preparation.making(size):.2f}), '
            f'question {1000 * question:.1f} ms ({question / first[1]:.2f}, expected {preparation.asking(size):.2f})',
            flush=True,
        )
    if calibrated:
        rows = np.linspace(0, len(table) - 1, CALIBRATED).astype(int)
        clean = ParticleTable.read(data.clean).images().read(rows)
        start = time.process_time()
        context = Context.of(table, rows, table.box)
        calibrate(guide, Sample(torch.from_numpy(table.images().read(rows)), torch.from_numpy(clean), context, None))
        print(f'calibrating it on {CALIBRATED} particles: {time.process_time() - start:.1f} s')


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set')
    parser.add_argument('seed', type=int)
    parser.add_argument('--work', type=Path, default=Path('work'))
    parser.add_argument('--calibrate', action='store_true')
    given = parser.parse_args()
    torch.set_num_threads(1)
    study(make(given.set, given.seed, given.work), given.calibrate)


if __name__ == '__main__':
    main()
