"""Particles as points of an embedding, and averages of classes."""

import mrcfile
import numpy as np

from ..engine.data.table import ParticleTable
from .style import COLOURS, GREY, new_figure, read_columns, tidy

MOST = 20_000  # points drawn
NEAR = 12  # px on the screen: a click further from any point selects none


class Embedding:
    """The points of a clustering's embedding.csv, and the particle that a click asks for (row of ``table``)."""

    def __init__(self, path, table):
        columns = read_columns(path, text=('particle',))
        axes = [columns[name] for name in columns if name[0] == 'x' and name[1:].isdecimal()]
        # One dimension: spread the points at random, so that they can be told apart.
        rng = np.random.default_rng(0)
        second = axes[1] if len(axes) > 1 else rng.uniform(0, 1, len(axes[0]))
        self._points, self._flat = np.stack([axes[0], second], axis=1), len(axes) == 1
        self._labels = columns['cluster'].astype(int)
        self._shown = np.sort(rng.permutation(len(self._points))[:MOST])
        self._table, self._path = None, table
        self._marks = self._axes = self._picture = None

    def figure(self):
        """Points coloured by class; beside them room for a particle."""
        figure = new_figure(9.5, 5)
        self._axes, self._picture = figure.subplots(1, 2, width_ratios=(2, 1))
        points, labels = self._points[self._shown], self._labels[self._shown]
        for i, label in enumerate(np.unique(labels)):
            mine = labels == label
            colour = COLOURS[i % len(COLOURS)]
            size = int((self._labels == label).sum())
            self._axes.plot(*points[mine].T, '.', color=colour, markersize=3, alpha=0.6, label=f'{label}: {size}')
        self._axes.set(
            xlabel='first coordinate',
            ylabel='(spread at random, to tell points apart)' if self._flat else 'second coordinate',
        )
        if self._flat:
            # One coordinate: the height only keeps the points apart.
            self._axes.set_yticks([])
        self._axes.legend(title='class: particles', frameon=False, fontsize=8, markerscale=3)
        (self._marks,) = self._axes.plot([], [], 'o', markerfacecolor='none', color='black', markersize=9)
        tidy(self._axes)
        self._picture.set_axis_off()
        self._picture.set_title('click a point', fontsize=9, color=GREY)
        return figure

    def clicked(self, event):
        """Show the particle whose point is nearest to a mouse event of the figure; whether there is one."""
        if event.inaxes is not self._axes:
            return False
        places = self._axes.transData.transform(self._points[self._shown])
        away = np.hypot(*(places - (event.x, event.y)).T)
        if away.min() > NEAR:
            return False
        row = int(self._shown[away.argmin()])
        self._table = self._table or ParticleTable.read(self._path)
        image = self._table.images().read(np.array([row]))[0]
        low, high = np.percentile(image, [0.5, 99.5])
        self._picture.clear()
        self._picture.imshow(image, cmap='gray', vmin=low, vmax=high, origin='lower')
        self._picture.set_axis_off()
        name = self._table.ints('rlnImageId')[row] if self._table.has('rlnImageId') else row + 1
        self._picture.set_title(f'particle {name}, class {self._labels[row]}', fontsize=9)
        self._marks.set_data(*self._points[[row]].T)
        return True


def averages(stack, titles):
    """The first images of a stack in rows of five, each with its title."""
    with mrcfile.mmap(stack, permissive=True) as mrc:
        images = np.array(mrc.data.reshape(-1, *mrc.data.shape[-2:])[: len(titles)], dtype=np.float32)
    across = min(5, len(images))
    down = -(-len(images) // across)
    figure = new_figure(max(2.4 * across, 3), 2.7 * down)
    for i, axes in enumerate(figure.subplots(down, across, squeeze=False).ravel()):
        axes.set_axis_off()
        if i < len(images):
            axes.imshow(images[i], cmap='gray', origin='lower')
            axes.set_title(titles[i], fontsize=9)
    return figure
