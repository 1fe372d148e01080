"""``python -m benchmarks``: see the package's own words."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import __doc__ as about
from . import datasets, report, runner
from .sorting import page as sorting_page


def main() -> None:
    """Run an experiment, or list what there is."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='compute the missing cells of an experiment')
    run.add_argument('experiment')
    run.add_argument('--work', type=Path, required=True, help='folder for sets and cells; kept and shared')
    run.add_argument('--sets', nargs='+', help='some of its sets (default all); tune or judge = those for it')
    run.add_argument('--methods', nargs='+', help='some of its methods (default all)')
    run.add_argument('--seeds', nargs='+', type=int, help='default: those of the experiment')
    run.add_argument('--minutes', type=float, help='of CPU time for every method that trains')
    run.add_argument('--particles', type=int, help='in every set, instead of what its recipe says (a quick look)')
    run.add_argument('--finished', action='store_true', help='compute nothing: the table of what is there')
    run.add_argument('--csv', type=Path, help='where the table goes; default WORK/EXPERIMENT.csv')
    pages = commands.add_parser('pages', help='pages (rst) from results/*.csv')
    pages.add_argument('--output', type=Path, default=Path('docs/measured'))
    commands.add_parser('list', help='experiments and sets')
    args = parser.parse_args()
    if args.command == 'list':
        _list()
    elif args.command == 'pages':
        print(*report.pages(args.output), *sorting_page.pages(args.output), sep='\n')
    else:
        _run(args)


def _run(args: argparse.Namespace) -> None:
    experiment = runner.Experiment.read(args.experiment)
    if args.sets:
        uses = {'tune', 'judge'} & set(args.sets)
        experiment.sets = [s for s in args.sets if s not in uses] + [
            s for s in experiment.sets if datasets.RECIPES[s].use in uses
        ]
    if args.methods:
        experiment.methods = {name: experiment.methods[name] for name in args.methods}
    experiment.seeds = args.seeds or experiment.seeds
    experiment.particles = args.particles or experiment.particles
    if args.minutes:
        for options in experiment.methods.values():
            if options['kind'] == 'train':
                options['minutes'] = args.minutes
    rows = runner.run(experiment, args.work.resolve(), args.finished)
    path = args.csv or args.work / f'{args.experiment}.csv'
    runner.write(path, rows)
    print(f'{len(rows)} cells: {path}')


def _list() -> None:
    for path in sorted(runner.EXPERIMENTS.glob('*.toml')):
        experiment = runner.Experiment.read(path.stem)
        print(f'{path.stem}: {experiment.title} ({", ".join(experiment.methods)})')
    print()
    for name, recipe in datasets.RECIPES.items():
        sharp, ctf = 'sharp' if recipe.sharp else 'soft', 'CTF' if recipe.ctf else 'no CTF'
        print(
            f'{name:18} {recipe.use:6} {recipe.box} px, {recipe.particles} particles, SNR {recipe.snr:g}, {sharp}, '
            f'{ctf}, {recipe.noise}, angles {recipe.angle_error:g} deg, shifts {recipe.shift_error:g} px'
        )


if __name__ == '__main__':
    main()
