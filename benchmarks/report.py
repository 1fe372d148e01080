"""From tables of results to pages, and from the numbers in documents back to the cells that they come from.

A document names the cell of every number that it took from here in a comment::

    .. cell: relion error method=cwf = 0.281
    .. cell: suite error method=cwf use=judge median = 0.33
    .. cell: suite error method=guided against=cwf worst = 0.9

    .. page: downstream 15.8 16.2 53

The last names numbers that stand, with as many digits or more, or as a fraction for a percentage, on a page
``results/NAME.md`` of a study that left no table. A cell is:
table, column, what its rows must be, how the sets are put together (mean, median or worst; each set first as
the mean over its seeds; with ``against`` of its ratio to another method on that set and seed), and the number as it is
printed.
"""

from __future__ import annotations

import csv
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import jinja2

from .runner import RESULTS, Experiment

Row = dict[str, str]
HERE = Path(__file__).resolve().parent
PAGE = re.compile(r'^\.\. page: (\w+)((?: [\d.]+)+)$', re.MULTILINE)
NUMBER = re.compile(r'(?<![\w.])\d+(?:\.\d+)?')
CELL = re.compile(r'^\.\. cell: (\w+) (\w+)((?: \w+=\S+)*)(?: (mean|median|worst))? = (\S+)$', re.MULTILINE)
TOGETHER = {'mean': statistics.fmean, 'median': statistics.median, 'worst': max}


def read(name: str) -> list[Row]:
    """The rows of results/NAME.csv."""
    with open(RESULTS / f'{name}.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def by_set(rows: list[Row], column: str, **wanted: str) -> dict[str, float]:
    """{set: mean over seeds} of a column in the rows that are as wanted; empty and failed cells are left out."""
    return _over_seeds(_cells(rows, column, **wanted))


def ratios(rows: list[Row], column: str, against: str, **wanted: str) -> dict[str, float]:
    """{set: mean over seeds} of a column over that of the method ``against``, of the same set and seed."""
    mine, theirs = (_cells(rows, column, **w) for w in (wanted, {**wanted, 'method': against}))
    return _over_seeds({cell: v / theirs[cell] for cell, v in mine.items() if cell in theirs})


def _cells(rows: list[Row], column: str, **wanted: str) -> dict[tuple[str, str], float]:
    """{(set, seed): value}."""
    return {
        (row['set'], row['seed']): float(row[column])
        for row in rows
        if row[column] and all(row[key] == value for key, value in wanted.items())
    }


def _over_seeds(cells: dict[tuple[str, str], float]) -> dict[str, float]:
    names = dict.fromkeys(name for name, _ in cells)
    return {name: statistics.fmean(v for (of, _), v in cells.items() if of == name) for name in names}


def value(rows: list[Row], column: str, wanted: dict[str, str], how: str = 'mean') -> float:
    """One number of a table; LookupError where no cell holds it."""
    others = {key: v for key, v in wanted.items() if key != 'against'}
    against = wanted.get('against')
    found = ratios(rows, column, against, **others) if against else by_set(rows, column, **others)
    if not found:
        raise LookupError(f'no {column} for {wanted}')
    return TOGETHER[how](list(found.values()))


@dataclass
class Quoted:
    """A number in a document, and the cell that it says it comes from."""

    text: str
    table: str
    column: str
    wanted: dict[str, str]
    how: str

    def is_right(self) -> bool:
        """Whether the table says the same, to the digits that are printed."""
        digits = len(self.text.partition('.')[2])
        return f'{value(read(self.table), self.column, self.wanted, self.how):.{digits}f}' == self.text


def quoted(document: str) -> list[Quoted]:
    """The numbers of a document that name their cells."""
    return [
        Quoted(text, table, column, dict(pair.split('=', 1) for pair in pairs.split()), how or 'mean')
        for table, column, pairs, how, text in CELL.findall(document)
    ]


def not_on_their_page(document: str) -> list[str]:
    """'PAGE NUMBER' of the numbers that a document says are on a page of results, and that are not there."""
    missing = []
    for name, numbers in PAGE.findall(document):
        there = [float(n) for n in NUMBER.findall((RESULTS / f'{name}.md').read_text(encoding='utf-8'))]
        for text in numbers.split():
            digits = len(text.partition('.')[2])
            if not any(f'{n:.{digits}f}' == text for x in there for n in (x, 100 * x)):
                missing.append(f'{name} {text}')
    return missing


def pages(folder: Path) -> list[Path]:
    """Write a page for each table of an experiment to a folder (reStructuredText)."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / 'templates'), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, autoescape=False,
    )  # fmt: skip
    written = []
    for path in sorted(RESULTS.glob('*.csv')):
        if not (HERE / 'experiments' / f'{path.stem}.toml').exists():
            continue
        text = environment.get_template('experiment.rst').render(_content(Experiment.read(path.stem), read(path.stem)))
        written.append(folder / path.name.replace('.csv', '.rst'))
        if not written[-1].exists() or written[-1].read_text(encoding='utf-8') != text:
            written[-1].write_text(text, encoding='utf-8')
    return written


def _content(experiment: Experiment, rows: list[Row]) -> dict:
    """What the template is filled with."""
    methods = [m for m in experiment.methods if any(r['method'] == m for r in rows)]
    errors = {m: by_set(rows, 'error', method=m) for m in methods}
    judged = {r['set'] for r in rows if r['use'] == 'judge'}
    # Medians are of the same sets for every method.
    common = judged.intersection(*(of.keys() for of in errors.values()))
    together = {
        how: {m: TOGETHER[how]([errors[m][name] for name in common]) for m in methods if common}
        for how in ('median', 'worst')
    }
    sets = [name for name in experiment.sets if any(r['set'] == name for r in rows)]
    return {
        'experiment': experiment,
        'methods': methods,
        'sets': sets,
        'use': {r['set']: r['use'] for r in rows},
        'errors': errors,
        'together': together,
        'common': len(common),
        'against': _against_cwf(rows, methods),
        'stated': [r for r in rows if r['cut'] and (r.get('frc_cut') or r['frc_half'])],
        'seconds': {m: by_set(rows, 'cpu_seconds', method=m) for m in methods},
        'failed': [r for r in rows if r['failed']],
        'seeds': sorted({r['seed'] for r in rows}, key=int),
        'said': {key: sorted({r[key] for r in rows}) for key in ('date', 'commit', 'machine')},
    }


def _against_cwf(rows: list[Row], methods: list[str]) -> dict[str, tuple[float, float, int]]:
    """{method: (median, worst, number of sets) of its error over that of the covariance Wiener filter}."""
    found = {}
    for method in methods:
        over = ratios(rows, 'error', 'cwf', method=method).values()
        if over and method != 'cwf':
            found[method] = statistics.median(over), max(over), len(over)
    return found
