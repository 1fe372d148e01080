"""The page of an audit, in the browser."""

import os
import webbrowser
from pathlib import Path

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from ..protocols.audit import CryoEMGANProtAudit


class PageView(View):
    """A local HTML page."""

    def __init__(self, path):
        self.path = path

    def show(self):
        """Open it in a new tab."""
        webbrowser.open_new_tab(Path(self.path).resolve().as_uri())


class AuditViewer(Viewer):
    """Opens the page of a finished audit."""

    _label = 'viewer audit'
    _environments = [DESKTOP_TKINTER]
    _targets = [CryoEMGANProtAudit]

    def _visualize(self, obj, **kwargs):
        page = obj.getPage()
        return [PageView(page)] if os.path.exists(page) else []
