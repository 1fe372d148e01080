"""What an audit found: its page in the browser, and its pictures."""

import os
import webbrowser
from pathlib import Path

from pyworkflow.viewer import View

from .. import figures
from ..engine.trust.thresholds import THRESHOLDS
from ..protocols.audit import PICTURES, VERDICTS, CryoEMGANProtAudit
from .base import FigureView, RunViewer


class PageView(View):
    """A local HTML page. tell: shows a sentence, for a machine without a browser."""

    def __init__(self, path, tell):
        self.path, self._tell = Path(path).resolve(), tell

    def show(self):
        """Open it in a new tab, and say where it lies."""
        opened = webbrowser.open_new_tab(self.path.as_uri())
        start = 'If no browser opens, copy' if opened else 'There is no browser on this machine. Copy'
        self._tell(f'{start} this file to where there is one; it needs no other:\n{self.path}')


class AuditViewer(RunViewer):
    """The page and the pictures of an audit."""

    _label = 'viewer audit'
    _targets = [CryoEMGANProtAudit]

    def _defineParams(self, form):
        form.addSection(label='Audit')
        self._add_eye(form, 'showLights', 'Traffic lights', 'Each question of the audit, its answer and its limits.')
        self._add_eye(form, 'showPage', 'Page in the browser', 'Traffic lights, what they mean, and all pictures.')
        self._add_eye(
            form,
            'showPictures',
            'Pictures, one a page',
            'Particles from the most to the least certain; what noise becomes; how much would appear from nothing; '
            'whether the uncertainty holds; bias by resolution.',
        )

    def _getVisualizeDict(self):
        return {'showLights': self._show_lights, 'showPage': self._show_page, 'showPictures': self._show_pictures}

    def _show_lights(self, param=None):
        summary = self.protocol.readSummary()
        if not summary:
            return self._not_yet('The audit has not finished.')
        rows = []
        for name, colour in summary['lights'].items():
            limit = THRESHOLDS[name]
            limits = f'green {limit.green:g}, red {limit.red:g}'
            rows.append((colour, limit.title, f'{summary["judged"][name]:.3g}', limits, limit.sentence(colour)))
        verdict = (summary['overall'], VERDICTS[summary['overall']].split(': ')[-1])
        return [FigureView(f'Audit: {self._run_name()}', lambda page: figures.audit.lights(rows, verdict))]

    def _show_page(self, param=None):
        page = self.protocol.getPage()
        if not os.path.exists(page):
            return self._not_yet('The audit has not finished.')
        return [PageView(page, self._tell)]

    def _show_pictures(self, param=None):
        paths = [p for p in map(self.protocol.getRunDir, PICTURES) if os.path.exists(p)]
        if not paths:
            return self._not_yet('The audit has not finished.')
        title = f'Audit: {self._run_name()}'
        return [FigureView(title, lambda page: figures.picture(paths[page - 1]), pages=len(paths))]
