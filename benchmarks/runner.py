"""Cells of an experiment: a set, a seed and a method each; computed once, by as many processes as share a folder."""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

from cryoemgan.engine.files import write_json

from . import datasets, methods

HERE = Path(__file__).resolve().parent
EXPERIMENTS, RESULTS = HERE / 'experiments', HERE / 'results'
COLUMNS = (
    'set', 'use', 'method', 'seed', 'error', 'raw_error', 'gain', 'frc_half', 'cut', 'frc_cut', 'frc_limit',
    'uncut_error', 'expected_ratio', 'iterations', 'cpu_seconds', 'wall_seconds', 'failed', 'particles', 'date',
    'commit', 'machine',
)  # fmt: skip


@dataclass
class Experiment:
    """Which methods on which sets. methods: {name: {'kind': of ``methods``, and its options}}."""

    name: str
    title: str
    about: str
    sets: list[str]
    seeds: list[int]
    methods: dict[str, dict[str, Any]]
    particles: int | None = None

    @classmethod
    def read(cls, name: str) -> Experiment:
        """From experiments/NAME.toml; SystemExit when there is none."""
        path = EXPERIMENTS / f'{name}.toml'
        if not path.exists():
            known = ', '.join(sorted(p.stem for p in EXPERIMENTS.glob('*.toml')))
            raise SystemExit(f'{name!r} is not one of the experiments: {known}')
        given = tomllib.loads(path.read_text(encoding='utf-8'))
        return cls(
            name, given['title'], given.get('about', ''), given['sets'], given.get('seeds', [1]), given['methods'],
            given.get('particles'),
        )  # fmt: skip

    def cells(self) -> Iterator[tuple[str, int, str]]:
        """(set, seed, method): all methods of a set before the next set."""
        for seed in self.seeds:
            for name in self.sets:
                for method in self.methods:
                    yield name, seed, method


def run(experiment: Experiment, work: Path, finished: bool = False) -> list[dict[str, Any]]:
    """Compute the cells that are missing; all rows. Cells that another living process is at are left to it.

    finished: compute nothing, give the rows that are there.
    """
    rows = []
    for name, seed, method in experiment.cells():
        if finished and not (place_of(experiment, work, name, seed, method) / 'row.json').exists():
            continue
        row = cell(experiment, work, name, seed, method)
        if row is not None:
            rows.append(row)
            print(_line(row), flush=True)
    return rows


def cell(experiment: Experiment, work: Path, name: str, seed: int, method: str) -> dict[str, Any] | None:
    """The row of a cell, from its file or computed now; None when another process is at it.

    A cell belongs to its options: with others (or other particles) it is another cell.
    """
    options = dict(experiment.methods[method])
    place = place_of(experiment, work, name, seed, method)
    result = place / 'row.json'
    if result.exists():
        known = json.loads(result.read_text())
        # What failed may be mended since.
        if not known.get('failed') or known['commit'] == provenance()['commit']:
            return known
    if not claim(place):
        return None
    kind = options.pop('kind')
    data = datasets.make(name, seed, work, experiment.particles)
    try:
        found = methods.apply(kind, data, place, seed, options)
    except RuntimeError as e:
        # A method that fails on a set is a result: the page says so.
        found = {'failed': ' '.join(str(e).split())[-300:]}
    row = {
        'set': name, 'use': data.recipe.use, 'method': method, 'seed': seed, **found,
        'particles': data.recipe.particles, **provenance(),
    }  # fmt: skip
    write_json(result, row)
    # Networks and images of hundreds of cells would fill a disk.
    for folder in ('denoise', 'uncut', 'filter', 'project', 'train/checkpoints'):
        shutil.rmtree(place / folder, ignore_errors=True)
    return row


def place_of(experiment: Experiment, work: Path, name: str, seed: int, method: str) -> Path:
    """Folder of a cell."""
    return work / 'cells' / f'{name}_{seed}_{_word(method, experiment.methods[method], experiment.particles)}'


def claim(place: Path) -> bool:
    """Make a folder this process's own, so that several can share a run; False when a living process has it."""
    place.mkdir(parents=True, exist_ok=True)
    owner = place / 'process'
    try:
        with open(owner, 'x', encoding='utf-8') as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        number = owner.read_text().strip()
    if number == str(os.getpid()) or not Path(f'/proc/{number}').exists():
        owner.write_text(str(os.getpid()))
        return True
    return False


def provenance() -> dict[str, str]:
    """When, with which commit and where a number was measured."""
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {'date': time.strftime('%Y-%m-%d'), 'commit': commit or 'unknown', 'machine': f'{_processor()}, one thread'}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, in a fixed order; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    with open(partial, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        for row in sorted(rows, key=lambda r: (r['set'], r['method'], r['seed'])):
            writer.writerow({k: f'{v:.4g}' if isinstance(v, float) else v for k, v in row.items()})
    partial.replace(path)


def _word(method: str, options: dict[str, Any], particles: int | None) -> str:
    words = [method, *(f'{k}-{v}' for k, v in sorted(options.items()) if k != 'kind')]
    return '_'.join(words + ([str(particles)] if particles else [])).replace('/', '-').replace(' ', '')


def _line(row: dict[str, Any]) -> str:
    if row.get('failed'):
        return f'{row["set"]:18} {row["method"]:14} seed {row["seed"]}  failed: {row["failed"][-100:]}'
    names = ('error', 'raw_error', 'gain', 'frc_half', 'cut', 'expected_ratio', 'cpu_seconds', 'wall_seconds')
    found = '  '.join(f'{name} {row[name]:.3g}' for name in names if isinstance(row.get(name), float))
    return f'{row["set"]:18} {row["method"]:14} seed {row["seed"]}  {found}'


def _processor() -> str:
    """Its name; the names of some say nothing of their age, which their family does."""
    path = Path('/proc/cpuinfo')
    lines = (x.partition(':') for x in (path.read_text().splitlines() if path.exists() else []))
    said = {key.strip(): value.strip() for key, _, value in reversed(list(lines))}
    name = said.get('model name') or platform.processor() or 'unknown'
    return f'{name} (family {said["cpu family"]})' if 'cpu family' in said else name
