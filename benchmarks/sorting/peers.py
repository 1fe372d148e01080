"""What others sort by, each used as its authors say: values [n] of the particles of a refined set, high is good, and
the CPU seconds that they take on one thread.

Not here: CryoSieve and cryoPARES need a GPU; Xmipp's likelihood of aligned particles needs its own build of Xmipp; the
weights of CryoRanker are for academic use only.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.maps import lowpass, read_map, soft_circle, write_map
from cryoemgan.engine.imaging.masks import soft_mask
from cryoemgan.engine.metrics.resemblance import correlation
from cryoemgan.engine.shapes import Floats

from ..clocks import children, cost

Found = tuple[Floats | None, float]
COARSE = 20.0  # A, of the variance
# Columns that janas reads whether a set has them or not.
NEUTRAL = {'rlnCtfBfactor': 0.0, 'rlnCtfScalefactor': 1.0, 'rlnPhaseShift': 0.0}


def ncc(folder: Path) -> Found:
    """Normalised correlation of each particle with the projection of the map of its half set, under its CTF."""
    start = time.process_time()
    refined = ParticleTable.read(folder / 'relion' / 'refined.star')
    references = ParticleTable.read(folder / 'project' / 'references.star')
    mine, theirs = match(refined, references)
    values: Floats = np.empty(len(refined))
    for part in np.array_split(np.arange(len(mine)), -(-len(mine) // 500)):
        images, others = refined.images().read(mine[part]), references.images().read(theirs[part])
        values[mine[part]] = correlation(images, others, soft_circle(refined.box))
    # The projections are not free.
    return values, time.process_time() - start + cost(folder / 'project')['cpu']


def variance(folder: Path) -> Found:
    """Variance inside the particle's circle over that outside, of the coarse image."""
    start = time.process_time()
    table = ParticleTable.read(folder / 'relion' / 'refined.star')
    axis = np.arange(table.box) - table.box // 2
    inside = np.hypot(axis[:, None], axis) < 0.3 * table.box
    found = []
    for part in np.array_split(np.arange(len(table)), -(-len(table) // 500)):
        images = lowpass(table.images().read(part), table.pixel_size, COARSE, axes=(-2, -1))
        found.append(images[:, inside].var(1) / images[:, ~inside].var(1))
    return np.concatenate(found), time.process_time() - start


def sci(folder: Path) -> Found:
    """Structural cross-correlation index of janas (``pip install janas``) against the map of the particle's half set;
    the width of its filter is what janas estimates from the half maps. None where janas is not installed."""
    if shutil.which('janas') is None:
        return None, np.nan
    place = folder / 'janas'
    place.mkdir(exist_ok=True)
    table = ParticleTable.read(folder / 'relion' / 'refined.star')
    for label, value in NEUTRAL.items():
        table.set(label, np.full(len(table), value))
    table.write(place / 'particles.star')
    halves = [folder / 'relion' / f'half{k}.mrc' for k in (1, 2)]
    maps = [read_map(path) for path in halves]
    pixel_size = maps[0].pixel_size
    write_map(place / 'mask.mrc', soft_mask((maps[0].data + maps[1].data) / 2, pixel_size), pixel_size)
    before = children()
    sigma = _said('janas_utils', 'sigma_estimate', *halves, place / 'mask.mrc').split()[-1]
    _said(
        'janas', 'scoreParticles', '--i', place / 'particles.star', '--o', place / 'scored.star', '--mpi', 1,
        '--map', halves[0], '--map2', halves[1], '--mask', place / 'mask.mrc', '--apix', pixel_size, '--sigma', sigma,
    )  # fmt: skip
    seconds = children() - before
    scored = ParticleTable.read(place / 'scored.star')
    label = f'janas_SCI__{float(sigma):.2f}_scored_selection_0'
    mine, theirs = match(table, scored)
    values: Floats = np.empty(len(table))
    values[mine] = scored.floats(label)[theirs]
    return values, seconds


def _said(*words: object) -> str:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True).stdout


PEERS: dict[str, Callable[[Path], Found]] = {'NCC': ncc, 'SCI': sci, 'variance': variance}
