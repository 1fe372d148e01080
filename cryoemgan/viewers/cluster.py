"""What a clustering found: particles as points, and the classes."""

import os

from .. import figures
from ..protocols.cluster import CryoEMGANProtCluster
from .base import RunViewer
from .windows import FigureView


class ClusterViewer(RunViewer):
    """The embedding of a clustering, with the particle behind each point, and its classes."""

    _label = 'viewer clusters'
    _targets = [CryoEMGANProtCluster]
    _page = 'Clusters'

    def _define_eyes(self, form):
        points = self.protocol.getRunDir('embedding.csv')
        if os.path.exists(points):
            self._add_eye(
                form,
                'showEmbedding',
                'Particles as points',
                'Each point is a particle, coloured by its class. Click a point to see the particle.',
                lambda: self._embedding_views(points),
            )
        self._add_file(
            form,
            'showAverages',
            'Averages of the classes',
            'Of the particles that the classes hold.',
            self.protocol.getAverages(),
            lambda stack: figures.averages(
                stack, [f'class {n}: {size}' for n, size in self.protocol.readSizes().items()]
            ),
        )
        self._add_set(form, 'showSet', 'Classes as a table', 'outputClasses')

    def _embedding_views(self, points):
        embedding = figures.Embedding(points, self.protocol._getExtraPath('particles.star'))
        return [FigureView(f'Clusters: {self._run_name()}', lambda page: embedding.figure(), clicked=embedding.clicked)]
