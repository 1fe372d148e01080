"""What the viewers of runs share: a form with an eye for each thing that the run has made, and for nothing else."""

import os
from itertools import islice

import pyworkflow.protocol.params as params
from pwem.viewers.mdviewer.viewer import MDView
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer

from .. import figures
from ..engine.data.scores import SCORES
from ..engine.data.table import ParticleTable
from ..protocols.class_averages import STACK, read_averages
from .windows import FigureView, GalleryView

# First choice of what a gallery is sorted by.
AS_THEY_ARE = 'order of the table'
# Class averages in a window.
AVERAGES_SHOWN = 40


def labels_of(table):
    """Labels of the columns that a STAR file has, without their underscore; none of a file that is not there."""
    if not os.path.exists(table):
        return set()
    with open(table, encoding='utf-8') as f:
        # The columns of a table stand before its rows; 200 lines hold those of any of ours.
        return {line.split()[0][1:] for line in islice(f, 200) if line.startswith('_')}


class RunViewer(ProtocolViewer):
    """Base of the viewers of a run: a form with one eye for each view.

    Subclasses add the eyes in `_define_eyes`. What the run has not made, or not measured, has no eye.
    """

    _environments = [DESKTOP_TKINTER]
    # Title of the form's page.
    _page = ''

    def _defineParams(self, form):
        form.addSection(label=self._page)
        self._eyes, self._sortable = {}, []
        self._define_eyes(form)
        if not self._eyes:
            form.addParam('nothing', params.LabelParam, label='There is nothing to show yet: the run has made nothing.')

    def _define_eyes(self, form):
        """Add the eyes of what there is."""
        raise NotImplementedError

    def _getVisualizeDict(self):
        return self._eyes

    def _add_eye(self, form, name, label, help, show):
        """show() -> views."""
        form.addParam(name, params.LabelParam, label=label, help=help)
        self._eyes[name] = lambda param=None: show()

    def _add_file(self, form, name, label, help, path, draw, watched=False):
        """An eye for a picture of a file that is there; draw(path) -> figure."""
        if os.path.exists(path):
            title = f'{label}: {self._run_name()}'
            self._add_eye(form, name, label, help, lambda: [
                FigureView(title, lambda page: draw(path), watched=path if watched else None)
            ])  # fmt: skip

    def _add_distribution(self, form, name, label, help, table, score):
        """An eye for the distribution of a score, where the table has it."""
        if score.label in labels_of(table):
            self._add_file(form, name, label, help, table,
                           lambda path: figures.column_distribution(path, score.label, score.axis))  # fmt: skip

    def _add_set(self, form, name, label, output):
        """An eye for an output set in Scipion's table viewer."""
        found = getattr(self.protocol, output, None)
        if found is not None:
            self._add_eye(form, name, label, "Scipion's viewer of sets.",
                          lambda: [MDView(found, self.protocol, self.getProject().port)])  # fmt: skip

    def _add_averages(self, form, folder):
        """An eye for the class averages that a map-free training left in a folder, if there are any."""
        shown = [f'{model}: {particles:.0f}' for model, particles in read_averages(folder)][:AVERAGES_SHOWN]
        if shown:
            # Those of each fold model begin with those that most particles show.
            self._add_file(
                form,
                'showAverages',
                'Class averages of the particles',
                'What the particles have in common, learned from them alone, and about how many show it; the same from '
                'the other side or turned counts as one. The set of all is an output of this run.',
                os.path.join(folder, STACK),
                lambda stack: figures.averages(stack, shown),
            )

    def _add_gallery(self, form, sets, metrics=None, marked=None):
        """An eye for the same particles in several sets ({title: STAR file}) side by side; those that are there.

        marked: {word: STAR file of the particles that it stands beside}.
        """
        there = {title: path for title, path in sets.items() if os.path.exists(path)}
        if not there:
            return
        self._add_eye(
            form,
            'showGallery',
            f'Gallery: {" | ".join(there)}' if len(there) < 4 else 'Gallery of all images',
            f'The same particles side by side, page by page: {" | ".join(there)}.',
            lambda: self._gallery_views(there, metrics, marked or {}),
        )
        measured = set().union(*map(labels_of, there.values()))
        self._sortable = [s for s in SCORES if s.label in measured]
        if self._sortable:
            form.addParam(
                'sortBy',
                params.EnumParam,
                choices=[AS_THEY_ARE, *(s.title for s in self._sortable)],
                default=0,
                label='Gallery sorted by',
                help='The worst come first, and the number stands beside the name of each particle.',
            )
        form.addParam(
            'perPage',
            params.IntParam,
            default=24,
            label='Particles on a page',
            expertLevel=params.LEVEL_ADVANCED,
            help='Of the gallery.',
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

    def sort_gallery(self, score):
        """Choose what the gallery is sorted by; ValueError when the run has not measured that Score."""
        self.sortBy.set(1 + self._sortable.index(score))

    def _gallery_views(self, sets, metrics, marked):
        chosen = self.sortBy.get() if self._sortable else 0
        gallery = figures.Gallery(
            sets,
            per_page=max(1, self.perPage.get()),
            metrics=metrics if metrics and os.path.exists(metrics) else None,
            contrast='shared' if self.sharedContrast.get() else 'own',
            sort_by=self._sortable[chosen - 1] if chosen else None,
            marks={word: set(ParticleTable.read(p).names()) for word, p in marked.items() if os.path.exists(p)},
        )
        return [GalleryView(f'Gallery: {self._run_name()}', gallery)]

    def _tell(self, sentence):
        if self.formWindow is not None:
            self.formWindow.showInfo(sentence)

    def _run_name(self):
        return self.protocol.getRunName()
