"""The pictures of walkthrough.rst, from Scipion's real windows: ``python docs/make_walkthrough.py DEMO``.

DEMO: the folder of a finished ``make demo``. Its project is opened in Scipion's own windows on a virtual display (Xvfb,
1280 x 800), the forms and viewers are opened as a click does, and each is photographed into docs/pictures. The page in
the browser is photographed with chromium, where there is one.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PICTURES = Path(__file__).resolve().parent / 'pictures'
SIZE, DISPLAY = (1280, 800), ':97'


def main():
    """Open, photograph, close."""
    folder = Path(sys.argv[1]).resolve()
    display = subprocess.Popen(['Xvfb', DISPLAY, '-screen', '0', '{}x{}x24'.format(*SIZE)], stderr=subprocess.DEVNULL)
    os.environ['DISPLAY'] = DISPLAY
    time.sleep(2)
    # Without a window manager a window has no frame and is not made larger than it asks.
    manager = subprocess.Popen(['openbox'], stderr=subprocess.DEVNULL) if shutil.which('openbox') else None
    try:
        _photograph_page(folder)
        _photograph_windows(folder)
    finally:
        for process in filter(None, (manager, display)):
            process.terminate()


def _photograph_page(folder):
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        print('no chromium: the picture of the page stays as it is')
        return
    for name, page, height in (('report', folder / 'report.html', 1250),):
        subprocess.run(
            [browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
             f'--window-size=1180,{height}', f'--screenshot={PICTURES / name}.png', page.as_uri()],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _photograph_windows(folder):
    from cryoemgan.demo import PROJECT, scipion_environment

    os.environ.update(scipion_environment(folder))
    import pyworkflow as pw
    from pyworkflow.gui.project import ProjectWindow
    from pyworkflow.project import Manager

    pw.Config.getDomain().getProtocols()
    window = ProjectWindow(Manager().getProjectPath(PROJECT))
    camera = Camera(window.root)
    run = next(r for r in window.project.getRuns() if r.getClassName() == 'CryoEMGANProtReport')
    view = window.getViewWidget() if hasattr(window, 'getViewWidget') else window.viewWidget
    camera.shoot('walkthrough_project')
    _photograph_form(camera, view, run, 'walkthrough_form')
    _photograph_form(camera, view, _selection(window.project, run), 'walkthrough_select')
    _photograph_viewer(camera, window, run)
    window.root.destroy()


def _selection(project, run):
    """A form of *select particles* on the outputs of the run, as a person fills it."""
    import pyworkflow as pw
    from pyworkflow.object import Pointer

    importing = next(r for r in project.getRuns() if r.getClassName() == 'ProtImportParticles')
    protocol = project.newProtocol(pw.Config.getDomain().getProtocols()['CryoEMGANProtSelect'], fit='0.05')
    protocol.inputParticles.copy(Pointer(run, extended='outputDenoised'))
    protocol.inputOriginals.copy(Pointer(importing, extended='outputParticles'))
    return protocol


def _photograph_form(camera, view, protocol, name):
    view._openProtocolForm(protocol)
    camera.shoot(name, close=True)


def _photograph_viewer(camera, window, run):
    from cryoemgan import viewers

    viewer = viewers.ReportViewer(project=window.project, protocol=run, parent=window)
    viewer.setProtocol(run)
    for view in viewer._getVisualizeDict()['showGallery']('showGallery'):
        view.show()
    camera.shoot('walkthrough_gallery', close=True, wait=4)


class Camera:
    """Photographs what a display shows."""

    def __init__(self, root):
        self._root = root

    def shoot(self, name, close=False, wait=2.5):
        """Let the windows draw, photograph the newest one, and close it."""
        from PIL import ImageGrab

        end = time.time() + wait
        while time.time() < end:
            self._root.update()
            time.sleep(0.02)
        windows = [w for w in _toplevels(self._root) if w.winfo_viewable()]
        newest = windows[-1] if windows else self._root
        newest.lift()
        self._root.update()
        x, y, w, h = (newest.winfo_rootx(), newest.winfo_rooty(), newest.winfo_width(), newest.winfo_height())
        ImageGrab.grab(xdisplay=DISPLAY).crop((max(x, 0), max(y, 0), min(x + w, SIZE[0]), min(y + h, SIZE[1]))).save(
            PICTURES / f'{name}.png', optimize=True
        )
        print(f'{name}: {w} x {h}')
        if close and newest is not self._root:
            newest.destroy()


def _toplevels(widget):
    """Windows of the application, oldest first."""
    import tkinter

    found = []
    for child in widget.winfo_children():
        found += ([child] if isinstance(child, tkinter.Toplevel) else []) + _toplevels(child)
    return found


if __name__ == '__main__':
    main()
