"""The page of a report: verdict first, then pictures, scores, curves, limits, what to do next, commands."""

import numpy as np

from ..engine.data.table import ParticleTable
from ..engine.settings.road import DENOISED, EVALUATION, GUIDED, NETWORKS, REFERENCES, SELECTION, TRAINED, TRAINING
from . import page, thumbnails
from .curves import frc_curves, half_map_fsc, training_curves

TITLE = 'How far the denoised particles of this refinement can be trusted'
CURVES = (
    (f'{TRAINING[TRAINED]}/metrics.csv', training_curves, 'Training of the network trained on the map',
     'The validation error, on particles kept out of training, should fall and then stay level.'),
    (f'{TRAINING[GUIDED]}/metrics.csv', training_curves, 'Training of the network guided by the map',
     'It hardly changes: most of what this network knows is the map itself.'),
    (f'{EVALUATION}/frc.csv', frc_curves, 'Agreement of single particles with their references, by resolution',
     'Mean over all particles. Detail finer than where the curve of a network falls below 0.5 should not be '
     'interpreted.'),
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
        **{words: root / DENOISED[n] / 'denoised.star' for n, words in NETWORKS.items()},
        'reference': root / REFERENCES / 'references.star',
    }
    rejected = root / SELECTION / 'rejected.star'
    marks = {'rejected': set(ParticleTable.read(rejected).names())} if rejected.exists() else {}
    scored = [sets[NETWORKS[GUIDED]], sets['reference']]
    return thumbnails.gallery(sets, most, scored, marks)


def _selection_pictures(root, found):
    if not found['selection']:
        return []
    paths = [root / SELECTION / f'{limit["score"]}.png' for limit in found['selection']['limits']]
    return [page.data_address(p.read_bytes(), 'png') for p in paths if p.exists()]


def _curves(root, found):
    for name, draw, title, words in CURVES:
        if (root / name).exists():
            yield {'title': title, 'words': words, 'picture': page.embedded(draw(root / name), 90)}
    state = root / REFERENCES / 'another_state.png'
    if state.exists():
        yield {
            'title': 'Another state than the map',
            'words': 'Some particles agree among themselves against the map. In the table of the references '
            '(cryoemganStateScore) each particle has its probability.',
            'picture': page.data_address(state.read_bytes(), 'png'),
        }
    if found['refinement']['fsc']:
        frequency, fsc = np.array(found['refinement']['fsc'])
        yield {
            'title': 'Agreement of the half maps, as measured by the refinement',
            'words': 'The resolution of the map is where the curve falls below 0.143.',
            'picture': page.embedded(half_map_fsc(frequency, fsc), 90),
        }
