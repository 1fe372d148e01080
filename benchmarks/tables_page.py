"""tables.csv, tables.png and one self-contained page of the results of tables.py."""

import base64
import csv
import datetime
import html
import platform

import numpy as np
from matplotlib.figure import Figure

NOTES = """Noise is not clipped, and every method is told or measures the true noise level: the paper's classical rows
are 6 to 20 times worse because its noisy images were clipped to [0, 1]. MSE, PSNR and SSIM are over the range of all
references (one scale for the set). "affine": after the best gain and offset of each image. "limit" is the posterior
mean that knows the maps and the noise: no method has a lower MSE in expectation. Scores are of test particles that no
network learned from, in evaluation mode; classical methods learn from noisy particles, test particles too, as they
need no reference. Mean over seeds, and s.d. between seeds."""


def write_page(folder, scale, results):
    """Write the three files; rewritten after every cell."""
    columns = list(dict.fromkeys(k for r in results for k in r))
    with open(folder / 'tables.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(results)
    picture = _picture(folder / 'tables.png', results)
    parts = [
        _table(name, [r for r in results if r['table'] == name]) for name in dict.fromkeys(r['table'] for r in results)
    ]
    date = datetime.date.today().isoformat()
    page = f"""<!doctype html><meta charset="utf-8"><title>The paper's tables, scale {scale}</title>
<style>body{{font:15px sans-serif;max-width:70em;margin:2em auto}}td,th{{padding:.2em .7em;text-align:right}}
td:first-child{{text-align:left}}table{{border-collapse:collapse}}tr:nth-child(even){{background:#eee}}</style>
<h1>The paper's tables, scale {scale}</h1><p>{date}, Python {platform.python_version()}, {platform.machine()}.
Command: <code>make tables SCALE={scale}</code></p><p>{html.escape(NOTES)}</p>{''.join(parts)}
<img alt="MSE of each method" src="data:image/png;base64,{base64.b64encode(picture).decode()}">"""
    (folder / 'index.html').write_text(page, encoding='utf-8')


def _groups(results):
    """{(row, data): results of its seeds}"""
    groups = {}
    for r in results:
        groups.setdefault((r['row'], r['data']), []).append(r)
    return groups


def _table(name, results):
    columns = [k for k in results[0] if isinstance(results[0][k], int | float) and k != 'seed']
    if 'mse' in results[0]:
        columns.insert(1, 'excess over the limit')
    limits = {r['data']: r['mse'] for r in results if r['row'] == 'limit'}
    lines = []
    for (row, data), group in _groups(results).items():
        cells = [f'<td>{html.escape(row)}<td>{html.escape(data)}<td>{len(group)}']
        for column in columns:
            if column == 'excess over the limit':
                cells.append(f'<td>{group[0]["mse"] / limits[data] - 1:+.0%}' if data in limits else '<td>')
                continue
            values = np.array([g[column] for g in group if column in g])
            spread = f' ± {values.std(ddof=1):.2g}' if len(values) > 1 else ''
            cells.append(f'<td>{values.mean():.4g}{spread}' if len(values) else '<td>')
        lines.append('<tr>' + ''.join(cells))
    head = ''.join(f'<th>{html.escape(c.replace("_", " "))}' for c in ['method', 'data', 'seeds', *columns])
    return f'<h2>Table {name}</h2><table><tr>{head}{"".join(lines)}</table>'


def _picture(path, results):
    scored = [(k, g) for k, g in _groups([r for r in results if 'mse' in r]).items()]
    figure = Figure(figsize=(8, 1 + 0.28 * max(1, len(scored))), layout='constrained')
    axes = figure.subplots()
    axes.barh([f'{row} ({data})' for (row, data), _ in scored], [np.mean([r['mse'] for r in g]) for _, g in scored])
    axes.invert_yaxis()
    axes.set_xlabel('MSE (range of the references = 1)')
    figure.savefig(path, dpi=100)
    return path.read_bytes()
