"""The template out of nothing but noise: what selection and reconstruction make of empty images.

Images of noise alone are aligned to the map of a refined set and scored as its particles are. The best by each score
are reconstructed by RELION at their angles: what comes back of the map was put there by alignment and selection
(Balanov, Zabatani, Bendory, arXiv 2507.03951).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.imaging.maps import lowpass, read_map
from cryoemgan.engine.shapes import Volume

from ..runner import provenance
from . import planted, relion, scores

# Parts of the noise that are kept; and the detail (A) in which map and reconstruction are compared.
KEPT, RESOLUTION = (1.0, 0.5, 0.2, 0.1), 20.0
COUNT, LIMIT, REPEATS = 1000, 0.05, 3


def measure(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Rows {score, kept, correlation, chance, passed}; kept in noise/rows.json of the folder of a measured set.

    correlation: of the map with what was reconstructed from the best part by the score; chance: from as many images
    drawn by lot, the mean over draws; passed: part of the noise that a limit lets through which costs 5 % of the
    major state.
    """
    place = folder / 'noise'
    kept = place / 'rows.json'
    if kept.exists():
        found: list[dict[str, Any]] = (read_json(kept) or {})['rows']
        return found
    planted.make_noise(folder / 'set', place / 'set', COUNT, seed)
    relion.align(place / 'set', folder / 'relion', place / 'relion')
    values = scores.of_others(folder, place)
    limits = _limits(folder)
    table = ParticleTable.read(place / 'relion' / 'refined.star')
    template, rows = read_map(folder / 'set' / 'major.mrc'), []
    size, rng = template.pixel_size, np.random.default_rng(seed)

    def alike(chosen: np.ndarray, name: str) -> float:
        path = place / f'{name}.mrc'
        relion.reconstruct(table.kept(np.sort(chosen)), path)
        return _correlation(read_map(path).data, template.data, size)

    for part in KEPT:
        count = round(part * len(table))
        lots = [alike(rng.permutation(len(table))[:count], 'lot') for _ in range(1 if part == 1 else REPEATS)]
        for score, numbers in values.items():
            best = np.argsort(-np.nan_to_num(numbers, nan=-np.inf), kind='stable')[:count]
            rows.append({
                'score': score, 'kept': part, 'correlation': alike(best, 'best') if part < 1 else lots[0],
                'chance': float(np.mean(lots)), 'passed': float((numbers > limits[score]).mean()), 'images': len(table),
                **provenance(),
            })  # fmt: skip
    write_json(kept, {'rows': rows})
    return rows


def _limits(folder: Path) -> dict[str, float]:
    """{score: limit that costs 5 % of the major state of the set}."""
    kinds = planted.kinds_of(folder / 'set')
    values = scores.compute(folder)
    return {name: float(np.nanquantile(v[kinds == planted.MAJOR], LIMIT)) for name, v in values.items()}


def _correlation(volume: Volume, other: Volume, pixel_size: float) -> float:
    """Normalised correlation of two maps, low-passed, within the sphere that the box holds."""
    axis = np.arange(len(volume)) - len(volume) // 2
    inside = np.sqrt(axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2) < 0.45 * len(volume)
    a, b = (lowpass(v, pixel_size, RESOLUTION)[inside] for v in (volume, other))
    return float(np.corrcoef(a, b)[0, 1])
