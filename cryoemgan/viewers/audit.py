"""What an audit found: its page in the browser, and its pictures."""

import os

from .. import figures
from ..engine.trust.thresholds import THRESHOLDS
from ..protocols.audit import PICTURES, VERDICTS, CryoEMGANProtAudit
from .base import RunViewer
from .windows import FigureView, PageView


class AuditViewer(RunViewer):
    """The page and the pictures of an audit."""

    _label = 'viewer audit'
    _targets = [CryoEMGANProtAudit]
    _page = 'Audit'

    def _define_eyes(self, form):
        summary, page = self.protocol.readSummary(), self.protocol.getPage()
        if summary:
            self._add_eye(
                form,
                'showLights',
                'Traffic lights',
                'Each question of the audit, its answer and its limits.',
                lambda: self._light_views(summary),
            )
        if os.path.exists(page):
            self._add_eye(
                form,
                'showPage',
                'Page in the browser',
                'Traffic lights, what they mean, and all pictures.',
                lambda: [PageView(page, self._tell)],
            )
        paths = [p for p in map(self.protocol.getRunDir, PICTURES) if os.path.exists(p)]
        if paths:
            self._add_eye(
                form,
                'showPictures',
                'Pictures, one a page',
                'Particles from the most to the least certain; what noise becomes; how much would appear from '
                'nothing; whether the uncertainty holds; bias by resolution.',
                lambda: [
                    FigureView(
                        f'Audit: {self._run_name()}', lambda page: figures.picture(paths[page - 1]), pages=len(paths)
                    )
                ],
            )

    def _light_views(self, summary):
        rows = []
        for name, colour in summary['lights'].items():
            limit = THRESHOLDS[name]
            limits = f'green {limit.green:g}, red {limit.red:g}'
            rows.append((colour, limit.title, f'{summary["judged"][name]:.3g}', limits, limit.sentence(colour)))
        verdict = (summary['overall'], VERDICTS[summary['overall']].split(': ')[-1])
        return [FigureView(f'Audit: {self._run_name()}', lambda page: figures.audit.lights(rows, verdict))]
