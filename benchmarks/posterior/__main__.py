"""``python -m benchmarks.posterior``: see the package's own words."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from cryoemgan.engine.files import read_json, write_json

from .. import datasets
from ..runner import provenance
from . import __doc__ as about
from . import classes, poses

WHAT = {'poses': poses, 'classes': classes}


def main(words: list[str] | None = None) -> None:
    """Measure sets that were not, and write the table of all."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.posterior', description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=list(WHAT))
    parser.add_argument('--work', type=Path, required=True, help='folder for sets and results; kept and shared')
    parser.add_argument('--sets', nargs='+', help='default all')
    parser.add_argument('--seeds', nargs='+', type=int, default=[1])
    parser.add_argument('--count', type=int, default=400, help='particles that are asked about')
    parser.add_argument('--csv', type=Path, help='where the table goes; default WORK/posterior_WHAT.csv')
    args = parser.parse_args(words)
    work, measure = args.work.resolve(), WHAT[args.what].measure
    rows: list[dict[str, Any]] = []
    for name in args.sets or list(WHAT[args.what].SETS):
        for seed in args.seeds:
            kept = work / 'posterior' / f'{args.what}_{name}_{seed}_{args.count}.json'
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                started = {'set': name, 'use': datasets.recipe_of(name).use, 'seed': seed, 'particles': args.count}
                found = [{**started, **row, **provenance()} for row in measure(work, name, seed, args.count)]
                write_json(kept, {'rows': found})
            rows += (read_json(kept) or {})['rows']
    path = args.csv or work / f'posterior_{args.what}.csv'
    _write(path, rows)
    print(f'{len(rows)} rows: {path}')


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    said = list(provenance())
    columns = [c for c in columns if c not in said] + said
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f'{v:.4g}' if isinstance(v, float) else v for k, v in row.items()})


if __name__ == '__main__':
    main()
