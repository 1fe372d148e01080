"""Training curves and previews, also while the run goes on."""

import os

from pyworkflow.viewer import DESKTOP_TKINTER, MessageView, Viewer

from .. import figures
from ..objects import DenoiserModel
from ..protocols.train import CryoEMGANProtTrain
from .base import RunViewer
from .windows import FigureView


class TrainViewer(RunViewer):
    """Losses and validation metrics of a training, what it shows so far, and the pairs it learns from."""

    _label = 'viewer training'
    _targets = [CryoEMGANProtTrain]
    _page = 'Training'

    def _define_eyes(self, form):
        extra = self.protocol._getExtraPath
        self._add_file(
            form,
            'showCurves',
            'Training curves',
            'Losses, and error, PSNR and SSIM on particles that are kept out of training. Drawn again while the run '
            'goes on.',
            self.protocol.getRunDir('metrics.csv'),
            figures.training_curves,
            watched=True,
        )
        models = figures.preview_tables(self.protocol.getRunDir())
        if models:
            self._add_eye(
                form,
                'showPreviews',
                'Denoised so far',
                'Particles kept out of training, as the best network so far shows them; one page for each network. '
                'Drawn again while the run goes on.',
                lambda: self._preview_views(models),
            )
        self._add_averages(form, self.protocol.getRunDir())
        self._add_gallery(form, {'particle': extra('particles.star'), 'reference': extra('references.star')})

    def _preview_views(self, models):
        tables, page_of_all = list(models.values()), self.protocol.getRunDir('gallery.html')
        title = f'Denoised so far: {self._run_name()}'
        return [
            FigureView(title, lambda page: figures.preview(tables[page - 1]), pages=len(tables), watched=page_of_all)
        ]


class DenoiserModelViewer(Viewer):
    """The curves of the training that made a model."""

    _targets = [DenoiserModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj, **kwargs):
        path = os.path.join(os.path.dirname(obj.getFolder()), 'metrics.csv')
        if not os.path.exists(path):
            # A model from elsewhere comes without its training.
            return [MessageView(f'{obj}\nThe curves of its training are not beside it.', str(obj.getObjLabel()))]
        return [FigureView(f'Training: {obj}', lambda page: figures.training_curves(path), watched=path)]
