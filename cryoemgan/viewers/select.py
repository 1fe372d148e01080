"""What a selection kept and rejected: histograms with the limits, and the sets."""

import os

from .. import figures
from ..engine.data.scores import SCORES
from ..protocols.select import CryoEMGANProtSelect
from .base import FigureView, RunViewer


class SelectViewer(RunViewer):
    """Histograms of the scores with their limits; kept and rejected particles."""

    _label = 'viewer selection'
    _targets = [CryoEMGANProtSelect]

    def _defineParams(self, form):
        form.addSection(label='Selection')
        self._add_eye(
            form,
            'showHistograms',
            'Histograms with the limits',
            'Each score that was limited, what the limit rests on, and what it is expected to cost.',
        )
        self._add_gallery(form, 'Gallery of the denoised particles')
        self._add_eye(form, 'showKept', 'Kept particles as a table', "Scipion's viewer of sets.")
        self._add_eye(form, 'showRejected', 'Rejected particles as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {
            'showHistograms': self._show_histograms,
            'showGallery': self._show_gallery,
            'showKept': lambda param=None: self._set_views('outputParticles'),
            'showRejected': lambda param=None: self._set_views('outputRejected'),
        }

    def _show_gallery(self, param=None):
        extra = self.protocol._getExtraPath
        return self._gallery_views(
            'Selection', {'original': extra('originals.star'), 'denoised': extra('particles.star')}
        )

    def _show_histograms(self, param=None):
        paths = [p for p in (self.protocol.getRunDir(f'{s.name}.png') for s in SCORES) if os.path.exists(p)]
        if not paths:
            return self._not_yet('The selection has not finished.')
        title = f'Selection: {self._run_name()}'
        return [FigureView(title, lambda page: figures.picture(paths[page - 1]), pages=len(paths))]
