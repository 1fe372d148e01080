"""Preset `recommended` against preset `paper` and the covariance Wiener filter, on the sets of `blind.py`.

    python benchmarks/versus.py --data ../shared/data --work WORK [--boxes 64 128]

CPU seconds of training and evaluations at each box: PLAN; `paper` at 64 px goes to its own end, 20 epochs, which takes
two hours. Prints the tables of benchmarks/results/versus.md, and writes
versus_<box>.csv and versus.png (error on the validation particles against cost) beside it. Finished cells are kept in
WORK, also those of blind.py.
"""

import argparse
from pathlib import Path

import blind
import numpy as np

# box: (cell, CPU seconds or None for the preset's own length, evaluations), `recommended` first and `paper` last.
PLAN = {
    64: (('equivariant', 180, 40), ('paper', None, 40)),
    # `paper` takes 8 s to evaluate here, as long as three of its iterations.
    128: (('equivariant', 300, 40), ('paper', 120, 4)),
}
NAMES = {
    'equivariant': 'preset recommended',
    'paper': 'preset paper',
    'cwf': 'covariance Wiener filter',
}
TITLES = (
    '', 'iterations', 'CPU s', 'test MSE x 1e-3', 'over CWF', 'SSIM', 'best validation MSE', 'in the last doubling',
    "`paper`'s best after", "of `paper`'s time",
)  # fmt: skip
RESULTS = Path(__file__).parent / 'results'


def measured(given, box):
    """(rows of the table, {cell: curve}) of one box; the curves are in the test images' units."""
    given.box = box
    data = blind.data_set(given)
    rows, curves = [blind.covariance_wiener(given, data)], {}
    blind.show(rows[0])
    for name, given.cpu, given.evaluations in PLAN[box]:
        row, curves[name] = blind.cell(given, data, name, seed=1)
        rows.append(row)
        blind.show(row)
        blind.write(RESULTS / f'versus_{box}.csv', rows)
    return rows, curves


def best_so_far(curve):
    """(seconds [k], least error until then [k]): what the model folder holds, since it keeps the best checkpoint."""
    seconds, errors = np.array(curve).T
    return seconds, np.minimum.accumulate(errors)


def reaches(curve, error):
    """CPU seconds after which the model is at or below an error, or None."""
    seconds, best = best_so_far(curve)
    return float(seconds[best <= error][0]) if best[-1] <= error else None


def per_doubling(curve):
    """Change of the least error from half the cost to all of it, as a part."""
    seconds, best = best_so_far(curve)
    return float(best[-1] / np.exp(np.interp(np.log(seconds[-1] / 2), np.log(seconds), np.log(best))) - 1)


def table(rows, curves):
    """Markdown."""
    goal, cost, cwf = best_so_far(curves['paper'])[1][-1], curves['paper'][-1][0], rows[0]['mse']
    lines = [f'| {" | ".join(TITLES)} |', '|' + '---|' * len(TITLES)]
    for row in rows:
        found = [NAMES[row['cell']], row.get('iterations', ''), f'{row["cpu_seconds"]:.0f}', f'{1e3 * row["mse"]:.2f}',
                 f'{row["mse"] / cwf:.2f}', f'{row["ssim"]:.3f}']  # fmt: skip
        curve = curves.get(row['cell'])
        if curve:
            when = reaches(curve, goal)
            found += [f'{1e3 * best_so_far(curve)[1][-1]:.2f}', f'{100 * per_doubling(curve):+.0f} %']
            found += ['not reached', ''] if when is None else [f'{when:.0f} s', f'{when / cost:.3f}']
        lines.append(f'| {" | ".join(map(str, found + [""] * (len(TITLES) - len(found))))} |')
    return '\n'.join(lines)


def draw(path, found):
    """Validation error against cost, a panel a box."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(5 * len(found), 4), squeeze=False)
    for axes, (box, (rows, curves)) in zip(panels[0], found.items()):
        for name, points in curves.items():
            axes.loglog(*zip(*((s, 1e3 * e) for s, e in points)), marker='.', label=NAMES[name])
        axes.axhline(1e3 * rows[0]['mse'], color='grey', linestyle='--', label=NAMES['cwf'])
        axes.set(xlabel='CPU seconds, one thread', ylabel='validation MSE x 1e-3', title=f'{box} px')
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches='tight')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--boxes', type=int, nargs='+', default=list(PLAN), choices=list(PLAN))
    given = parser.parse_args()
    given.__dict__ |= dict(ctf=False, shift_sd=0.0, withhold=0, pairs=0, grey='image')
    given.work.mkdir(parents=True, exist_ok=True)
    found = {box: measured(given, box) for box in given.boxes}
    for box, (rows, curves) in found.items():
        print(f'\n### {box} px\n\n{table(rows, curves)}')
    draw(RESULTS / 'versus.png', found)


if __name__ == '__main__':
    main()
