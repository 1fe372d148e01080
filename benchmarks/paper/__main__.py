"""The paper's tables, piece by piece: make tables SCALE=smoke|cpu|paper.

A piece is (data set, method, seed). One that has its result is not computed again: an interrupted run goes on where it
was, several processes can share a run, and a page can be written at any time (--page), with what is missing marked
"not run". Everything goes to benchmarks/tables/SCALE (with --minutes-per-cell to a folder of its own): tables.csv,
index.html (self-contained), PNG.
"""

import argparse
import os
import re
import time
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import torch

from cryoemgan.engine.training import loop as trainingrun

from .cells import SCALES, TABLES, rows
from .estimate import estimate
from .page import write_page
from .run import HERE, Runner

# The page is drawn anew after so many seconds of work.
PAGE_EVERY = 240


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scale', choices=SCALES, default='smoke')
    parser.add_argument('--tables', default='all', help=f'comma-separated: {", ".join(TABLES)}; or all')
    parser.add_argument(
        '--match', default='', help='only rows whose "label, column, seed" holds this regular expression'
    )
    parser.add_argument(
        '--minutes-per-cell', type=float, help='CPU minutes of training of one network, instead of those of the scale'
    )
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--estimate', action='store_true', help='only say how long it would take')
    parser.add_argument('--page', action='store_true', help='only write the page of what is there')
    parser.add_argument('--work', type=Path, default=HERE / 'tables', help='where finished pieces are kept')
    parser.add_argument('--publish', type=Path, help='where to write CSV, page and pictures instead of beside the run')
    parser.add_argument('--stop-after', type=float, help='begin nothing new after this many CPU minutes')
    args = parser.parse_args()
    scale, name = SCALES[args.scale], args.scale
    if args.minutes_per_cell:
        scale = scale.__class__(**{**scale.__dict__, 'length': ('minutes', args.minutes_per_cell)})
        name = f'{name}_{args.minutes_per_cell:g}min'
    folder = args.work / name
    wanted = TABLES if args.tables == 'all' else tuple(args.tables.split(','))
    unknown = set(wanted) - set(TABLES)
    if unknown:
        parser.error(f'--tables: there is no {", ".join(sorted(unknown))}; known are {", ".join(TABLES)}')
    todo = [r for r in rows(scale, wanted) if re.search(args.match, f'{r.label}, {r.column}, {r.work.seed}')]
    runner = Runner(folder, scale, args.threads)
    target = args.publish or folder
    if args.estimate:
        print(estimate(runner, todo))
        return
    if not args.page:
        compute(args, runner, todo, target)
    write_page(target, runner, rows(scale), args.scale)
    print(target / 'index.html')


def compute(args, runner, todo, target):
    """Do all work that is not done; the page is rewritten now and then."""
    if runner.scale.length[0] == 'minutes':
        # Minutes of a cell are CPU time: other load of the machine does not count.
        trainingrun.clock = time.process_time
    torch.set_num_threads(args.threads)
    works = list(dict.fromkeys(r.work for r in todo))
    open_ = [w for w in works if runner.result(w) is None]
    print(f'{len(works)} pieces of work, {len(open_)} to do', flush=True)
    start = written = time.process_time()
    for i, work in enumerate(open_, 1):
        if args.stop_after and time.process_time() - start > 60 * args.stop_after:
            print(f'{len(open_) - i + 1} pieces left undone after {args.stop_after:g} CPU minutes', flush=True)
            return
        found = runner.do(work)
        if found is None:
            continue
        print(f'{i}/{len(open_)} {time.process_time() - start:.0f} s {work.name[:90]}: ' + _line(found), flush=True)
        if time.process_time() - written > PAGE_EVERY:
            write_page(target, runner, rows(runner.scale), args.scale)
            written = time.process_time()


def _line(found):
    if 'failed' in found:
        return 'FAILED ' + found['failed']
    return ', '.join(f'{k} {v:.4g}' for k, v in found.items() if isinstance(v, float))


if __name__ == '__main__':
    main()
