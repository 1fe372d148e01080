"""Windows for one figure: drawn again while a run goes on, or page by page; and for a page in the browser."""

import os
import tkinter as tk
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyworkflow.viewer import View

from .. import figures

REFRESH_SECONDS = 3
# Pages of a gallery that are kept on either side of the one shown.
KEPT_PAGES = 5


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


class GalleryView(FigureView):
    """A gallery page by page. Pages are drawn in a thread of their own, so that Scipion never waits for them, and kept;
    the next page is drawn before it is asked for."""

    def __init__(self, title, gallery):
        super().__init__(title, gallery.page, pages=gallery.pages)
        self._gallery, self._pages, self._worker = gallery, {}, ThreadPoolExecutor(1)

    def page_image(self, number):
        """The picture of a page, to be (Future of a PIL Image)."""
        if number not in self._pages:
            for old in [n for n in self._pages if abs(n - number) > KEPT_PAGES]:
                del self._pages[old]
            self._pages[number] = self._worker.submit(self._gallery.page_image, number)
        return self._pages[number]

    def _show_page(self):
        asked = self.page_image(self.page)
        if self.pages > 1:
            self._entry.delete(0, 'end')
            self._entry.insert(0, str(self.page))
            self.page_image(min(self.page + 1, self.pages))
        self._wait_for(asked, self.page)

    def _wait_for(self, asked, page):
        if not self._window.winfo_exists() or page != self.page:
            return
        if not asked.done():
            self._window.after(20, lambda: self._wait_for(asked, page))
            return
        # Here, so that pictures without a display need no Tk.
        from PIL import ImageTk

        picture = asked.result()
        across, down = 0.95 * self._window.winfo_screenwidth(), 0.8 * self._window.winfo_screenheight()
        scale = min(1.0, across / picture.width, down / picture.height)
        if scale < 1:
            picture = picture.resize((int(picture.width * scale), int(picture.height * scale)))
        for old in self._holder.winfo_children():
            old.destroy()
        self._shown = ImageTk.PhotoImage(picture, master=self._window)
        tk.Label(self._holder, image=self._shown).pack()


class PageView(View):
    """A local HTML page. tell: shows a sentence, for a machine without a browser."""

    def __init__(self, path, tell):
        self.path, self._tell = Path(path).resolve(), tell

    def show(self):
        """Open it in a new tab, and say where it lies."""
        opened = webbrowser.open_new_tab(self.path.as_uri())
        start = 'If no browser opens, copy' if opened else 'There is no browser on this machine. Copy'
        self._tell(f'{start} this file to where there is one; it needs no other:\n{self.path}')
