"""Common looks: colours told apart by every eye, line styles beside them, PNG without a display."""

import csv
import sys
from array import array
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

from ..engine.files import atomic

# Okabe and Ito 2008, without the yellow that paper swallows.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000')
LINES = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
GREY = '#666666'


def new_figure(width, height, layout='constrained'):
    """An empty Figure (inches) that can be saved without a display."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def save(figure, path, dpi=120):
    """Write a figure as PNG; it appears under its name when it is complete."""
    # Names of files and classes may hold $ and are no formulas; labels of ticks are made while a figure is drawn.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with atomic(Path(path)) as partial, rc_context({'text.parse_math': False}):
        figure.savefig(partial, format='png', dpi=dpi)


def picture(path):
    """A PNG as a figure of its size."""
    pixels = imread(path)
    figure = new_figure(pixels.shape[1] / 100, pixels.shape[0] / 100, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.set_axis_off()
    return figure


def line_style(i):
    """Colour and dash of the i-th curve."""
    return {'color': COLOURS[i % len(COLOURS)], 'linestyle': LINES[i % len(LINES)], 'linewidth': 1.8}


def tidy(axes):
    """Light grid, no box; powers of ten as plain numbers, since nothing in a picture is a formula (`save`)."""
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
            axis.set_minor_formatter(NullFormatter())
    axes.grid(True, color='#dddddd', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def read_columns(path, text=(), only=None):
    """Columns of a CSV file with a header: {name: float64[n], or list of text for names in ``text``}.

    only: names to keep (default all). Cells that are not numbers become NaN. A last line that is still being written
    is left out. 8 bytes a cell: tables of evaluations have a million rows.
    """
    with open(path, newline='', encoding='utf-8') as file:
        rows = csv.reader(file)
        header = next(rows, [])
        columns = {name: [] if name in text else array('d') for name in header if only is None or name in only}
        wanted = [(header.index(name), name in text, column) for name, column in columns.items()]
        for row in rows:
            if len(row) == len(header):
                for i, is_text, column in wanted:
                    column.append(sys.intern(row[i]) if is_text else _number(row[i]))
    return {name: column if name in text else np.array(column) for name, column in columns.items()}


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return np.nan
