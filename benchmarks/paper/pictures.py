"""The pictures of the tables' page: training curves, galleries, points of clusterings."""

import csv

import numpy as np

from cryoemgan.figures.style import COLOURS, line_style, new_figure, save, tidy

from .cells import CLUSTERED, EMBEDDINGS, LAMBDAS

# Particles shown in a gallery.
PARTICLES = 4


def _done(results, table, column=None, labels=None):
    """{label: Work} of finished rows of a table, first seed."""
    found = {}
    for row in results.rows:
        ours = row.table == table and column in (None, row.column) and (labels is None or row.label in labels)
        if ours and results.found[row] and 'failed' not in results.found[row]:
            found.setdefault(row.label, row.work)
    return found


def curves(results, path):
    """Figure 2: validation error against iterations, JS-GAN alone and with l1."""
    works = _done(results, 'figure2')
    if not works:
        return False
    figure = new_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    for i, (label, work) in enumerate(works.items()):
        with open(results.runner.curve(work), newline='') as file:
            rows = list(csv.DictReader(file))
        x = [int(r['iteration']) for r in rows]
        left.plot(x, [float(r['mse']) for r in rows], label=label, **line_style(i))
        right.plot(x, [float(r['d_fake']) for r in rows], label=label, **line_style(i))
    left.set(xlabel='iteration', ylabel='validation MSE', yscale='log')
    right.set(xlabel='iteration', ylabel='D of denoised images', ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        tidy(axes)
    save(figure, path, 90)
    return True


def _gallery(lines, path, contrast=None):
    """Rows of images [n, box, box] with their titles."""
    if len(lines) < 2:
        return False
    count = min(PARTICLES, *(len(i) for _, i in lines))
    across = 3
    down = -(-len(lines) // across)
    figure = new_figure(across * 3.6, down * 1.1, layout=None)
    for i, (title, images) in enumerate(lines):
        row, column = divmod(i, across)
        axes = figure.add_axes((column / across, 1 - (row + 1) / down, 0.97 / across, 0.76 / down))
        strip = np.concatenate([_stretched(image) for image in images[:count]], axis=1)
        axes.imshow(strip, cmap='gray', vmin=0, vmax=1, origin='lower', interpolation='nearest')
        axes.set_title(title, fontsize=8, pad=3)
        axes.set_axis_off()
    save(figure, path, 90)
    return True


def _stretched(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / max(high - low, 1e-9), 0, 1)


def _images(results, works, of='images'):
    return {label: results.runner.scores(work)[of] for label, work in works.items()}


def gallery(level):
    """Figure 5 at an SNR: every method of Table 1, and the limit."""

    def draw(results, path):
        works = _done(results, '1', f'SNR {level}') | _done(results, 'limit', f'SNR {level}')
        if level == '0.1':
            works |= _done(results, 'long')
        lines = list(_images(results, works).items())
        if works:
            lines.insert(0, ('clean', results.runner.scores(next(iter(works.values())))['truth']))
        return _gallery(lines, path)

    return draw


def refined(results, path):
    """Figure 7, on RELION's refinement."""
    works = _done(results, '3')
    lines = list(_images(results, works).items())
    if works:
        lines.insert(0, ('truth', results.runner.scores(next(iter(works.values())))['truth']))
    return _gallery(lines, path)


def lambdas(results, path):
    """Figure 11."""
    works = _done(results, '6', labels=[f'lambda {v:g}' for v in LAMBDAS])
    lines = list(_images(results, works).items())
    if works:
        lines.insert(0, ('clean', results.runner.scores(next(iter(works.values())))['truth']))
    return _gallery(lines, path)


def pggan(results, path):
    """Figures 9 and 10: the plain networks and PGGAN at SNR 0.05."""
    works = _done(results, 'pggan') | _done(results, '5', 'SNR 0.1')
    lines, shown = [], set()
    for label, work in works.items():
        found = results.runner.scores(work)
        if work.data not in shown:
            shown.add(work.data)
            lines.append((f'clean (SNR {work.data[-1]})', found['truth']))
        lines.append((label, found['images']))
    return _gallery(lines, path)


def _points(results, path, panels):
    """Scatter plots: panels of (title, Work, embedding)."""
    if not panels:
        return False
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(2.5 * across, 2.7 * down)
    every = figure.subplots(down, across, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, work, embedding) in zip(every, panels):
        found = results.runner.scores(work)
        for i, state in enumerate(np.unique(found['truth'])):
            mine = found[embedding][found['truth'] == state]
            axes.plot(*mine.T, '.', color=COLOURS[i], markersize=4)
        agreed = results.runner.result(work)[embedding]
        axes.set_title(f'{title}\naccuracy {agreed["accuracy"]:.2f}', fontsize=8)
        axes.set(xticks=[], yticks=[])
    save(figure, path, 90)
    return True


def _views(results, source):
    return _done(results, 'views', EMBEDDINGS[0], [source]).get(source)


def figure6(results, path):
    """Figure 6: Isomap of two states in the images of several methods; first draw."""
    works = _done(results, 'views', EMBEDDINGS[0])
    return _points(results, path, [(label, work, 'isomap') for label, work in works.items()])


def figure8(results, path):
    """Figure 8: four embeddings of the same denoised images."""
    work = _views(results, 'l2-autoencoder')
    return _points(results, path, [(e, work, e) for e in EMBEDDINGS] if work else [])


def clusters(results, path):
    """Adjusted Rand index of every draw, by what was clustered."""
    groups = {s: [g['adjusted_rand_index'] for g in results.groups('clusters').get((s, 'K given'), [])]
              for s in CLUSTERED}  # fmt: skip
    if not any(groups.values()):
        return False
    figure = new_figure(5, 2.6)
    axes = figure.subplots()
    for i, values in enumerate(groups.values()):
        axes.plot([i] * len(values), values, 'o', color=COLOURS[0], alpha=0.7)
    axes.axhline(0, color='black', linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylabel='adjusted Rand index', ylim=(-0.05, 1.05))
    tidy(axes)
    save(figure, path, 90)
    return True


ALL = {
    'figure2': curves, 'gallery_snr0.05': gallery('0.05'), 'gallery_snr0.1': gallery('0.1'), 'gallery_refined': refined,
    'gallery_lambda': lambdas, 'gallery_plain_pggan': pggan, 'figure6': figure6, 'figure8': figure8,
    'clusters': clusters,
}  # fmt: skip
# Which pictures belong to which table.
OF = {'1': ('gallery_snr0.05', 'gallery_snr0.1'), '3': ('gallery_refined',), '6': ('gallery_lambda',),
      'pggan': ('gallery_plain_pggan',), 'figure2': ('figure2',), 'views': ('figure6', 'figure8'),
      'clusters': ('clusters',)}  # fmt: skip
