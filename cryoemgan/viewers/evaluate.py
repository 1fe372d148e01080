"""What an evaluation found: gallery, distributions and Fourier ring correlation."""

import os

from .. import figures
from ..protocols.evaluate import CryoEMGANProtEvaluate
from .base import FigureView, RunViewer


class EvaluateViewer(RunViewer):
    """Pictures of an evaluation, drawn from its tables."""

    _label = 'viewer evaluation'
    _targets = [CryoEMGANProtEvaluate]

    def _defineParams(self, form):
        form.addSection(label='Evaluation')
        self._add_gallery(form, 'Gallery of all sets')
        self._add_eye(
            form,
            'showMetrics',
            'Metrics of single particles',
            'Distribution of MSE, PSNR, SSIM and '
            'normalised cross-correlation over the particles, as they are and after an affine fit.',
        )
        self._add_eye(
            form,
            'showFrc',
            'Fourier ring correlation',
            'Mean correlation with the references against '
            'resolution: where it falls below 0.5 the image says more of the denoiser than of the particle.',
        )

    def _getVisualizeDict(self):
        return {'showGallery': self._show_gallery, 'showMetrics': self._show_metrics, 'showFrc': self._show_frc}

    def _show_gallery(self, param=None):
        sets = {name: self.protocol._getExtraPath(f'{name}.star') for name in self.protocol.getSets()}
        sets['reference'] = self.protocol._getExtraPath('references.star')
        metrics = self.protocol.getRunDir('metrics.csv')
        return self._gallery_views('Evaluation', sets, metrics=metrics if os.path.exists(metrics) else None)

    def _show_metrics(self, param=None):
        return self._figure('Metrics', 'metrics.csv', figures.distributions)

    def _show_frc(self, param=None):
        return self._figure('FRC', 'frc.csv', figures.frc_curves)

    def _figure(self, title, name, draw):
        path = self.protocol.getRunDir(name)
        if not os.path.exists(path):
            return self._not_yet('The evaluation has not finished.')
        return [FigureView(f'{title}: {self._run_name()}', lambda page: draw(path))]
