"""A set of particles in which it is known what each image shows: the map's molecule, a minor state of it, or junk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import write_json
from cryoemgan.engine.geometry import euler_to_matrix, matrix_to_euler
from cryoemgan.engine.imaging import simulation
from cryoemgan.engine.imaging.ctf import with_ctf
from cryoemgan.engine.imaging.density import density, read_models
from cryoemgan.engine.imaging.maps import write_map
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.imaging.resample import plan_resampling
from cryoemgan.engine.shapes import Floats, Images, Volume

from .. import molecules
from ..datasets import defoci, shared_data
from .volumes import bound_domain, broken

MAJOR, MINOR = 'major', 'minor'
# Images of each kind, of a set as large as the default.
KINDS = {
    MAJOR: 1000,
    MINOR: 110,
    'empty': 80,
    'edge': 80,
    'neighbour': 80,
    'off-centre': 80,
    'broken': 80,
    'other': 80,
    'wrong-pose': 80,
}
JUNK = tuple(kind for kind in KINDS if kind not in (MAJOR, MINOR))
ABOUT = {
    MINOR: 'the molecule in a state that the map does not show',
    'empty': 'noise alone',
    'edge': 'no particle: an edge of carbon, its texture and a gradient of the background',
    'neighbour': 'the molecule, and one or two more that reach into the box',
    'off-centre': 'the molecule, 8 to 14 px from where it should be',
    'broken': 'the molecule without three tenths of its mass',
    'other': 'another molecule, as strong',
    'wrong-pose': 'the molecule, at angles that the refinement got wrong',
}
BOX, RNAP_PIXEL, MINOR_STATE = 64, 4.5, '15'
# s.d. of shifts (px) and of the particles' contrast; errors of the poses that the refinement starts from (degrees, px).
SHIFTS, CONTRAST, START_ANGLES, START_SHIFTS = 1.2, 0.1, 4.0, 1.0
BATCH = 100
# Streams of random numbers of their own, beyond those of ``simulate``.
PLANTED, TEXTURE = 101, 102


@dataclass(frozen=True)
class Recipe:
    """How a set is made. molecule: rnap, or a deposited map; other: a deposited map that is junk in it; use: tune or
    judge; snr: variance of the signal over that of the noise, all pixels; share: of the numbers in ``KINDS``, in whose
    place ``counts`` may stand."""

    molecule: str
    other: str
    use: str
    snr: float
    share: float = 1.0
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def kinds(self) -> dict[str, int]:
        """Number of images of each kind."""
        if self.counts:
            return dict(self.counts)
        return {kind: max(2, round(self.share * count)) for kind, count in KINDS.items()}


RECIPES = {
    'rnap-0.05': Recipe('rnap', 'emd1252', 'tune', 0.05),
    'rnap-0.1': Recipe('rnap', 'emd1252', 'tune', 0.1),
    'rnap-0.03': Recipe('rnap', 'emd1252', 'tune', 0.03),
    'emd1883-0.05': Recipe('emd1883', 'emd5625', 'judge', 0.05),
    'emd2479-0.05': Recipe('emd2479', 'emd1252', 'judge', 0.05),
}


@dataclass(frozen=True)
class Objects:
    """The maps that a set shows, float32 [BOX, BOX, BOX] each, and their pixel size."""

    major: Volume
    minor: Volume
    broken: Volume
    other: Volume
    pixel_size: float


def objects(recipe: Recipe) -> Objects:
    """The maps of a recipe."""
    if recipe.molecule == 'rnap':
        names = ('00', MINOR_STATE)
        folder = Path('/tmp') / 'sorting-models'
        models = read_models(molecules.rnap_models(shared_data(), folder, names))
        major, minor = (density(m, BOX, RNAP_PIXEL, 14 * RNAP_PIXEL**2) for m in models)
        pixel_size = RNAP_PIXEL
    else:
        (major,), pixel_size = molecules.deposited(recipe.molecule, BOX, shared_data())
        minor = bound_domain(major)
    (foreign,), size = molecules.deposited(recipe.other, BOX, shared_data())
    other = plan_resampling(BOX, size, BOX, pixel_size).apply(foreign)
    return Objects(major, minor, broken(major), other, pixel_size)


def make(recipe: Recipe, seed: int, folder: Path) -> None:
    """Write particles.mrcs, start.star (poses to refine from), truth.npz, and the maps major.mrc and minor.mrc.

    set.json is written last: a folder with it is complete.
    """
    if (folder / 'set.json').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shown = objects(recipe)
    kinds = np.repeat(list(recipe.kinds), list(recipe.kinds.values()))
    rng = simulation.stream(seed, PLANTED)
    kinds = rng.permutation(kinds)
    count = len(kinds)
    table = ParticleTable.read(defoci(folder / 'defoci.star'))
    ctf = {name: values[rng.integers(len(table), size=count)] for name, values in table.ctf().items()}
    angles = simulation.random_angles(count, seed)
    shifts = simulation.stream(seed, simulation.SHIFTS).normal(0, SHIFTS, (count, 2))
    far = kinds == 'off-centre'
    shifts[far] += _moves(rng, int(far.sum()), 8, 14)
    signal = _signal(shown, kinds, ctf, euler_to_matrix(*angles), shifts, rng)
    noise_sd = float(np.sqrt(signal[kinds == MAJOR].var((1, 2)).mean() / recipe.snr))
    edges = np.flatnonzero(kinds == 'edge')
    signal[edges] = noise_sd * _edges(len(edges), shown.pixel_size, {k: v[edges] for k, v in ctf.items()}, rng)
    images = signal + noise_sd * simulation.unit_noise(np.arange(count), BOX, seed, coloured=True)
    with StackWriter(folder / 'particles.mrcs', count, BOX, shown.pixel_size) as writer:
        writer.append(normalised(images))
    start = _start(kinds, angles, np.where(far[:, None], 0, shifts), seed, rng)
    _table(folder / 'start.star', start, ctf, simulation.half_sets(count, seed), shown.pixel_size, seed)
    np.savez(folder / 'truth.npz', kinds=kinds, angles=np.stack(angles, 1), shifts=shifts)
    for name in (MAJOR, MINOR):
        write_map(folder / f'{name}.mrc', getattr(shown, name), shown.pixel_size)
    write_json(folder / 'set.json', {'noise_sd': noise_sd, 'particles': count, 'pixel_size': shown.pixel_size})


def make_noise(like: Path, folder: Path, count: int, seed: int) -> None:
    """particles.mrcs and start.star of noise alone, with the CTF of the first images of a set, at any angles."""
    if (folder / 'start.star').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    source = ParticleTable.read(like / 'start.star')
    pixel_size, halves = source.pixel_size, source.half_sets()
    assert halves is not None
    with StackWriter(folder / 'particles.mrcs', count, BOX, pixel_size) as writer:
        # Rows beyond those of the set: noise that is not in it.
        writer.append(normalised(simulation.unit_noise(len(source) + np.arange(count), BOX, seed, coloured=True)))
    angles = matrix_to_euler(Rotation.random(count, random_state=seed + 1).as_matrix())
    ctf = {name: values[:count] for name, values in source.ctf().items()}
    _table(folder / 'start.star', (angles, np.zeros((count, 2))), ctf, halves[:count], pixel_size, seed)


def kinds_of(folder: Path) -> np.ndarray:
    """What each image of a set shows: str [n]."""
    with np.load(folder / 'truth.npz') as file:
        found: np.ndarray = file['kinds']
    return found


def _signal(
    shown: Objects, kinds: np.ndarray, ctf: dict[str, Floats], rotations: np.ndarray, shifts: Floats,
    rng: np.random.Generator,
) -> Images:  # fmt: skip
    """Images float32 [n, BOX, BOX] without noise, under the CTF; nothing for those without a particle."""
    projectors = {
        name: FourierProjector(_padded(getattr(shown, name))) for name in ('major', 'minor', 'broken', 'other')
    }
    contrast = rng.normal(1, CONTRAST, len(kinds)).astype(np.float32)
    views = {kind: kind if kind in projectors else 'major' for kind in KINDS}
    found = np.zeros((len(kinds), BOX, BOX), np.float32)
    for kind in KINDS:
        rows = np.flatnonzero(kinds == kind)
        if kind in ('empty', 'edge') or not len(rows):
            continue
        for part in np.array_split(rows, -(-len(rows) // BATCH)):
            images = projectors[views[kind]].project(rotations[part], shifts[part]).numpy()
            if kind == 'neighbour':
                images += _neighbours(projectors['major'], len(part), rng)
            images = with_ctf(images, shown.pixel_size, {k: v[part] for k, v in ctf.items()})
            found[part] = contrast[part, None, None] * _cropped(images)
    strength = {k: found[kinds == k].var((1, 2)).mean() for k in (MAJOR, 'other')}
    found[kinds == 'other'] *= np.sqrt(strength[MAJOR] / strength['other'])
    return found


def _neighbours(projector: FourierProjector, count: int, rng: np.random.Generator) -> Images:
    """Images of molecules whose centres lie four to six tenths of the box away: one each, and two in every third."""
    total = np.zeros((count, 2 * BOX, 2 * BOX), np.float32)
    for number in (count, count // 3):
        turns = Rotation.random(number, random_state=int(rng.integers(2**31))).as_matrix()
        total[:number] += projector.project(turns, _moves(rng, number, 0.42 * BOX, 0.6 * BOX)).numpy()
    return total


def _moves(rng: np.random.Generator, count: int, nearest: float, farthest: float) -> Floats:
    """Moves [count, 2] in all directions, as far as asked."""
    direction = rng.uniform(0, 2 * np.pi, count)
    return (rng.uniform(nearest, farthest, count) * np.stack([np.cos(direction), np.sin(direction)])).T


def _edges(count: int, pixel_size: float, ctf: dict[str, Floats], rng: np.random.Generator) -> Images:
    """Edges of carbon float32 [count, BOX, BOX], in s.d. of the noise: on one side a darker, textured film, and across
    the box a gradient."""
    axis = np.arange(2 * BOX) - BOX
    direction, offset = rng.uniform(0, 2 * np.pi, count), rng.uniform(-0.25, 0.25, count) * BOX
    c, s = np.cos(direction)[:, None, None], np.sin(direction)[:, None, None]
    along = c * axis + s * axis[:, None]
    film = 1 / (1 + np.exp(-(along - offset[:, None, None]) / 1.5))
    texture = simulation.stream(int(rng.integers(2**31)), TEXTURE).standard_normal((count, 2 * BOX, 2 * BOX))
    images = film * (-3.0 + 0.7 * texture)
    gradient = rng.uniform(0.3, 1.0, count)[:, None, None] * along / BOX
    return _cropped(with_ctf(images.astype(np.float32), pixel_size, ctf) + gradient.astype(np.float32))


def normalised(images: Images) -> Images:
    """As ``relion_preprocess`` leaves them: outside a circle without gradient, of mean 0 and s.d. 1."""
    axis = np.arange(BOX) - BOX // 2
    outside = np.hypot(axis[:, None], axis) > 0.4 * BOX
    y, x = np.meshgrid(axis, axis, indexing='ij')
    plane = np.stack([np.ones(x.shape), x, y], -1)
    fitted = np.linalg.pinv(plane[outside]) @ images[:, outside].T.astype(np.float64)
    flat = images - (plane @ fitted).transpose(2, 0, 1)
    return (flat / flat[:, outside].std(1)[:, None, None]).astype(np.float32)


def _start(
    kinds: np.ndarray, angles: tuple[Floats, ...], shifts: Floats, seed: int, rng: np.random.Generator
) -> tuple[tuple[Floats, ...], Floats]:
    """Poses that the refinement starts from: a little wrong, or anything at all for what has none."""
    near = simulation.perturbed_angles(angles, START_ANGLES, seed)
    anything = matrix_to_euler(Rotation.random(len(kinds), random_state=seed).as_matrix())
    lost = np.isin(kinds, ['empty', 'edge', 'other', 'wrong-pose'])
    started = tuple(np.where(lost, a, n) for a, n in zip(anything, near))
    return started, shifts + rng.normal(0, START_SHIFTS, shifts.shape)


def _table(
    path: Path, poses: tuple[tuple[Floats, ...], Floats], ctf: dict[str, Floats], halves: np.ndarray,
    pixel_size: float, seed: int,
) -> None:  # fmt: skip
    count = len(halves)
    (rot, tilt, psi), shifts = poses
    columns = {
        # RELION takes paths from where it runs.
        'rlnImageName': [f'{i:06d}@{path.parent.resolve()}/particles.mrcs' for i in range(1, count + 1)],
        'rlnOpticsGroup': np.ones(count, int),
        'rlnAngleRot': rot,
        'rlnAngleTilt': tilt,
        'rlnAnglePsi': psi,
        'rlnOriginXAngst': shifts[:, 0] * pixel_size,
        'rlnOriginYAngst': shifts[:, 1] * pixel_size,
        'rlnRandomSubset': halves,
        'rlnDefocusU': ctf['defocus_u'],
        'rlnDefocusV': ctf['defocus_v'],
        'rlnDefocusAngle': ctf['defocus_angle'],
        **simulation.micrographs(count, 60, BOX, seed),
    }
    optics = {
        'rlnOpticsGroup': [1],
        'rlnOpticsGroupName': ['opticsGroup1'],
        'rlnImagePixelSize': [pixel_size],
        'rlnImageSize': [BOX],
        'rlnImageDimensionality': [2],
        'rlnVoltage': ctf['voltage'][:1],
        'rlnSphericalAberration': ctf['cs'][:1],
        'rlnAmplitudeContrast': ctf['amplitude_contrast'][:1],
    }
    ParticleTable.create(path, columns, optics).write(path)


def _padded(volume: Volume) -> Volume:
    return np.pad(volume, BOX // 2)


def _cropped(images: Images) -> Images:
    return images[:, BOX // 2 : -BOX // 2, BOX // 2 : -BOX // 2]
