"""Two windows that all wizards share: a list to choose from, and a figure that follows a value."""

import tkinter as tk

from pyworkflow.gui.dialog import Dialog


class ChoiceDialog(Dialog):
    """A sentence and a list; ``chosen``: indices of the selected lines when the window was left with OK."""

    def __init__(self, root, title, sentence, lines, several=False):
        self._sentence, self._lines, self._several, self.chosen = sentence, lines, several, []
        super().__init__(root, title)

    def body(self, master):
        """As Dialog asks for it."""
        tk.Label(master, text=self._sentence, justify='left', wraplength=560).grid(row=0, sticky='w', pady=4)
        self._list = tk.Listbox(
            master, width=max(map(len, self._lines)) + 2, height=len(self._lines), exportselection=False,
            selectmode='multiple' if self._several else 'browse', font='TkFixedFont',
        )  # fmt: skip
        for line in self._lines:
            self._list.insert('end', line)
        self._list.grid(row=1, sticky='ew')
        self.initial_focus = self._list

    def apply(self):
        """Called when the window is left with OK."""
        self.chosen = list(self._list.curselection())


class FigureDialog(Dialog):
    """A figure of a value that can be typed, or clicked on the horizontal axis; ``value``: text, as it was left.

    draw(text) -> matplotlib Figure; ValueError says what is wrong with the text. Without a label there is no value.
    """

    def __init__(self, root, title, draw, label=None, value=''):
        self._draw, self._label, self.value, self._canvas = draw, label, value, None
        super().__init__(root, title)

    def body(self, master):
        """As Dialog asks for it."""
        if self._label:
            row = tk.Frame(master)
            tk.Label(row, text=self._label).pack(side='left')
            self._text = tk.StringVar(self, self.value)
            entry = tk.Entry(row, width=12, textvariable=self._text)
            entry.pack(side='left', padx=4)
            tk.Button(row, text='Show', command=self.show).pack(side='left')
            row.grid(row=0, sticky='w')
            entry.bind('<Return>', lambda event: self.show() or 'break')
        self._holder, self._said = tk.Frame(master), tk.Label(master, fg='firebrick', wraplength=640)
        self._holder.grid(row=1)
        self._said.grid(row=2, sticky='w')
        self.show()

    def show(self, value=None):
        """Draw the value that is typed, or another one."""
        # Here, so that the figures alone need no Tk backend.
        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg

        if self._label and value is not None:
            self._text.set(value)
        try:
            figure = self._draw(self._text.get().strip() if self._label else '')
        except ValueError as e:
            self._said.config(text=str(e))
            return
        self._said.config(text='')
        for old in self._holder.winfo_children():
            old.destroy()
        self._canvas = FigureCanvasTkAgg(figure, master=self._holder)
        self._canvas.get_tk_widget().pack()
        self._canvas.draw()
        if self._label:
            self._canvas.mpl_connect('button_press_event', self._clicked)

    def _clicked(self, event):
        if event.inaxes is not None:
            self.show(f'{event.xdata:.4g}')

    def apply(self):
        """Called when the window is left with OK."""
        if self._label:
            self.value = self._text.get().strip()
