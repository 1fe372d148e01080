"""What is imaged: deposited maps, atomic models and synthetic shapes, soft or sharpened, brought to a box.

Everything returns float32[box, box, box] (z, y, x) with the particle inside the sphere that the box holds, and its
pixel size in A.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from cryoemgan.engine.imaging.density import density, read_models
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.imaging.phantom import Phantom, claw
from cryoemgan.engine.imaging.resample import resample
from cryoemgan.engine.imaging.rings import ring_index, ring_sums
from cryoemgan.engine.shapes import Volume

Maps = tuple[list[Volume], float]

STATES = ('00', '05', '10', '15', '20')
MAPS = {
    'emd1883': 'maps/emd_1883.map.mrc',
    'emd5625': 'maps/emd_5625.map',
    'emd1252': 'more_maps/emd_1252.map',
    'emd2479': 'more_maps/emd_2479.map',
}
# The smallest field of view, A, that holds all states of RNA polymerase without their tail.
RNAP_FIELD = 195.2
# Of a sharpened map: fall-off of its amplitudes (A^2) beyond START (A), at most GAIN times what they were.
SHARP_B, START, GAIN = 60.0, 20.0, 30.0
SYNTHETIC_FIELD = 250.0


def deposited(name: str, box: int, shared: Path) -> Maps:
    """A deposited map, resampled to ``box`` px over its own field of view."""
    found = read_map(shared / MAPS[name])
    data = resample(found.data, box, axes=(-3, -2, -1)).astype(np.float32)
    return [np.ascontiguousarray(data)], found.box * found.pixel_size / box


def rnap(box: int, shared: Path, b_factor: float, states: tuple[str, ...] = STATES) -> Maps:
    """RNA polymerase in some of its clamp states, from the atomic models without their tail. b_factor: A^2."""
    pixel_size = RNAP_FIELD / box
    with tempfile.TemporaryDirectory() as folder:
        models = read_models(rnap_models(shared, Path(folder), states))
    return [density(model, box, pixel_size, b_factor) for model in models], pixel_size


def rnap_models(shared: Path, folder: Path, states: tuple[str, ...] = STATES) -> list[Path]:
    """Atomic models of RNA polymerase without their tail, as files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_without_tail(shared, state, folder) for state in states]


def _without_tail(shared: Path, state: str, folder: Path) -> Path:
    """Without the 130 A tail of beta' (chain D, 159 to 452), which would need a larger field of view."""
    path = shared / 'rnap_4xln' / f'rnap_4xln_clamp_open{state}.pdb.gz'
    new = folder / path.name.removesuffix('.gz')
    if not new.exists():
        with gzip.open(path, 'rt') as file:
            kept = [x for x in file if not (x.startswith('ATOM') and x[21] == 'D' and 159 <= int(x[22:26]) <= 452)]
        partial = new.with_suffix('.partial')
        partial.write_text(''.join(kept))
        partial.replace(new)
    return new


def synthetic(shape: str, box: int) -> Maps:
    """A shape of Gaussian blobs: claw (three states, no symmetry), ring (D7), rod (three times longer than wide),
    shell (hollow, icosahedral), grains (scattered, no symmetry)."""
    if shape == 'claw':
        phantoms = claw(3)
    else:
        phantoms = [SHAPES[shape](np.random.default_rng(17))]
    return [p.volume(box) for p in phantoms], SYNTHETIC_FIELD / box


def _ring(rng: np.random.Generator) -> Phantom:
    unit = np.array([0.24, 0.0, 0.10]) + rng.normal(0, [0.03, 0.035, 0.03], (22, 3))
    turns = [Rotation.from_euler('z', 360 / 7 * k, degrees=True) for k in range(7)]
    flip = Rotation.from_euler('x', 180, degrees=True)
    return _blobs(np.concatenate([t.apply(part) for t in turns for part in (unit, flip.apply(unit))]), 0.024)


def _rod(rng: np.random.Generator) -> Phantom:
    return _blobs(rng.uniform([-0.38, -0.11, -0.11], [0.38, 0.11, 0.11], (130, 3)), 0.03)


def _shell(rng: np.random.Generator) -> Phantom:
    unit = Rotation.random(6, random_state=5).apply([0.0, 0.0, 0.34]) * rng.uniform(0.9, 1.05, (6, 1))
    return _blobs(np.concatenate([g.apply(unit) for g in Rotation.create_group('I')]), 0.028)


def _grains(rng: np.random.Generator) -> Phantom:
    directions = Rotation.random(90, random_state=3).apply([0.0, 0.0, 1.0])
    return _blobs(directions * 0.38 * rng.uniform(0, 1, (90, 1)) ** (1 / 3), 0.018)


def _blobs(centres: np.ndarray, sigma: float) -> Phantom:
    return Phantom(centres, np.full(len(centres), sigma), np.ones(len(centres)))


SHAPES: dict[str, Callable[[np.random.Generator], Phantom]] = {
    'ring': _ring,
    'rod': _rod,
    'shell': _shell,
    'grains': _grains,
}


def sharpened(volume: Volume, pixel_size: float) -> Volume:
    """A map whose amplitudes beyond 20 A fall as exp(-B s^2 / 4), B = 60 A^2, from where they stand there.

    Shells that hold less than a thirtieth of what the fall-off asks for are raised thirty times only: what is beyond
    the resolution of a map stays empty. A soft edge takes off the corners beyond Nyquist.
    """
    box = len(volume)
    spectrum = fft.rfftn(volume)
    shells = ring_index(box, 3)
    power = ring_sums(np.abs(spectrum) ** 2, 3, corners=True)
    count = ring_sums(np.ones(spectrum.shape), 3, corners=True)
    amplitude = np.sqrt(power / count)
    s = np.arange(len(amplitude)) / (box * pixel_size)
    start = max(1, min(round(box * pixel_size / START), box // 4))
    wanted = amplitude[start] * np.exp(-SHARP_B * (s**2 - s[start] ** 2) / 4)
    gain = np.where(s > s[start], np.clip(wanted / np.maximum(amplitude, 1e-30), 1, GAIN), 1)
    gain *= np.clip((box / 2 - np.arange(len(s))) / 3, 0, 1)
    return np.ascontiguousarray(fft.irfftn(spectrum * gain[shells], s=volume.shape), dtype=np.float32)
