"""Density of an atomic model: the electrostatic potential that electrons see, by gemmi."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from scipy import fft

from ..errors import InputError
from ..shapes import AnyPath, Floats, Volume

# gemmi's grid is finer than the map by this factor; at 1.5 aliasing is below 1e-3 with its blur.
OVERSAMPLING = 1.5


@dataclass(frozen=True)
class AtomicModel:
    """A structure and the point (A) that is put at the origin of the map."""

    structure: gemmi.Structure
    centre: np.ndarray
    path: Path


def read_models(paths: Iterable[AnyPath]) -> list[AtomicModel]:
    """Atomic models (PDB or mmCIF, gzipped or not), all centred by the first one, so that they stay superposed.

    InputError when a file is missing, not a model or has no atoms.
    """
    models: list[AtomicModel] = []
    for path in paths:
        try:
            structure = gemmi.read_structure(str(path))
        except (OSError, ValueError, RuntimeError) as e:
            raise InputError(f'{path}: not a readable atomic model ({e})') from e
        if not len(structure) or not structure[0].count_atom_sites():
            raise InputError(f'{path}: no atoms in it; a PDB or mmCIF file is needed')
        centre = models[0].centre if models else _positions(structure).mean(0)
        models.append(AtomicModel(structure, centre, Path(path)))
    return models


def check_size(model: AtomicModel, box: int, pixel_size: float) -> None:
    """InputError when an atom lies outside the sphere that fits into the box."""
    radius = np.linalg.norm(_positions(model.structure) - model.centre, axis=1).max()
    if radius > box * pixel_size / 2:
        raise InputError(
            f'{model.path}: the model reaches {radius:.0f} A from its centre, the box only '
            f'{box * pixel_size / 2:.0f} A; take --box {2 * int(np.ceil(radius / pixel_size)) + 2} or '
            'larger pixels'
        )


def density(model: AtomicModel, box: int, pixel_size: float, b_factor: float) -> Volume:
    """Electron-scattering density float32[box, box, box] (z, y, x), origin at box // 2.

    b_factor: A^2, added to every atom's own: a Gaussian that keeps the map from ringing at Nyquist.
    """
    fine = 2 * round(OVERSAMPLING * box / 2)
    field = box * pixel_size
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate = 2 * pixel_size, fine / box
    calculator.grid.spacegroup = gemmi.SpaceGroup('P1')
    calculator.grid.set_unit_cell(gemmi.UnitCell(field, field, field, 90, 90, 90))
    calculator.grid.set_size(fine, fine, fine)
    placed = model.structure[0].clone()
    move = gemmi.Transform()
    move.vec.fromlist(list(pixel_size * (box // 2) - model.centre))
    placed.transform_pos_and_adp(move)
    # Sharp atoms would alias on the grid: gemmi blurs them, and the blur is taken back in Fourier space.
    calculator.set_refmac_compatible_blur(placed)
    calculator.add_model_density_to_grid(placed)
    volume = np.asarray(calculator.grid.array).transpose(2, 1, 0)
    return _crop_and_blur(volume, box, field, b_factor - calculator.blur)


def _crop_and_blur(volume: Volume, box: int, field: float, b_factor: float) -> Volume:
    """Fourier crop to ``box`` px an axis and multiply by exp(-b_factor s^2 / 4)."""
    fine, k = volume.shape[0], fft.fftfreq(box, 1 / box).astype(int)
    half = np.arange(box // 2 + 1)
    spectrum = fft.rfftn(volume)[np.ix_(k % fine, k % fine, half)]
    squared = (k[:, None, None] ** 2 + k[:, None] ** 2 + half**2) / field**2
    spectrum *= np.exp(-b_factor * squared / 4)
    return (fft.irfftn(spectrum, s=(box,) * 3) * (box / fine) ** 3).astype(np.float32)


def _positions(structure: gemmi.Structure) -> Floats:
    return np.array([site.atom.pos.tolist() for site in structure[0].all()])
