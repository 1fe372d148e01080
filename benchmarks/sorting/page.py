"""The table of what was measured, and its page."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

import jinja2

from ..runner import RESULTS
from . import measures, planted, scores

TABLE, NOISE = RESULTS / 'sorting.csv', RESULTS / 'sorting_noise.csv'
COLUMNS = (
    'set', 'use', 'seed', 'score', 'kind', 'auc', 'lost_at_95', 'left_at_5', 'below_5', 'below_1', 'empty',
    'not_this_map', 'crowded', 'another_state', 'ms',
    'kept', 'correlation', 'chance', 'passed', 'images', 'limit', 'good', 'junk', 'half_fsc', 'half_resolution',
    'truth_fsc', 'truth_resolution', 'refined_half_fsc', 'refined_half_resolution', 'refined_truth_fsc',
    'refined_truth_resolution', 'particles', 'true',
    'stated', 'share', 'separation', 'margin', 'agreement', 'date', 'commit', 'machine',
)  # fmt: skip
# Measures of junk, and what they say.
MEASURES = {
    'auc': ('Area under the ROC curve', '1: parted without error, 0.5: not at all'),
    'lost_at_95': ('Good particles lost where 95 % of the junk is rejected', 'low is good'),
    'left_at_5': ('Junk that is left where 5 % of the good particles are lost', 'low is good'),
}
Row = dict[str, Any]


def write(path: Path, rows: list[Row]) -> None:
    """Rows as CSV, their columns in a fixed order; the file appears when it is complete."""
    partial = path.with_suffix('.partial')
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    with open(partial, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f'{v:.4g}' if isinstance(v, float) else v for k, v in row.items()})
    partial.replace(path)


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def pages(folder: Path) -> list[Path]:
    """Write the page of results/sorting.csv to a folder (reStructuredText); nothing where there is no table."""
    rows = _read(TABLE)
    if not rows:
        return []
    templates = Path(__file__).resolve().parents[1] / 'templates'
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, autoescape=False,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'sorting.rst'
    text = environment.get_template('sorting.rst').render({**_content(rows), 'noise': _of_noise(_read(NOISE))})
    if not path.exists() or path.read_text(encoding='utf-8') != text:
        path.write_text(text, encoding='utf-8')
    return [path]


def _content(rows: list[Row]) -> dict[str, Any]:
    """What the template is filled with: for each set a table for each measure, {score: {kind: text}}."""
    sets = {name: _of_set([r for r in rows if r['set'] == name]) for name in dict.fromkeys(r['set'] for r in rows)}
    return {
        'sets': sets, 'recipes': planted.RECIPES, 'kinds': [*planted.JUNK, measures.ALL], 'measures': MEASURES,
        'missing': [name for name in scores.SCORES if all(r['score'] != name for r in rows)],
        'about': planted.ABOUT, 'scores': scores.SCORES,
        'said': {key: sorted({r[key] for r in rows}) for key in ('date', 'commit', 'machine')},
    }  # fmt: skip


def _of_set(rows: list[Row]) -> dict[str, Any]:
    def mean(score: str, kind: str, column: str) -> float | None:
        found = [float(r[column]) for r in rows if r['score'] == score and r['kind'] == kind and r[column]]
        return statistics.fmean(found) if found else None

    names = [name for name in scores.SCORES if any(r['score'] == name for r in rows)]
    kinds = (*planted.JUNK, measures.ALL)
    tables: dict[str, dict[str, dict[str, str]]] = {m: {s: {} for s in names} for m in MEASURES}
    for measure in MEASURES:
        for kind in kinds:
            printed = _printed(measure, {s: mean(s, kind, measure) for s in names})
            for score, text in printed.items():
                tables[measure][score][kind] = text
    return {
        'seeds': sorted({int(r['seed']) for r in rows}),
        'tables': tables,
        'minor': {s: 1 - (mean(s, planted.MINOR, 'left_at_5') or 0) for s in names},
        'ms': {s: mean(s, measures.ALL, 'ms') for s in names},
        'p_values': [
            {
                'score': score,
                'alarms': {percent: mean(score, planted.MAJOR, f'below_{percent}') for percent in (5, 1)},
                'flagged': {k: mean(score, k, 'below_5') for k in (*planted.JUNK, planted.MINOR)},
            }
            for score in scores.P_VALUES
            if mean(score, planted.MAJOR, 'below_5') is not None
        ],
    }


def _of_noise(rows: list[Row]) -> dict[str, Any]:
    """{set: {'parts': kept parts, 'chance': {part: text}, 'found': {score: {part: text}}, 'passed': {score: text},
    'images'}} of nothing but noise."""
    sets: dict[str, Any] = {}
    for name in dict.fromkeys(r['set'] for r in rows):
        mine = [r for r in rows if r['set'] == name]
        found: dict[str, dict[str, str]] = {}
        for row in mine:
            found.setdefault(row['score'], {})[row['kept']] = f'{float(row["correlation"]):.2f}'
        sets[name] = {
            'parts': list(dict.fromkeys(r['kept'] for r in mine)),
            'chance': {r['kept']: f'{float(r["chance"]):.2f}' for r in mine},
            'found': found,
            'passed': {r['score']: f'{float(r["passed"]):.0%}' for r in mine},
            'images': mine[0]['images'],
        }
    return sets


def _printed(measure: str, values: dict[str, float | None]) -> dict[str, str]:
    """Numbers of one kind as they are printed, {score: text}: the best are bold."""
    known = [v for v in values.values() if v is not None]
    shown = '{:.2f}' if measure == 'auc' else '{:.0%}'
    best = shown.format(max(known) if measure == 'auc' else min(known))
    texts = {score: '' if v is None else shown.format(v) for score, v in values.items()}
    return {score: f'**{text}**' if text == best else text for score, text in texts.items()}
