"""A gallery for pages: some particles of a set, the worst of each score among them, as small pictures."""

import io

import numpy as np
from PIL import Image

from ..engine.data.scores import SCORES
from ..engine.data.table import ParticleTable
from .gallery import Gallery, thumbnail
from .page import data_address, write_page

# px of a small picture, pictures side by side in one image file, part of those shown that are the worst of a score.
SIZE, ACROSS, WORST = 80, 20, 0.1


def gallery_page(path, title, words, sets, **options):
    """Write a gallery as a page of its own. words: a sentence above it; options: of `gallery`."""
    galleries_page(path, title, words, {'': sets}, **options)


def galleries_page(path, title, words, galleries, **options):
    """As `gallery_page`, of several galleries: {heading: sets}."""
    shown = {heading: gallery(sets, **options) for heading, sets in galleries.items()}
    write_page(path, 'gallery_page.html', title=title, words=words, galleries=shown)


def gallery(sets, most=240, scores_from=(), marks=None, aligned=False, more=()):
    """What the template ``gallery.html`` shows: the same particles in several sets, and their scores.

    sets: {title: STAR file}; the first gives the order. most: particles shown: the worst of each score, and others
    spread over the set. scores_from: tables with scores, the first that has one wins; the sets are asked last. marks:
    {sentence: names of particles (identity)} that are marked, such as rejected ones. aligned: see Gallery. more: Score
    of further columns to sort by.
    """
    shared = Gallery(sets, aligned=aligned)
    given = [t if isinstance(t, ParticleTable) else ParticleTable.read(t) for t in scores_from]
    scores = _scores(shared, [*given, *shared.tables[::-1]], more)
    chosen = choose(len(shared), scores, most)
    labels = [label.partition('@')[0].lstrip('0') for label in shared.labels(chosen)]
    marked = _marked(shared, chosen, marks or {})
    return {
        'titles': shared.titles,
        'sheets': [_sheet(images) for images in shared.images(chosen)],
        'size': SIZE, 'across': ACROSS, 'count': len(chosen), 'of': len(shared), 'labels': labels, 'marked': marked,
        'scores': [
            {'name': s.name, 'title': s.title, 'axis': s.axis, 'low_is_bad': s.low_is_bad,
             'values': [float(f'{v:.4g}') for v in values[chosen]]}
            for s, values in scores
        ],
    }  # fmt: skip


def choose(count, scores, most):
    """Positions of the particles shown, ascending: the worst of each score, others spread over the set.

    count: particles there are. scores: [(Score, values [count])].
    """
    if count <= most:
        return np.arange(count)
    each = int(WORST * most / max(len(scores), 1)) if scores else 0
    chosen = {int(i) for s, v in scores for i in np.argsort(-s.badness(v), kind='stable')[:each]}
    others = np.delete(np.arange(count, dtype=np.int32), sorted(chosen))
    spread = others[np.linspace(0, len(others) - 1, most - len(chosen)).round().astype(int)]
    return np.array(sorted({*chosen, *spread.tolist()}))


def _scores(shared, tables, more):
    """[(Score, values)] of the particles of a gallery."""
    found = []
    for score in (*more, *SCORES):
        table = next((t for t in tables if t.has(score.label)), None)
        if table is not None:
            values = shared.column(table, score.label)
            if values is not None:
                found.append((score, values))
    return found


def _marked(shared, chosen, marks):
    names = shared.names(chosen)
    return [next((sentence for sentence, these in marks.items() if name in these), '') for name in names]


def _sheet(images):
    """Images [n, box, box], each in its own grey scale, side by side in one JPEG: an address of it."""
    down = -(-len(images) // ACROSS)
    sheet = Image.new('L', (SIZE * min(ACROSS, max(len(images), 1)), SIZE * max(down, 1)))
    for i, image in enumerate(images):
        sheet.paste(thumbnail(image, SIZE), (SIZE * (i % ACROSS), SIZE * (i // ACROSS)))
    file = io.BytesIO()
    sheet.save(file, 'jpeg', quality=85)
    return data_address(file.getvalue(), 'jpeg')
