"""The page of a report, its curves while it runs, and its sets."""

import os

from .. import figures
from ..engine.settings.road import DENOISED as DENOISED_IN
from ..engine.settings.road import GUIDED, NETWORKS, OPINION, REFERENCES, TRAINED, TRAINING
from ..protocols.report import DENOISED, CryoEMGANProtReport
from ..protocols.sorted_sets import KEPT, REJECTED
from .base import RunViewer
from .windows import PageView


class ReportViewer(RunViewer):
    """The page in the browser; curves while the networks train; kept, rejected and denoised particles."""

    _label = 'viewer report'
    _targets = [CryoEMGANProtReport]
    _page = 'Denoise and sort'

    def _define_eyes(self, form):
        page, run_dir = self.protocol.getPage(), self.protocol.getRunDir
        if os.path.exists(page):
            self._add_eye(
                form,
                'showPage',
                'Page in the browser',
                'How far the images can be trusted, what to do next, pictures and scores.',
                lambda: [PageView(page, self._tell)],
            )
        references = run_dir(REFERENCES, 'references.star')
        if os.path.exists(references):
            sets = {words: run_dir(DENOISED_IN[n], 'denoised.star') for n, words in NETWORKS.items()}
            self._add_gallery(
                form, {'noisy': self.protocol._getExtraPath('particles.star'), **sets, 'reference': references}
            )
        curves = [run_dir(TRAINING[n], 'metrics.csv') for n in (GUIDED, TRAINED)]
        self._add_file(
            form,
            'showCurves',
            'Training curves',
            'Of the network that is being trained, or was trained last. Updated while it runs.',
            next(filter(os.path.exists, curves), curves[0]),
            figures.training_curves,
            watched=True,
        )
        self._add_averages(form, run_dir(OPINION))
        self._add_set(form, 'showKept', 'Kept particles as a table', KEPT)
        self._add_set(form, 'showRejected', 'Rejected particles as a table', REJECTED)
        self._add_set(form, 'showDenoised', 'Denoised particles as a table', DENOISED)
