"""``python -m benchmarks.sorting``: see the package's own words."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cryoemgan.engine.files import write_json

from ..runner import claim, provenance
from . import __doc__ as about
from . import from_noise, measures, other_states, page, planted, reconstructions, relion, scores


def main(words: list[str] | None = None) -> None:
    """Measure sets, or list what there is."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.sorting', description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='compute the missing sets and seeds')
    noise = commands.add_parser('noise', help='what selection makes of nothing but noise, on sets that were run')
    maps = commands.add_parser('maps', help='what each selection makes of the map, of sets that were run')
    maps.add_argument('--scores', nargs='+', choices=list(scores.SCORES), help='which scores select; default all')
    maps.add_argument('--refine', action='store_true', help='refine what is kept, and measure those maps too')
    states = commands.add_parser('states', help='whether another state is found; needs RELION poses of ``run``')
    for what, tables in (
        (run, 'sorting'), (noise, 'sorting_noise'), (maps, 'sorting_maps'), (states, 'sorting_states')
    ):  # fmt: skip
        sets = list(other_states.SETS if what is states else planted.RECIPES)
        what.add_argument('--work', type=Path, required=True, help='folder for sets and scores; kept and shared')
        what.add_argument('--sets', nargs='+', default=sets, choices=sets)
        what.add_argument('--seeds', nargs='+', type=int, default=[1])
        what.add_argument('--finished', action='store_true', help='compute nothing: the table of what is there')
        what.add_argument('--csv', type=Path, help=f'where the table goes; default WORK/{tables}.csv')
    commands.add_parser('list', help='sets')
    args = parser.parse_args(words)
    if args.command == 'list':
        for name, recipe in planted.RECIPES.items():
            print(f'{name:16} {recipe.use:6} SNR {recipe.snr:g}, {sum(recipe.kinds.values())} images')
        return
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        for seed in args.seeds:
            if args.command == 'states':
                rows += other_states.measure(args.work.resolve(), name, seed, args.finished)
            elif args.command == 'maps':
                rows += maps_cell(args.work.resolve(), name, seed, args.finished, args.scores, args.refine)
            else:
                rows += (cell if args.command == 'run' else noise_cell)(args.work.resolve(), name, seed, args.finished)
    path = args.csv or args.work / ('sorting.csv' if args.command == 'run' else f'sorting_{args.command}.csv')
    page.write(path, rows)
    print(f'{len(rows)} rows: {path}')


def noise_cell(work: Path, name: str, seed: int, finished: bool = False) -> list[dict[str, Any]]:
    """Rows (a score and a part each) of what is made of noise on a set that was run; none where it was not."""
    folder = work / f'{name}_{seed}'
    if not (folder / 'rows.json').exists() or (finished and not (folder / 'noise' / 'rows.json').exists()):
        return []
    about = {'set': name, 'use': planted.RECIPES[name].use, 'seed': seed}
    return [{**about, **row} for row in from_noise.measure(folder, seed)]


def maps_cell(
    work: Path, name: str, seed: int, finished: bool = False, only: list[str] | None = None, refine: bool = False
) -> list[dict[str, Any]]:
    """Rows (a score and a limit each) of the maps of selections of a set that was run; none where it was not."""
    folder = work / f'{name}_{seed}'
    if not (folder / 'rows.json').exists():
        return []
    about = {'set': name, 'use': planted.RECIPES[name].use, 'seed': seed}
    return [{**about, **row} for row in reconstructions.measure(folder, finished, only, refine)]


def cell(work: Path, name: str, seed: int, finished: bool = False) -> list[dict[str, Any]]:
    """Rows (a score and a kind each) of a set and a seed: from their file, or computed now; none when another process
    is at them, or they are not there and nothing is to be computed."""
    folder = work / f'{name}_{seed}'
    kept = folder / 'rows.json'
    if not kept.exists():
        if finished or not claim(folder):
            return []
        if not relion.available():
            raise SystemExit('relion_refine is not installed (Debian: apt-get install relion)')
        write_json(kept, {'rows': _measured(folder, name, seed)})
    found: list[dict[str, Any]] = json.loads(kept.read_text(encoding='utf-8'))['rows']
    return found


def _measured(folder: Path, name: str, seed: int) -> list[dict[str, Any]]:
    recipe = planted.RECIPES[name]
    planted.make(recipe, seed, folder / 'set')
    relion.refine(folder / 'set', folder / 'relion')
    values = scores.compute(folder)
    kinds, paid = planted.kinds_of(folder / 'set'), scores.milliseconds(folder)
    rows = []
    for score, numbers in values.items():
        shares = measures.flagged(kinds, numbers) if score in scores.P_VALUES else {}
        if score == 'pose-fit':
            for kind, parts in measures.with_reasons(kinds, scores.reasons(folder)).items():
                shares[kind] |= parts
        for kind, found in measures.measured(kinds, numbers).items():
            rows.append({
                'set': name, 'use': recipe.use, 'seed': seed, 'score': score, 'kind': kind, **found,
                **shares.get(kind, {}), 'ms': paid[score], **provenance(),
            })  # fmt: skip
        for kind, found in shares.items():
            if kind == planted.MAJOR:
                rows.append({'set': name, 'use': recipe.use, 'seed': seed, 'score': score, 'kind': kind, **found,
                             **provenance()})  # fmt: skip
    return rows


if __name__ == '__main__':
    main()
