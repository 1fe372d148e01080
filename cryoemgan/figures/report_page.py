"""The page of a report: verdict first, then pictures, scores, curves, limits, what to do next, commands."""

import numpy as np

from ..engine.data.table import ParticleTable
from . import page, thumbnails
from .curves import frc_curves, half_map_fsc, training_curves

TITLE = 'What the denoised particles of this refinement are worth'
CURVES = (
    ('2_train_trained/metrics.csv', training_curves, 'Training of the network trained on the map',
     'Error on particles that are kept out of training, should fall and then stay level.'),
    ('3_train_guided/metrics.csv', training_curves, 'Training of the network guided by the map',
     'It starts near its end: most of what it knows is the map itself.'),
    ('8_evaluation/frc.csv', frc_curves, 'Agreement of single particles with their references, by resolution',
     'Mean over all particles. Where a curve falls below 0.5, a picture shows more of the denoiser than of the '
     'particle.'),
)  # fmt: skip


def report_page(path, found, root, pictures=240):
    """Write the page.

    found: what `engine.commands.report.findings.collect` gives. root: folder that holds the steps. pictures: particles
    in the gallery.
    """
    page.write_page(
        path,
        'report.html',
        title=TITLE,
        r=found,
        gallery=_gallery(root, found, pictures),
        selection_pictures=_selection_pictures(root, found),
        curves=list(_curves(root, found)),
    )


def _gallery(root, found, most):
    if not found['selection']:
        return None
    sets = {
        'noisy': found['refinement']['files']['particles'],
        'trained on the map': root / '4_denoised_trained' / 'denoised.star',
        'guided by the map': root / '5_denoised_guided' / 'denoised.star',
        'reference': root / '1_references' / 'references.star',
    }
    rejected = root / '9_selection' / 'rejected.star'
    marks = {'rejected': set(ParticleTable.read(rejected).names())} if rejected.exists() else {}
    scored = [sets['guided by the map'], sets['reference']]
    return thumbnails.gallery(sets, most, scored, marks)


def _selection_pictures(root, found):
    if not found['selection']:
        return []
    paths = [root / '9_selection' / f'{limit["score"]}.png' for limit in found['selection']['limits']]
    return [page.data_address(p.read_bytes(), 'png') for p in paths if p.exists()]


def _curves(root, found):
    for name, draw, title, words in CURVES:
        if (root / name).exists():
            yield {'title': title, 'words': words, 'picture': page.embedded(draw(root / name), 90)}
    if found['refinement']['fsc']:
        frequency, fsc = np.array(found['refinement']['fsc'])
        yield {
            'title': 'Agreement of the half maps, as the refinement measured it',
            'words': 'Nothing finer than where it falls below 0.143 is in the references.',
            'picture': page.embedded(half_map_fsc(frequency, fsc), 90),
        }
