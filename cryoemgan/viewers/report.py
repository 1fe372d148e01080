"""The page of a report, its curves while it runs, and its sets."""

import os

from .. import figures
from ..engine.settings.road import DENOISED as DENOISED_IN
from ..engine.settings.road import GUIDED, NETWORKS, REFERENCES, TRAINED, TRAINING
from ..protocols.report import DENOISED, CryoEMGANProtReport
from ..protocols.sorted_sets import KEPT, REJECTED
from .audit import PageView
from .base import FigureView, RunViewer


class ReportViewer(RunViewer):
    """The page in the browser; curves while the networks train; kept, rejected and denoised particles."""

    _label = 'viewer report'
    _targets = [CryoEMGANProtReport]

    def _defineParams(self, form):
        form.addSection(label='Denoise and sort')
        self._add_eye(
            form,
            'showPage',
            'Page in the browser',
            'How far the images can be trusted, what to do next, pictures and scores.',
        )
        self._add_gallery(form, 'Gallery of all images')
        self._add_eye(
            form,
            'showCurves',
            'Training curves',
            'Of the network that is being trained, or was trained last. Updated while it runs.',
        )
        self._add_eye(form, 'showKept', 'Kept particles as a table', "Scipion's viewer of sets.")
        self._add_eye(form, 'showRejected', 'Rejected particles as a table', "Scipion's viewer of sets.")
        self._add_eye(
            form, 'showDenoised', 'Denoised particles as a table', 'Of the network that is guided by the map.'
        )

    def _getVisualizeDict(self):
        return {
            'showPage': self._show_page,
            'showGallery': self._show_gallery,
            'showCurves': self._show_curves,
            'showKept': lambda param=None: self._set_views(KEPT),
            'showRejected': lambda param=None: self._set_views(REJECTED),
            'showDenoised': lambda param=None: self._set_views(DENOISED),
        }

    def _show_page(self, param=None):
        page = self.protocol.getPage()
        if not os.path.exists(page):
            return self._not_yet('The run has not finished.')
        return [PageView(page, self._tell)]

    def _show_gallery(self, param=None):
        run_dir = self.protocol.getRunDir
        sets = {'noisy': self.protocol._getExtraPath('particles.star')}
        sets |= {words: run_dir(DENOISED_IN[n], 'denoised.star') for n, words in NETWORKS.items()}
        sets['reference'] = run_dir(REFERENCES, 'references.star')
        return self._gallery_views('Denoised', sets)

    def _show_curves(self, param=None):
        paths = [self.protocol.getRunDir(TRAINING[n], 'metrics.csv') for n in (GUIDED, TRAINED)]
        path = next(filter(os.path.exists, paths), None)
        if path is None:
            return self._not_yet('No network has trained yet.')
        return [FigureView(f'Training: {self._run_name()}', lambda page: figures.training_curves(path), watched=path)]
