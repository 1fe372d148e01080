"""Galleries of the same particles in several sets side by side: noisy | denoised | reference."""

import csv
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..engine.data.matching import match
from ..engine.data.table import ParticleTable
from .style import new_figure

# Images across a page; sets of one particle stay together.
ACROSS = 12
INCH = 1.25
# In images: a line of text above each, the titles above all, the space between particles.
CELL_HEIGHT, HEADING, BLOCK_GAP = 1.16, 0.34, 0.15
# Of the pages of a window, px: side of an image, height of a line of text, space between particles; images across.
CELL, LINE, GAP = 96, 15, 12
SIDE_BY_SIDE = 16


def particle_labels(table, rows):
    """Names of some particles in tables and pictures, one after the other: the id, else the original image."""
    return map(str, table.ints('rlnImageId')[rows]) if table.has('rlnImageId') else table.names_of(rows)


class Gallery:
    """Particles that several sets share, page by page.

    sets: {title: STAR file, or ParticleTable}; the first one gives the order. per_page: particles on a page.
    contrast: 'own' scales each image between its 0.5 and 99.5 percentiles, 'shared' all images of a page by those of
    the last set. metrics: metrics.csv of an evaluation, to print each image's correlation above it. aligned: the sets
    were made of one another, row by row: nothing has to be matched. sort_by: Score whose worst particles come first,
    and whose value stands beside each name; ValueError when no set has it. marks: {word: names of the particles of the
    first set that it stands beside}.
    """

    def __init__(self, sets, per_page=16, contrast='own', metrics=None, aligned=False, sort_by=None, marks=None):
        if contrast not in ('own', 'shared'):
            raise ValueError(f'contrast {contrast!r} is neither own nor shared')
        self.titles, self.per_page, self.contrast, self.metrics = list(sets), per_page, contrast, metrics
        self.tables = [s if isinstance(s, ParticleTable) else ParticleTable.read(s) for s in sets.values()]
        same = [np.arange(len(self.tables[0]))] * len(self.tables)
        self._rows = same if aligned else _shared_rows(self.tables)
        self.sort_by, self._values, self._marks = sort_by, None, marks or {}
        self._order = np.arange(len(self))
        if sort_by is not None:
            table = next((t for t in self.tables[::-1] if t.has(sort_by.label)), None)
            if table is None:
                raise ValueError(f'none of {", ".join(self.titles)} has {sort_by.title.lower()}')
            self._values = self.column(table, sort_by.label)
            self._order = np.argsort(-sort_by.badness(self._values), kind='stable')

    def __len__(self):
        """Particles that all sets have."""
        return len(self._rows[0])

    @property
    def pages(self):
        """Number of pages."""
        return -(-len(self) // self.per_page)

    def page(self, number):
        """Figure of page ``number`` (from 1); ValueError when there is no such page."""
        if not 1 <= number <= self.pages:
            raise ValueError(f'page {number} of {self.pages}')
        return self.particles(self._on_page(number))

    def _on_page(self, number):
        start = (number - 1) * self.per_page
        return self._order[start : start + self.per_page]

    def page_image(self, number):
        """Page ``number`` as a picture for a window: PIL Image, drawn in a tenth of the time of a figure."""
        chosen = self._on_page(number)
        return _mosaic(self.titles, self.images(chosen), self._captions(chosen), self.contrast)

    def _captions(self, positions):
        labels = self.labels(positions)
        one_stack = len({label.partition('@')[2] for label in labels}) == 1
        names = [label.partition('@')[0] if one_stack else _short(label) for label in labels]
        said = [f'#{name}' for name in names]
        if self._values is not None:
            word = self.sort_by.title.lower()
            said = [f'{s}  {word} {self._values[i]:.3g}' for s, i in zip(said, positions)]
        if self._marks:
            own = self.names(positions)
            said = ['  '.join([s, *(w for w, marked in self._marks.items() if n in marked)]) for s, n in zip(said, own)]
        return said

    def particles(self, positions):
        """Figure of chosen particles: positions among the shared ones."""
        positions = np.asarray(positions)
        stacks, labels = self.images(positions), self.labels(positions)
        notes = _correlations(self.metrics, labels) if self.metrics else {}
        if self._values is not None:
            scores = {(k, self.titles[0]): f'{self._values[i]:.3g}' for k, i in zip(labels, positions)}
            notes = {**notes, **scores}
        return _draw(self.titles, stacks, labels, notes, self.contrast)

    def images(self, positions):
        """Images of chosen particles, a stack [n, box, box] for each set."""
        return [t.images().read(rows[positions]) for t, rows in zip(self.tables, self._rows)]

    def labels(self, positions):
        """How pictures call chosen particles."""
        return list(particle_labels(self.tables[0], self._rows[0][positions]))

    def names(self, positions):
        """Identity of chosen particles: name of the original image."""
        return list(self.tables[0].names_of(self._rows[0][positions]))

    def column(self, table, label):
        """Numbers of a table for all particles of the gallery, float64 [len]; None where it lacks some of them."""
        for own, rows in zip(self.tables, self._rows):
            if own is table:
                return own.floats(label)[rows]
        mine, others = match(self.tables[0], table)
        where = np.full(len(self.tables[0]), -1)
        where[mine] = others
        wanted = where[self._rows[0]]
        return None if (wanted < 0).any() else table.floats(label)[wanted]


def _shared_rows(tables):
    """Rows of each table that hold the particles which all of them have, in the order of the first."""
    rows = [np.arange(len(tables[0]))]
    for table in tables[1:]:
        first, other = match(tables[0], table)
        _, old, new = np.intersect1d(rows[0], first, return_indices=True)
        rows = [r[old] for r in rows] + [other[new]]
    return rows


def _correlations(path, labels):
    """{(particle, method): 'NCC 0.93'} of the particles wanted, read row by row."""
    wanted, found = set(labels), {}
    with open(path, newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            if row['particle'] in wanted:
                found[row['particle'], row['method']] = f'NCC {float(row["ncc"]):.2f}'
    return found


def _draw(titles, stacks, labels, notes, contrast):
    """All images in one pair of axes: an axes an image takes seconds a page."""
    count, width = len(labels), len(titles)
    blocks = min(max(1, ACROSS // width), count)
    down = -(-count // blocks)
    across = blocks * (width + BLOCK_GAP) - BLOCK_GAP
    figure = new_figure(INCH * across, INCH * (down * CELL_HEIGHT + HEADING), layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    one_stack = len({label.partition('@')[2] for label in labels}) == 1
    names = {label: label.partition('@')[0] if one_stack else _short(label) for label in labels}
    limits = np.percentile(stacks[-1], [0.5, 99.5]) if contrast == 'shared' else None
    for i, label in enumerate(labels):
        row, block = divmod(i, blocks)
        top = HEADING + row * CELL_HEIGHT
        for j, (title, stack) in enumerate(zip(titles, stacks)):
            left = block * (width + BLOCK_GAP) + j
            _cell(axes, stack[i], left, top, limits)
            note = f'#{names[label]}  ' * (j == 0) + notes.get((label, title), '')
            axes.text(left + 0.5, top + CELL_HEIGHT - 1 - 0.03, note, ha='center', va='bottom', fontsize=7)
            if row == 0:
                words = '\n'.join(_heading(title))
                axes.text(left + 0.5, HEADING - 0.02, words, ha='center', va='bottom', fontsize=8, weight='bold')
    axes.set(xlim=(0, across), ylim=(HEADING + down * CELL_HEIGHT, 0), aspect='auto')
    axes.set_axis_off()
    return figure


def _mosaic(titles, stacks, captions, contrast):
    """All images of a page side by side, each particle under its caption."""
    width, font = len(titles), ImageFont.load_default(size=11)
    blocks = min(max(1, SIDE_BY_SIDE // width), max(len(captions), 1))
    block = width * CELL + GAP
    down = -(-len(captions) // blocks)
    headings = [_heading(title) for title in titles]
    above = LINE * max(map(len, headings))
    picture = Image.new('L', (blocks * block, above + down * (CELL + LINE)), 255)
    draw = ImageDraw.Draw(picture)
    limits = np.percentile(stacks[-1], [0.5, 99.5]) if contrast == 'shared' else None
    for column in range(blocks):
        for j, lines in enumerate(headings):
            for k, line in enumerate(lines):
                draw.text((column * block + j * CELL + 2, 1 + above + LINE * (k - len(lines))), line, 0, font)
    for i, caption in enumerate(captions):
        row, column = divmod(i, blocks)
        top = above + row * (CELL + LINE)
        draw.text((column * block + 2, top + 1), caption, 0, font)
        for j, stack in enumerate(stacks):
            picture.paste(thumbnail(stack[i], CELL - 2, limits), (column * block + j * CELL, top + LINE))
    return picture


def thumbnail(image, size, limits=None):
    """An image as a small PIL picture, scaled between limits (low, high), its own 0.5 and 99.5 percentiles if None."""
    low, high = np.percentile(image, [0.5, 99.5]) if limits is None else limits
    # A constant image (a network that shows nothing for noise) is grey, not black.
    flat = high - low < 1e-12
    grey = np.full(image.shape, 128.0) if flat else np.clip((image - low) / (high - low), 0, 1) * 255
    # Pictures have their first line at the top, images of particles at the bottom.
    return Image.fromarray(grey.astype(np.uint8)[::-1]).resize((size, size), Image.Resampling.BILINEAR)


def _cell(axes, image, left, top, limits):
    low, high = np.percentile(image, [0.5, 99.5]) if limits is None else limits
    low_edge = top + CELL_HEIGHT - 1
    axes.imshow(
        image,
        cmap='gray',
        vmin=low,
        vmax=high,
        interpolation='nearest',
        origin='lower',
        extent=(left + 0.02, left + 0.98, low_edge + 0.96, low_edge),
    )


def _heading(title):
    """A title in one or two lines as wide as an image."""
    return [_short(line) for line in textwrap.wrap(title, 14, max_lines=2, placeholder=' …')] or ['']


def _short(text):
    return text if len(text) <= 16 else text.split('@')[0] + '@…' + text[-8:] if '@' in text else text[:15] + '…'
