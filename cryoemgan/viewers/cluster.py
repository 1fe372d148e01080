"""What a clustering found: particles as points, and the classes."""

import os

from .. import figures
from ..protocols.cluster import CryoEMGANProtCluster
from .base import FigureView, RunViewer


class ClusterViewer(RunViewer):
    """The embedding of a clustering, with the particle behind each point, and its classes."""

    _label = 'viewer clusters'
    _targets = [CryoEMGANProtCluster]

    def _defineParams(self, form):
        form.addSection(label='Clusters')
        self._add_eye(
            form,
            'showEmbedding',
            'Particles as points',
            'Each point is a particle, coloured by its class. Click a point to see the particle.',
        )
        self._add_eye(form, 'showAverages', 'Averages of the classes', 'Of the particles that the classes hold.')
        self._add_eye(form, 'showSet', 'Classes as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {
            'showEmbedding': self._show_embedding,
            'showAverages': self._show_averages,
            'showSet': lambda param=None: self._set_views('outputClasses'),
        }

    def _show_embedding(self, param=None):
        points = self.protocol.getRunDir('embedding.csv')
        if not os.path.exists(points):
            return self._not_yet('The clustering has not finished.')
        embedding = figures.Embedding(points, self.protocol._getExtraPath('particles.star'))
        return [FigureView(f'Clusters: {self._run_name()}', lambda page: embedding.figure(), clicked=embedding.clicked)]

    def _show_averages(self, param=None):
        stack = self.protocol.getAverages()
        if not os.path.exists(stack):
            return self._not_yet('The run has not finished.')
        titles = [f'class {n}: {size}' for n, size in self.protocol.readSizes().items()]
        return [FigureView(f'Averages: {self._run_name()}', lambda page: figures.averages(stack, titles))]
