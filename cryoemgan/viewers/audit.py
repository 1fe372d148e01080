"""What an audit found: its page in the browser, and its pictures."""

import os
import webbrowser
from pathlib import Path

from pyworkflow.viewer import View

from .. import figures
from ..protocols.audit import PICTURES, CryoEMGANProtAudit
from .base import FigureView, RunViewer


class PageView(View):
    """A local HTML page."""

    def __init__(self, path):
        self.path = path

    def show(self):
        """Open it in a new tab."""
        webbrowser.open_new_tab(Path(self.path).resolve().as_uri())


class AuditViewer(RunViewer):
    """The page and the pictures of an audit."""

    _label = 'viewer audit'
    _targets = [CryoEMGANProtAudit]

    def _defineParams(self, form):
        form.addSection(label='Audit')
        self._add_eye(form, 'showPage', 'Page in the browser', 'Traffic lights, what they mean, and all pictures.')
        self._add_eye(
            form,
            'showPictures',
            'Pictures, one a page',
            'Particles from the most to the least certain; what noise becomes; how much would appear from nothing; '
            'whether the uncertainty holds; bias by resolution.',
        )

    def _getVisualizeDict(self):
        return {'showPage': self._show_page, 'showPictures': self._show_pictures}

    def _show_page(self, param=None):
        page = self.protocol.getPage()
        return [PageView(page)] if os.path.exists(page) else self._not_yet('The audit has not finished.')

    def _show_pictures(self, param=None):
        paths = [p for p in map(self.protocol.getRunDir, PICTURES) if os.path.exists(p)]
        if not paths:
            return self._not_yet('The audit has not finished.')
        title = f'Audit: {self._run_name()}'
        return [FigureView(title, lambda page: figures.picture(paths[page - 1]), pages=len(paths))]
