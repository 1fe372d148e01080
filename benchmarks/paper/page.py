"""tables.csv and one self-contained page of the results of tables.py, with the paper's numbers beside ours."""

import base64
import csv
import datetime
import html
import os
import platform

import numpy as np

from . import pictures
from .published import PAPER
from .text import BASIS, CAPTIONS, HEADINGS, STYLE, about, findings

COLUMNS = {
    'error': 'error to the truth', 'error_to_projections': 'to the projections', 'mse': 'MSE', 'psnr': 'PSNR',
    'ssim': 'SSIM', 'mse_affine': 'affine MSE', 'psnr_affine': 'affine PSNR', 'ssim_affine': 'affine SSIM',
    'excess': 'over the limit', 'training_seconds': 'training s', 'seconds_per_image': 's an image',
    'accuracy': 'accuracy', 'adjusted_rand_index': 'adjusted Rand', 'chance_accuracy': 'accuracy of chance',
    'clusters': 'K',
}  # fmt: skip
KINDS = ('none', 'references', 'particles', 'both')
FACTORS = {'mse': 1e3, 'mse_affine': 1e3}
# What is shown with its spread over seeds; the others would only widen the table (all are in tables.csv).
SPREAD = ('mse', 'error', 'excess', 'accuracy', 'adjusted_rand_index')


class Results:
    """What is done: Row -> its numbers, groups of rows that differ in seed only, and the excess over the limit."""

    def __init__(self, runner, todo):
        self.runner, self.rows, self.found = runner, todo, {}
        done = {}
        for row in todo:
            if row.work not in done:
                done[row.work] = runner.result(row.work)
            result = done[row.work]
            if result and row.table == 'views':
                result = result[row.column]
            self.found[row] = result
        self.cpu = sum(r['cpu_seconds'] for r in done.values() if r)
        self.works, self.done = len(done), sum(r is not None for r in done.values())
        for row, result in self.found.items():
            if result and 'mse' in result and row.work.kind not in ('refined', 'limit'):
                self.found[row] = result | self._excess(row.work)

    def groups(self, table):
        """{(label, column): [numbers of the seeds that are done]} in the order of the rows."""
        groups = {}
        for row in self.rows:
            if row.table == table:
                groups.setdefault((row.label, row.column), [])
                if self.found[row]:
                    groups[row.label, row.column].append(self.found[row])
        return groups

    def mean(self, table, label, column, key='mse'):
        """Mean over seeds, or None when nothing is there."""
        values = [g[key] for g in self.groups(table).get((label, column), []) if g.get(key) is not None]
        return float(np.mean(values)) if values else None

    def _excess(self, work):
        """Error over the limit's, on the very images that the limit was computed for."""
        limits = [r.work for r in self.rows if r.table == 'limit' and (r.work.data, r.work.seed) ==
                  (work.data, work.seed)]  # fmt: skip
        if not limits or not self.runner.result(limits[0]):
            return {}
        best = self.runner.scores(limits[0])['mse']
        return {'excess': float(self.runner.scores(work)['mse'][: len(best)].mean() / best.mean())}


def write_page(folder, runner, todo, scale):
    """Write the CSV, the page and its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(runner, todo)
    _write_csv(folder / 'tables.csv', results)
    shown = {name: draw(results, folder / f'{name}.png') for name, draw in pictures.ALL.items()}
    sections = []
    for table, (title, text) in HEADINGS.items():
        body = _pivot(results, table) if table in ('2', 'views') else _table(results, table)
        drawn = [_image(folder / f'{n}.png', CAPTIONS[n]) for n in pictures.OF.get(table, ()) if shown[n]]
        sections.append(f'<h2>{title}</h2><p>{text}</p>{body}{"".join(drawn)}')
    points = ''.join(f'<li>{line}' for line in findings(results))
    (folder / 'index.html').write_text(
        f'<!doctype html><meta charset="utf-8"><title>The paper\'s tables: {scale}</title><style>{STYLE}</style>'
        f"<h1>The paper's tables, scale {scale}</h1><p>{_when(results, scale)}</p>{about(runner.scale)}"
        f'<h2>What these numbers say of the paper</h2><ul>{points}</ul>'
        f"<h2>What the paper's numbers rest on</h2>{BASIS}" + ''.join(sections),
        encoding='utf-8',
    )


def _when(results, scale):
    import torch

    load = ' '.join(f'{v:.0f}' for v in os.getloadavg())
    word, amount = results.runner.scale.length
    left = results.works - results.done
    return (
        f'Written {datetime.datetime.now():%d %B %Y %H:%M}; {results.done} of {results.works} pieces of work done'
        + (f', {left} marked "not run"' if left else '')
        + f', {results.cpu / 60:.0f} CPU minutes on {results.runner.threads} thread. Length of one network: '
        f'{amount:g} {word}{" of CPU time" if word == "minutes" else ""} times its cost. Command: <code>make tables '
        f'SCALE={scale}</code> (other lengths: <code>python -m benchmarks.paper --scale {scale} --minutes-per-cell '
        f'M</code>). Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, '
        f'{platform.machine()}, load {load} on {os.cpu_count()} cores.'
    )


def _write_csv(path, results):
    lines = []
    for row, found in results.found.items():
        work = row.work
        lines.append({
            'table': row.table, 'row': row.label, 'column': row.column, 'seed': work.seed, 'kind': work.kind,
            'simulate': ' '.join(work.data), 'options': ' '.join(work.options), 'cost': f'{work.cost:g}',
            'state': 'not run' if not found else 'failed' if 'failed' in found else 'done',
            'paper_mse': PAPER.get((row.table, row.label, row.column), ''),
            **{k: f'{v:.6g}' if isinstance(v, float) else v for k, v in (found or {}).items()},
        })  # fmt: skip
    columns = list(dict.fromkeys(k for line in lines for k in line))
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(lines)


def _table(results, table):
    """One line a method and column; every number a mean over seeds."""
    groups = results.groups(table)
    keys = [k for k in COLUMNS if any(g.get(k) is not None for group in groups.values() for g in group)]
    with_paper = any((table, *key) in PAPER for key in groups)
    heads = ['', 'data', 'seeds', *(['paper MSE'] if with_paper else []), *(
        COLUMNS[k] + (' x 10⁻³' if k in FACTORS else '') for k in keys)]  # fmt: skip
    lines = []
    for (label, column), group in groups.items():
        # The preset's network may change from version to version: say which it was.
        networks = sorted({g['network'] for g in group if 'network' in g and 'preset' in label})
        cells = [
            html.escape(label + f' ({", ".join(networks)})' * bool(networks)),
            html.escape(column),
            str(len(group)) if group else 'not run',
        ]
        if with_paper:
            cells.append(_paper((table, label, column)))
        failed = [g for g in group if 'failed' in g]
        if failed:
            cells.append(html.escape(f'diverged in {len(failed)} of {len(group)}'))
        cells += [_number([g[k] for g in group if g.get(k) is not None], k) for k in keys[1 if failed else 0 :]]
        lines.append('<tr><td>' + '<td>'.join(cells))
    return f'<table><tr><th>{"<th>".join(heads)}{"".join(lines)}</table>' if lines else ''


def _pivot(results, table):
    """Methods down, columns across: MSE x 10⁻³ with the paper's below it (Table 2), or accuracy and Rand index."""
    groups = results.groups(table)
    columns = list(dict.fromkeys(c for _, c in groups))
    if table == '2':
        # By kind and share, not in the order of computing.
        columns = sorted(columns, key=lambda c: (KINDS.index(c.split()[0]), c))
    lines = []
    for label in dict.fromkeys(name for name, _ in groups):
        cells = [html.escape(label)]
        for column in columns:
            group = groups.get((label, column), [])
            if table == 'views':
                cells.append(_number([g['accuracy'] for g in group], 'accuracy') + '<br><small>' + _number(
                    [g['adjusted_rand_index'] for g in group], 'adjusted_rand_index') + '</small>')  # fmt: skip
                continue
            paper = _paper((table, label, column))
            ours = 'diverged' if any('failed' in g for g in group) else _number([g['mse'] for g in group], 'mse')
            base = results.mean(table, label, 'none')
            mean = results.mean(table, label, column)
            times = f' (x {mean / base:.2f})' if mean and base and column != 'none' else ''
            cells.append(ours + times + (f'<br><small>{paper}</small>' if paper else ''))
        lines.append('<tr><td>' + '<td>'.join(cells))
    return f'<table><tr><th><th>{"<th>".join(map(html.escape, columns))}{"".join(lines)}</table>'


def _paper(key):
    return f'{1e3 * PAPER[key]:.2f}' if key in PAPER else ''


def _number(values, key):
    if not values:
        return '<i>not run</i>' if key in ('mse', 'accuracy', 'error') else ''
    values = np.array(values) * FACTORS.get(key, 1)
    spread = f' ± {values.std(ddof=1):.2g}' if len(values) > 1 and key in SPREAD else ''
    digits = {'excess': f'{values.mean():.2f} x', 'psnr': f'{values.mean():.2f}', 'psnr_affine': f'{values.mean():.2f}',
              'clusters': f'{values.mean():.1f}'}  # fmt: skip
    return digits.get(key, f'{values.mean():#.3g}'.rstrip('.')) + spread


def _image(path, caption):
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><small>{caption}</small><br><img alt="{path.stem}" src="data:image/png;base64,{data}">'
