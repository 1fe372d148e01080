"""Previews of a training: particles kept out of it, as the best network so far shows them.

``previews/NAME`` of a run holds tables of the same particles for each fold model: noisy, denoised and, where there are
some, references. ``gallery.html`` shows them all.
"""

from pathlib import Path

from ..engine.data.table import ParticleTable
from .gallery import Gallery
from .thumbnails import galleries_page

FOLDER, PAGE = 'previews', 'gallery.html'
NOISY, DENOISED, REFERENCES = 'particles.star', 'denoised.star', 'references.star'
# In the order in which they are shown.
TITLES = {NOISY: 'noisy', DENOISED: 'denoised', REFERENCES: 'reference'}
WORDS = 'Particles kept out of training, as the best network so far shows them. Denoised particles are {statement}.'


def preview_tables(folder):
    """{fold model: {title: table}} of the previews in the folder of a run."""
    models = sorted(p.parent for p in Path(folder, FOLDER).glob(f'*/{DENOISED}'))
    return {m.name: {title: m / n for n, title in TITLES.items() if (m / n).exists()} for m in models}


def preview(tables):
    """Figure of the previews of one fold model: {title: table}."""
    gallery = Gallery(tables, aligned=True)
    return gallery.particles(range(min(len(gallery), 24)))


def previews_page(folder):
    """Write the page of all previews of a run."""
    galleries, statement = {}, ''
    for name, tables in preview_tables(folder).items():
        known = ParticleTable.read(tables[TITLES[DENOISED]]).provenance
        galleries[f'Network {name}, iteration {known["iteration"]}'] = tables
        statement = known['statement']
    galleries_page(Path(folder, PAGE), 'Training', WORDS.format(statement=statement), galleries, aligned=True)
