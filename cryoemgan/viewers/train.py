"""Training curves, also while the run goes on."""

import os

from pyworkflow.viewer import DESKTOP_TKINTER, Viewer

from .. import figures
from ..objects import DenoiserModel
from ..protocols.train import CryoEMGANProtTrain
from .base import FigureView, RunViewer


class TrainViewer(RunViewer):
    """Losses and validation metrics of a training, and the pairs it learns from."""

    _label = 'viewer training'
    _targets = [CryoEMGANProtTrain]

    def _defineParams(self, form):
        form.addSection(label='Training')
        self._add_eye(
            form,
            'showCurves',
            'Training curves',
            'Losses, and error, PSNR and SSIM on particles that are '
            'kept out of training. Drawn again while the run goes on.',
        )
        self._add_gallery(form, 'Pairs: particle | reference')

    def _getVisualizeDict(self):
        return {'showCurves': self._show_curves, 'showGallery': self._show_gallery}

    def _show_curves(self, param=None):
        return _curves(self.protocol.getRunDir('metrics.csv'), self._run_name()) or self._not_yet(
            'No evaluation yet. The first one comes after the set-up of the training.'
        )

    def _show_gallery(self, param=None):
        extra = self.protocol._getExtraPath
        return self._gallery_views(
            'Pairs', {'particle': extra('particles.star'), 'reference': extra('references.star')}
        )


class DenoiserModelViewer(Viewer):
    """The curves of the training that made a model."""

    _targets = [DenoiserModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj, **kwargs):
        return _curves(os.path.join(os.path.dirname(obj.getFolder()), 'metrics.csv'), str(obj)) or []


def _curves(path, name):
    if not os.path.exists(path):
        return []
    return [FigureView(f'Training: {name}', lambda page: figures.training_curves(path), watched=path)]
