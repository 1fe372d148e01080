"""RELION's refinement of a set, its two half sets apart, and its maps: what a user has before sorting."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.imaging.maps import lowpass, read_map, write_map

from ..clocks import children

# What the refinement starts from: resolution (A) of the map; s.d. (degrees) of local searches.
START, LOCAL = 30.0, 4.0
# Iterations of local searches with steps of 7.5 degrees, which RELION halves. A search of all angles: with steps of 15
# degrees, and this detail (A) of the map.
STEPS, EVERYWHERE, COARSE = ((3, 3),), 2, 20.0
DIAMETER = 0.75
SCORES = ('rlnLogLikeliContribution', 'rlnMaxValueProbDistribution', 'rlnNrOfSignificantSamples')
POSES = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst')


def available() -> bool:
    """Whether RELION is installed."""
    return shutil.which('relion_refine') is not None


def refine(data: Path, folder: Path) -> None:
    """refined.star (poses, half sets and RELION's scores of its last iteration) and half1.mrc, half2.mrc of a set.

    cost.json is written last, with the CPU seconds that one iteration takes for one particle.
    """
    if (folder / 'cost.json').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    reference = read_map(data / 'major.mrc')
    write_map(folder / 'reference.mrc', lowpass(reference.data, reference.pixel_size, START), reference.pixel_size)
    seconds = []

    def refined(table: ParticleTable, half: int) -> ParticleTable:
        again = ['--ref', 'reference.mrc', '--ini_high', START, '--firstiter_cc']
        table, paid = _nearby(folder, table, half, again)
        seconds.append(paid)
        return table

    table = _by_halves(ParticleTable.read(data / 'start.star'), folder, refined)
    for half in (1, 2):
        reconstruct(table.kept(np.flatnonzero(table.half_sets() == half)), folder / f'half{half}.mrc')
    write_json(folder / 'cost.json', {'iteration': sum(seconds) / len(table)})


def refine_again(table: ParticleTable, folder: Path) -> ParticleTable:
    """Particles of a table at the poses that a refinement of nothing but them finds: from their own half maps, which
    are in the folder, low-passed, with the same local searches as in `refine`."""

    def refined(part: ParticleTable, half: int) -> ParticleTable:
        return _nearby(folder, part, half, ['--ref', f'half{half}.mrc', '--ini_high', START, '--ctf_corrected_ref'])[0]

    return _by_halves(table, folder, refined)


def _nearby(folder: Path, table: ParticleTable, half: int, again: list[object]) -> tuple[ParticleTable, float]:
    """(table after the local searches of a half set, from ``again``: its reference; CPU seconds of an iteration)."""
    paid = 0.0
    for order, iterations in STEPS:
        words = [*again, '--healpix_order', order, '--sigma_ang', LOCAL]
        output = f'half{half}_order{order}'
        paid = _relion_refine(folder, table, output, iterations, *words) / iterations
        output += f'_it{iterations:03d}'
        table = ParticleTable.read(folder / f'{output}_data.star')
        again = ['--ref', f'{output}_class001.mrc', '--ctf_corrected_ref']
    return table, paid


def align(data: Path, other: Path, folder: Path) -> None:
    """refined.star of images that are aligned to the half maps that `refine` left in another folder: everywhere
    first, then nearby, which gives RELION's scores."""
    if (folder / 'refined.star').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)

    def aligned(table: ParticleTable, half: int) -> ParticleTable:
        reference = ['--ref', (other / _last_map(half)).resolve(), '--ctf_corrected_ref', '--ini_high', COARSE]
        steps = {'all': ['--firstiter_cc', '--healpix_order', EVERYWHERE],
                 'near': ['--healpix_order', STEPS[0][0], '--sigma_ang', LOCAL]}  # fmt: skip
        for name, words in steps.items():
            _relion_refine(folder, table, f'half{half}_{name}', 1, *reference, *words)
            table = ParticleTable.read(folder / f'half{half}_{name}_it001_data.star')
        return table

    _by_halves(ParticleTable.read(data / 'start.star'), folder, aligned)


def _by_halves(
    start: ParticleTable, folder: Path, refined: Callable[[ParticleTable, int], ParticleTable]
) -> ParticleTable:  # fmt: skip
    """refined.star: each half set of a table as ``refined`` gives it."""
    halves = start.half_sets()
    found = {label: np.empty(len(start)) for label in (*POSES, *SCORES)}
    for half in (1, 2):
        table = refined(start.kept(np.flatnonzero(halves == half)), half)
        mine, theirs = match(start, table)
        for label, values in found.items():
            values[mine] = table.floats(label)[theirs]
    for label, values in found.items():
        start.set(label, values)
    start.write(folder / 'refined.star')
    return start


def _last_map(half: int) -> str:
    order, iterations = STEPS[-1]
    return f'half{half}_order{order}_it{iterations:03d}_class001.mrc'


def _relion_refine(folder: Path, table: ParticleTable, output: str, iterations: int, *words: object) -> float:
    """Some iterations on the particles of a table; their CPU seconds."""
    star = f'{output}.star'
    table.kept(np.arange(len(table))).write(folder / star)
    return relion(
        'relion_refine', folder, '--i', star, '--o', f'./{output}', '--iter', iterations, *words, '--ctf', '--norm',
        '--scale', '--flatten_solvent', '--zero_mask', '--particle_diameter', DIAMETER * table.box * table.pixel_size,
        '--offset_range', 4, '--offset_step', 2, '--oversampling', 1, '--pad', 2, '--j', 1, '--pool', 30,
        '--random_seed', 1, '--dont_combine_weights_via_disc',
    )  # fmt: skip


def reconstruct(table: ParticleTable, output: Path) -> None:
    """Map of the particles of a table at its poses, as ``relion_reconstruct`` makes it."""
    star = output.with_suffix('.star')
    table.write(star)
    relion('relion_reconstruct', output.parent, '--i', star.name, '--o', f'./{output.name}', '--ctf', '--pad', 2)


def relion(program: str, folder: Path, *words: object) -> float:
    """Run a program of RELION in a folder; its CPU seconds. RuntimeError with its last words if it fails."""
    before = children()
    log = folder / f'{program}.log'
    with open(log, 'w', encoding='utf-8') as file:
        done = subprocess.run([program, *map(str, words)], cwd=folder, stdout=file, stderr=file, check=False)
    if done.returncode:
        raise RuntimeError(f'{program}: {log.read_text(errors="replace")[-1500:]}')
    return children() - before


def cost(folder: Path) -> float:
    """CPU seconds that one iteration of a refinement takes for one particle; NaN where none was refined."""
    return float((read_json(folder / 'cost.json') or {}).get('iteration', np.nan))
