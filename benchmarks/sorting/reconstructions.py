"""Maps before and after each selection: what ``relion_reconstruct`` makes of what is kept, at the same poses.

Each score selects twice: at a limit that costs 5 % of the major state (known here), and at the limit that the program
proposes itself. Beside them stand all particles, and all without the junk. With ``refine`` a refinement of nothing but
what is kept follows (``relion_refine``, half sets apart), and its maps are measured too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryoemgan.engine.data.scores import SCORES as NAMED
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json, write_json
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.metrics.frc import resolution, shell_correlation
from cryoemgan.engine.shapes import Floats, Volume
from cryoemgan.engine.trust.selection import choose_limit

from ..runner import provenance
from . import measures, planted, relion, scores

EVERYTHING, NO_JUNK, MATCHED, PROPOSED = 'everything', 'no-junk', 'matched', 'proposed'
HALF, TRUTH = 0.143, 0.5


def measure(
    folder: Path, finished: bool = False, only: list[str] | None = None, refine: bool = False
) -> list[dict[str, Any]]:
    """Rows {score, limit, good, junk, half_fsc, half_resolution, truth_fsc, truth_resolution}; kept in maps/rows.json
    of the folder of a measured set.

    good, junk: parts of the major state and of the junk that are kept. half_fsc, truth_fsc: mean over all shells of the
    FSC between the half maps, and of their mean with the truth; the resolutions (A) where they fall below 0.143 and
    0.5. finished: only what is there. only: scores; None: all. refine: also {refined_...} of all particles, of those
    without junk and of matched selections.
    """
    place = folder / 'maps'
    place.mkdir(exist_ok=True)
    kept = place / 'rows.json'
    rows: list[dict[str, Any]] = (read_json(kept) or {}).get('rows', []) if kept.exists() else []
    if finished:
        return rows
    done = {(row['score'], row['limit']): row for row in rows}
    table, kinds = ParticleTable.read(folder / 'relion' / 'refined.star'), planted.kinds_of(folder / 'set')
    truth = read_map(folder / 'set' / 'major.mrc')
    for score, limit, chosen in _selections(folder, kinds):
        row = done.get((score, limit))
        wanted = refine and limit != PROPOSED and (row is None or 'refined_truth_fsc' not in row)
        if (row is not None and not wanted) or (only and limit and score not in only):
            continue
        part = table.kept(np.flatnonzero(chosen))
        found = _quality(part, truth.data, truth.pixel_size, place)
        if row is None:
            row = {
                'score': score, 'limit': limit, 'good': float(chosen[kinds == planted.MAJOR].mean()),
                'junk': float(chosen[np.isin(kinds, planted.JUNK)].mean()), **found, **provenance(),
            }  # fmt: skip
            rows.append(row)
        if wanted:
            again = _quality(relion.refine_again(part, place), truth.data, truth.pixel_size, place)
            row.update({f'refined_{name}': value for name, value in again.items()})
        write_json(kept, {'rows': rows})
    return rows


def _selections(folder: Path, kinds: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """(score, limit, bool [n]: kept) of each selection."""
    major = kinds == planted.MAJOR
    found = [(EVERYTHING, '', np.ones(len(kinds), bool)), (NO_JUNK, '', ~np.isin(kinds, planted.JUNK))]
    proposals = {score.label: score for score in NAMED}
    for name, values in scores.compute(folder).items():
        found.append((name, MATCHED, values >= np.nanquantile(values[major], measures.LOSS)))
        about = scores.SCORES[name]
        if about.label in proposals:
            column = about.sign * values
            limit = choose_limit(proposals[about.label], PROPOSED, column, _threshold(values, major))
            found.append((name, PROPOSED, ~limit.rejects(column)))
    return found


def _threshold(values: Floats, major: np.ndarray) -> float:
    """Evidence that 95 % of the particles exceed, as a model knows it."""
    return float(np.quantile(values[major], measures.LOSS))


def _quality(table: ParticleTable, truth: Volume, pixel_size: float, place: Path) -> dict[str, float]:
    halves = table.half_sets()
    maps = []
    for half in (1, 2):
        path = place / f'half{half}.mrc'
        relion.reconstruct(table.kept(np.flatnonzero(halves == half)), path)
        maps.append(_inside(read_map(path).data))
    curves = {
        'half': (shell_correlation(*maps), HALF),
        'truth': (shell_correlation(_inside(truth), (maps[0] + maps[1]) / 2), TRUTH),
    }
    found = {}
    for name, (curve, level) in curves.items():
        found[f'{name}_fsc'] = float(curve[1 : len(truth) // 2].mean())
        found[f'{name}_resolution'] = resolution(curve, level, pixel_size, len(truth)) or float('nan')
    return found


def _inside(volume: Volume) -> Volume:
    """The map within a soft sphere."""
    axis = np.arange(len(volume)) - len(volume) // 2
    away = np.sqrt(axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2) / len(volume)
    return (volume / (1 + np.exp((away - 0.4) / 0.01))).astype(np.float32)
