"""What a selection kept and rejected: histograms with the limits, and the sets."""

import os

from .. import figures
from ..engine.data.scores import SCORES
from ..protocols.select import CryoEMGANProtSelect
from .base import RunViewer
from .windows import FigureView


class SelectViewer(RunViewer):
    """Histograms of the scores with their limits; kept and rejected particles."""

    _label = 'viewer selection'
    _targets = [CryoEMGANProtSelect]
    _page = 'Selection'

    def _define_eyes(self, form):
        extra = self.protocol._getExtraPath
        paths = [p for p in (self.protocol.getRunDir(f'{s.name}.png') for s in SCORES) if os.path.exists(p)]
        if paths:
            title = f'Selection: {self._run_name()}'
            self._add_eye(
                form,
                'showHistograms',
                'Histograms with the limits',
                'Each score that was limited, what the limit rests on, and what it is expected to cost.',
                lambda: [FigureView(title, lambda page: figures.picture(paths[page - 1]), pages=len(paths))],
            )
        self._add_gallery(
            form,
            {'original': extra('originals.star'), 'denoised': extra('particles.star')},
            marked={'rejected': self.protocol.getRunDir('rejected.star')},
        )
        self._add_set(form, 'showKept', 'Kept particles as a table', 'outputParticles')
        self._add_set(form, 'showRejected', 'Rejected particles as a table', 'outputRejected')
