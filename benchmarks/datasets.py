"""The sets that everything is measured on: one recipe a name, made by ``cryoemgan simulate`` from a seed.

Options and presets may be chosen on the sets for tuning; rankings are read from the others.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.imaging.maps import write_map

from . import molecules
from .clocks import command

HERE = Path(__file__).resolve().parent
# Particles that are scored, the first ones of a set.
SCORED = 500


def shared_data() -> Path:
    """Folder of the maps and models; SystemExit when it is not there."""
    folder = Path(os.environ.get('CRYOEMGAN_SHARED_DATA') or HERE.parents[1] / 'shared' / 'data')
    if not folder.is_dir():
        raise SystemExit(f'no {folder}: set CRYOEMGAN_SHARED_DATA')
    return folder


@dataclass(frozen=True)
class Recipe:
    """How a set is made.

    molecule: of ``molecules``. use: tune or judge. box: px. particles: in all. snr: variance of the signal over that of
    the noise, all pixels of the box. sharp: amplitudes as of a sharpened map. ctf: none, or the defoci of EMPIAR-10028.
    angle_error (degrees, about each axis) and shift_error (px): s.d. of what the table says of the poses; what networks
    are trained on is projected there. noise: white or coloured. shifts: s.d., px.
    """

    molecule: str
    use: str
    box: int
    particles: int
    snr: float
    sharp: bool = False
    ctf: bool = True
    angle_error: float = 0.0
    shift_error: float = 0.0
    noise: str = 'white'
    shifts: float = 1.0


GIVEN = 'relion_refined'

RECIPES = {
    # Options may be chosen on these.
    'rnap5': Recipe('rnap5', 'tune', 64, 3000, 0.1, ctf=False, shifts=0.0),
    'rnap5-snr05': Recipe('rnap5', 'tune', 64, 4400, 0.05, ctf=False, shifts=0.0),
    'rnap5-snr02': Recipe('rnap5', 'tune', 64, 4400, 0.02, ctf=False, shifts=0.0),
    'rnap5-ctf': Recipe('rnap5', 'tune', 64, 3000, 0.1, angle_error=1.5, shift_error=0.5),
    'claw': Recipe('claw', 'tune', 64, 3000, 0.05, angle_error=2.0, shift_error=0.3),
    'ring': Recipe('ring', 'tune', 48, 2000, 0.05, angle_error=1.0, shift_error=0.3, noise='coloured'),
    'emd5625-sharp': Recipe('emd5625', 'tune', 56, 2500, 0.05, True, angle_error=2.0, shift_error=0.3),
    # Judged on these.
    'rnap-sharp': Recipe('rnap', 'judge', 96, 3000, 0.03, True, angle_error=2.0, shift_error=0.5),
    'rnap-open': Recipe('rnap-open', 'judge', 64, 1000, 0.1, angle_error=1.0, shift_error=0.3),
    'emd1883': Recipe('emd1883', 'judge', 64, 2500, 0.05, angle_error=2.0, shift_error=0.3),
    'emd1883-sharp': Recipe('emd1883', 'judge', 64, 2500, 0.05, True, angle_error=2.0, shift_error=0.3),
    'emd5625-coloured': Recipe('emd5625', 'judge', 48, 3000, 0.02, angle_error=3.0, shift_error=0.5, noise='coloured'),
    'emd1252': Recipe('emd1252', 'judge', 80, 2000, 0.03, angle_error=3.0, shift_error=1.0),
    'emd1252-sharp': Recipe('emd1252', 'judge', 64, 5000, 0.05, True, angle_error=2.0, shift_error=0.5),
    'emd2479-sharp': Recipe('emd2479', 'judge', 80, 4000, 0.02, True, angle_error=1.0, shift_error=0.3),
    'emd2479-160': Recipe('emd2479', 'judge', 160, 1000, 0.01, angle_error=2.0, shift_error=1.0),
    'rod': Recipe('rod', 'judge', 64, 2500, 0.05, angle_error=2.0, shift_error=0.5),
    'shell': Recipe('shell', 'judge', 72, 2000, 0.02, angle_error=1.0, shift_error=0.3),
    'grains': Recipe('grains', 'judge', 48, 10000, 0.01, angle_error=2.0, shift_error=0.3),
    # RELION's own refinement of particles that RELION's projector made: nothing of it is made here.
    'relion': Recipe(GIVEN, 'judge', 64, 1500, 0.1, angle_error=1.7, shift_error=0.2, shifts=1.2),
    'emd1883-30000': Recipe('emd1883', 'judge', 48, 30000, 0.02, True, angle_error=2.0, shift_error=0.3),
}


@dataclass(frozen=True)
class Dataset:
    """A set on disk. particles: table as a refinement leaves it. clean: the truth. volumes: a map for each class."""

    name: str
    folder: Path
    recipe: Recipe

    @property
    def particles(self) -> Path:
        """Noisy particles with the poses that are known of them."""
        if self.recipe.molecule == GIVEN:
            return shared_data() / GIVEN / 'run_data.star'
        refined = self.folder / 'refined.star'
        return refined if refined.exists() else self.folder / 'noisy.star'

    @property
    def clean(self) -> Path:
        """The same particles without noise, at their true poses, with CTF."""
        return self.folder / 'clean.star'

    @property
    def maps(self) -> dict[str, Path | list[Path]]:
        """Maps as options of ``project``: half maps, the map, or one for each class."""
        if self.recipe.molecule == GIVEN:
            return {f'half{k}': shared_data() / GIVEN / f'run_half{k}_class001_unfil.mrc' for k in (1, 2)}
        found = sorted(self.folder.glob('volume_*.mrc'))
        return {'class_volume': found} if len(found) > 1 else {'volume': found[0]}

    def truth(self) -> np.ndarray:
        """float32[SCORED, box, box]: the images that results are compared with."""
        table = ParticleTable.read(self.clean)
        return table.images().read(np.arange(min(SCORED, len(table))))


def recipe_of(name: str, particles: int | None = None) -> Recipe:
    """Recipe by name, with another number of particles if one is given; SystemExit for an unknown name."""
    if name not in RECIPES:
        raise SystemExit(f'{name!r} is not one of the sets: {", ".join(RECIPES)}')
    return replace(RECIPES[name], particles=particles) if particles else RECIPES[name]


def make(name: str, seed: int, work: Path, particles: int | None = None) -> Dataset:
    """The set of a recipe and a seed in WORK/data; made when it is not there, refused when another recipe made it."""
    recipe = recipe_of(name, particles)
    folder = work / 'data' / (f'{name}_{seed}' + (f'_{particles}' if particles else ''))
    said = folder / 'recipe.json'
    if said.exists() and read_json(said) != asdict(recipe):
        raise SystemExit(f'{folder} was made by another recipe of {name}: remove it, or take another --work')
    with _alone(folder):
        if not said.exists():
            if recipe.molecule == GIVEN:
                _truth_of_given(folder / 'clean.star')
            else:
                command('simulate', folder, **_options(recipe, _sources(name, recipe, work), seed, work))
            write_json(said, asdict(recipe))
    return Dataset(name, folder, recipe)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: several may share the folder of an experiment."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + '.lock'), 'w', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sources(name: str, recipe: Recipe, work: Path) -> list[Path]:
    """Files of the maps of a recipe."""
    volumes, pixel_size = maps_of(recipe)
    paths = [work / 'data' / 'maps' / f'{name}_{k}.mrc' for k in range(1, len(volumes) + 1)]
    for path, volume in zip(paths, volumes):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_map(path, volume, pixel_size)
    return paths


def maps_of(recipe: Recipe) -> molecules.Maps:
    """The maps of a recipe at its box, and their pixel size."""
    volumes, pixel_size = _molecule(recipe.molecule, recipe.box)
    return [molecules.sharpened(v, pixel_size) for v in volumes] if recipe.sharp else volumes, pixel_size


def _molecule(name: str, box: int) -> molecules.Maps:
    if name in molecules.MAPS:
        return molecules.deposited(name, box, shared_data())
    if name in ('rnap5', 'rnap', 'rnap-open'):
        states = {'rnap5': molecules.STATES, 'rnap': ('00',), 'rnap-open': ('20',)}[name]
        # Damped to 0.42 at Nyquist, as ``simulate`` does: atoms sharper than a pixel would ring.
        b_factor = 14 * (molecules.RNAP_FIELD / box) ** 2
        return molecules.rnap(box, shared_data(), b_factor, states)
    return molecules.synthetic(name, box)


def _options(recipe: Recipe, sources: list[Path], seed: int, work: Path) -> dict:
    options: dict = {
        'volume': sources,
        'box': recipe.box,
        'count': recipe.particles // len(sources),
        'snr': recipe.snr,
        'noise': recipe.noise,
        'shift_sd': recipe.shifts,
        'perturb_angles': recipe.angle_error,
        'perturb_shifts': recipe.shift_error,
        'seed': seed,
    }
    if recipe.ctf:
        options['ctf_table'] = defoci(work / 'data' / 'empiar10028.star')
    return options


def _truth_of_given(path: Path) -> None:
    """Table of the true images of RELION's refinement, under the names of the particles."""
    source = shared_data() / GIVEN
    truth = ParticleTable.read(source / 'truth.star')
    columns = {
        'rlnImageName': [f'{i:06d}@{source / "truth_clean_ctf.mrcs"}' for i in range(1, len(truth) + 1)],
        'rlnImageOriginalName': truth.strings('rlnImageName'),
        'rlnOpticsGroup': np.ones(len(truth), int),
    }
    optics = {
        'rlnOpticsGroup': [1],
        'rlnImagePixelSize': [truth.pixel_size],
        'rlnImageSize': [64],
        'rlnImageDimensionality': [2],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    ParticleTable.create(path, columns, optics).write(path)


def defoci(path: Path) -> Path:
    """Table of the defoci of 3,000 particles of EMPIAR-10028."""
    if not path.exists():
        with open(shared_data() / 'empiar10028_ctf.csv', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        count = len(rows)
        columns = {
            'rlnImageName': [f'{i:06d}@nowhere.mrcs' for i in range(1, count + 1)],
            'rlnOpticsGroup': np.ones(count, int),
            'rlnDefocusU': np.array([float(r['defocus_u_A']) for r in rows]),
            'rlnDefocusV': np.array([float(r['defocus_v_A']) for r in rows]),
            'rlnDefocusAngle': np.array([float(r['defocus_angle_deg']) for r in rows]),
        }
        optics = {
            'rlnOpticsGroup': [1],
            'rlnOpticsGroupName': ['opticsGroup1'],
            'rlnImagePixelSize': [1.34],
            'rlnImageSize': [360],
            'rlnImageDimensionality': [2],
            'rlnVoltage': [300.0],
            'rlnSphericalAberration': [2.0],
            'rlnAmplitudeContrast': [0.1],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        ParticleTable.create(path, columns, optics).write(path)
    return path
