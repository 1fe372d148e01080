"""The pictures of walkthrough.rst, from Scipion's real windows: ``python docs/make_walkthrough.py DEMO [NAME ...]``.

DEMO: the folder of a finished ``make demo``. Its project is opened in Scipion's own windows on a virtual display (Xvfb,
1280 x 800), the forms and viewers are opened as a click does, and each is photographed into docs/pictures. The page in
the browser is photographed with chromium, where there is one. NAME: of the windows, where not all are wanted.
"""

import os
import shutil
import subprocess
import sys
import time
import tkinter
import traceback
from pathlib import Path
from tkinter import ttk

PICTURES = Path(__file__).resolve().parent / 'pictures'
SIZE, DISPLAY = (1280, 800), ':97'
# Tab of a form that is photographed, where it is not the first.
TABS = {'walkthrough_select': 1}
# The picture of the project's own window.
FIRST = 'walkthrough_project'


def main():
    """Open, photograph, close."""
    folder = Path(sys.argv[1]).resolve()
    display = subprocess.Popen(['Xvfb', DISPLAY, '-screen', '0', '{}x{}x24'.format(*SIZE)], stderr=subprocess.DEVNULL)
    os.environ['DISPLAY'] = DISPLAY
    time.sleep(2)
    # Without a window manager a window has no frame and is not made larger than it asks.
    manager = subprocess.Popen(['openbox'], stderr=subprocess.DEVNULL) if shutil.which('openbox') else None
    status = 1
    try:
        _photograph_page(folder)
        _photograph_windows(folder)
        status = 0
    except SystemExit:
        status = 0
    finally:
        if status:
            traceback.print_exc()
        for process in filter(None, (manager, display)):
            process.terminate()
        # Nested event loops of windows that are gone.
        sys.stdout.flush()
        os._exit(status)


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
    run = next(r for r in window.project.getRuns() if r.getClassName() == 'CryoEMGANProtReport')
    show = window.viewWidget._openProtocolForm
    steps = [
        ('walkthrough_project', lambda: _show_run(window.viewWidget, run)),
        ('walkthrough_form', lambda: show(run)),
        ('walkthrough_select', lambda: show(_selection(window.project, run))),
        ('walkthrough_gallery', lambda: _show_gallery(window, run)),
    ]  # fmt: skip
    wanted = sys.argv[2:]
    Camera(window.root).shoot_all([step for step in steps if not wanted or step[0] in wanted])
    window.root.geometry('{}x{}+0+0'.format(*SIZE))
    # Scipion's windows are shown by waiting in them: the camera works from the event loop.
    window.show(center=False)


def _show_run(view, run):
    """The run selected, and our protocols unfolded in the list."""
    for tree in _descendants(view, ttk.Treeview):
        for item in _items(tree, ''):
            if str(tree.item(item, 'text')).strip() == 'Denoise':
                tree.item(item, open=True)
    for pane in _descendants(view, tkinter.PanedWindow):
        if str(pane['orient']) == 'horizontal':
            # Wide enough for the names of the protocols.
            pane.sash_place(0, 310, 1)
    view._selectItemProtocol(run)


def _items(tree, parent):
    for item in tree.get_children(parent):
        yield item
        yield from _items(tree, item)


def _selection(project, run):
    """A form of *select particles* on the outputs of the run, as a person fills it."""
    import pyworkflow as pw
    from pyworkflow.object import Pointer

    importing = next(r for r in project.getRuns() if r.getClassName() == 'ProtImportParticles')
    protocol = project.newProtocol(pw.Config.getDomain().getProtocols()['CryoEMGANProtSelect'], fit='0.05')
    protocol.inputParticles.copy(Pointer(run, extended='outputDenoised'))
    protocol.inputOriginals.copy(Pointer(importing, extended='outputParticles'))
    return protocol


def _show_gallery(window, run):
    from cryoemgan import viewers
    from cryoemgan.engine.data.scores import BY_NAME

    viewer = viewers.ReportViewer(project=window.project, protocol=run, parent=window)
    viewer.setProtocol(run)
    viewer.sort_gallery(BY_NAME['fit'])
    for view in viewer._getVisualizeDict()['showGallery']('showGallery'):
        view.show()


class Camera:
    """Opens windows one after the other, photographs each, and ends the program after the last."""

    WAIT = 4000

    def __init__(self, root):
        self._root = root

    def shoot_all(self, steps):
        """steps: [(name of the picture, what opens the window)]; begins when the event loop does."""
        self._root.after(self.WAIT, lambda: self._step(steps))

    def _step(self, steps):
        if not steps:
            # Through the event loops of all windows that waited.
            raise SystemExit
        (name, opens), *rest = steps
        # Before the window is opened: opening it may wait until it is closed.
        self._root.after(self.WAIT, lambda: self._shoot(name, rest))
        opens()

    def _shoot(self, name, rest, waited=0):
        # The project's window is itself a top level, and others stand beside it.
        others = [w for w in _descendants(self._root._root(), tkinter.Toplevel) if w is not self._root]
        windows = [w for w in others if w.winfo_viewable() and w.winfo_width() > 100]
        if not windows and name != FIRST and waited < 20:
            # A busy machine: the window is still to come.
            self._root.after(1000, lambda: self._shoot(name, rest, waited + 1))
            return
        newest = windows[-1] if windows else self._root
        newest.lift()
        if newest is not self._root:
            # A new window may hang over the edge.
            newest.geometry('+20+40')
        for tabs in filter(lambda t: t.index('end'), _descendants(newest, ttk.Notebook)):
            tabs.select(min(TABS.get(name, 0), tabs.index('end') - 1))
        self._root.after(800, lambda: self._release(name, newest, windows, rest))

    def _release(self, name, newest, windows, rest, before=None, tries=30):
        from PIL import ImageGrab

        x, y = max(newest.winfo_rootx(), 0), max(newest.winfo_rooty(), 0)
        right, down = min(x + newest.winfo_width(), SIZE[0]), min(y + newest.winfo_height(), SIZE[1])
        picture = ImageGrab.grab(xdisplay=DISPLAY).crop((x, y, right, down))
        if picture != before and tries:
            # A busy machine: the window is still being drawn.
            self._root.after(1500, lambda: self._release(name, newest, windows, rest, picture, tries - 1))
            return
        picture.save(PICTURES / f'{name}.png', optimize=True)
        print(f'{name}: {right - x} x {down - y}', flush=True)
        for window in windows:
            window.destroy()
        self._step(rest)


def _descendants(widget, kind):
    """Widgets of a kind below a widget, oldest first."""
    found = []
    for child in widget.winfo_children():
        found += ([child] if isinstance(child, kind) else []) + _descendants(child, kind)
    return found


if __name__ == '__main__':
    main()
