"""A window for one figure: drawn again while a run goes on, or page by page."""

import os
import tkinter as tk

import pyworkflow.protocol.params as params
from pwem.viewers.mdviewer.viewer import MDView
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer, View

from .. import figures
from ..engine.data.table import ParticleTable

REFRESH_SECONDS = 3


class FigureView(View):
    """Shows what ``draw`` returns; without a display, ``figure`` and ``save`` give the same picture.

    draw(page) -> matplotlib Figure. pages: number of pages, or 1. watched: file whose change draws the figure again.
    clicked(event of the mouse) -> whether the figure changed.
    """

    def __init__(self, title, draw, pages=1, watched=None, clicked=None):
        self.title, self.pages, self.page = title, pages, 1
        self._draw, self._watched, self._seen, self._clicked = draw, watched, None, clicked

    def figure(self, page=1):
        """The figure of a page (from 1)."""
        return self._draw(page)

    def save(self, path, page=1):
        """Write a page as PNG; needs no display."""
        figures.save(self.figure(page), path)

    def getFigure(self):
        """As pwem's plotters offer it."""
        return self.figure(self.page)

    def show(self):
        """Open the window."""
        self._window = tk.Toplevel()
        self._window.title(self.title)
        self._holder = tk.Frame(self._window)
        self._add_page_buttons()
        self._holder.pack(fill='both', expand=True)
        self._show_page()
        if self._watched:
            self._window.after(1000 * REFRESH_SECONDS, self._refresh)

    def _add_page_buttons(self):
        if self.pages < 2:
            return
        bar = tk.Frame(self._window)
        tk.Button(bar, text='◀ Previous', command=lambda: self._turn(-1)).pack(side='left', padx=4, pady=4)
        tk.Button(bar, text='Next ▶', command=lambda: self._turn(1)).pack(side='left', pady=4)
        tk.Label(bar, text='Page').pack(side='left', padx=(12, 2))
        self._entry = tk.Entry(bar, width=7, justify='right')
        self._entry.bind('<Return>', lambda event: self._go(self._entry.get()))
        self._entry.pack(side='left')
        tk.Label(bar, text=f'of {self.pages}').pack(side='left', padx=4)
        bar.pack(side='top', anchor='w')
        for key, step in (('<Prior>', -1), ('<Next>', 1)):
            self._window.bind(key, lambda event, step=step: self._turn(step))

    def _turn(self, step):
        self._go(self.page + step)

    def _go(self, page):
        try:
            page = int(page)
        except ValueError:
            page = self.page
        self.page = min(max(page, 1), self.pages)
        self._show_page()

    def _show_page(self):
        # Here, so that pictures without a display need no Tk backend.
        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg, NavigationToolbar2Tk

        figure = self.figure(self.page)
        for old in self._holder.winfo_children():
            old.destroy()
        self._fit(figure)
        canvas = FigureCanvasTkAgg(figure, master=self._holder)
        NavigationToolbar2Tk(canvas, self._holder).update()
        canvas.get_tk_widget().pack(fill='both', expand=True)
        canvas.draw()
        if self._clicked:
            canvas.mpl_connect('button_press_event', lambda event: self._clicked(event) and canvas.draw_idle())
        if self.pages > 1:
            self._entry.delete(0, 'end')
            self._entry.insert(0, str(self.page))
        self._seen = _stamp(self._watched)

    def _fit(self, figure):
        """No larger than the screen; text shrinks with the images."""
        width, height = (inches * figure.dpi for inches in figure.get_size_inches())
        across, down = self._window.winfo_screenwidth(), self._window.winfo_screenheight()
        figure.set_dpi(figure.dpi * min(1.0, 0.95 * across / width, 0.8 * down / height))

    def _refresh(self):
        if not self._window.winfo_exists():
            return
        if _stamp(self._watched) != self._seen:
            self._show_page()
        self._window.after(1000 * REFRESH_SECONDS, self._refresh)


def _stamp(path):
    return os.path.getmtime(path) if path and os.path.exists(path) else None


class RunViewer(ProtocolViewer):
    """Base of the viewers of a run: a form with one eye for each view."""

    _environments = [DESKTOP_TKINTER]

    def _add_eye(self, form, name, label, help):
        form.addParam(name, params.LabelParam, label=label, help=help)

    def _add_gallery(self, form, label):
        self._add_eye(form, 'showGallery', label, 'The same particles side by side, page by page.')
        form.addParam(
            'perPage',
            params.IntParam,
            default=36,
            label='Particles on a page',
            expertLevel=params.LEVEL_ADVANCED,
            help='More take longer to draw: about 5 ms an image.',
        )
        form.addParam(
            'sharedContrast',
            params.BooleanParam,
            default=False,
            label='One grey scale for all',
            expertLevel=params.LEVEL_ADVANCED,
            help='No: each image is scaled between its own 0.5 and 99.5 '
            'percentiles. Yes: all of a page as the last column; weak images then look weak.',
        )

    def _gallery_views(self, title, sets, metrics=None):
        """[FigureView] of {title: STAR file}; sets whose file is not there yet are left out."""
        there = {name: path for name, path in sets.items() if os.path.exists(path)}
        if not there:
            return self._not_yet('There are no images yet.')
        gallery = figures.Gallery(
            there,
            per_page=max(1, self.perPage.get()),
            metrics=metrics,
            contrast='shared' if self.sharedContrast.get() else 'own',
        )
        return [FigureView(f'{title}: {self._run_name()}', gallery.page, pages=gallery.pages)]

    def _distribution(self, title, table, label, axis):
        """[FigureView] of a column of a verb's table."""
        if not os.path.exists(table):
            return self._not_yet('The run has not finished.')
        if not ParticleTable.read(table).has(label):
            return self._not_yet('This run did not measure it.')
        return [
            FigureView(f'{title}: {self._run_name()}', lambda page: figures.column_distribution(table, label, axis))
        ]

    def _set_views(self, name):
        """[view] of an output set in Scipion's table viewer."""
        output = getattr(self.protocol, name, None)
        if output is None:
            return self._not_yet('The run has no output yet.')
        return [MDView(output, self.protocol, self.getProject().port)]

    def _tell(self, sentence):
        if self.formWindow is not None:
            self.formWindow.showInfo(sentence)

    def _not_yet(self, sentence):
        self._tell(sentence)
        return []

    def _run_name(self):
        return self.protocol.getRunName()
