"""What an evaluation found: gallery, distributions and Fourier ring correlation."""

from .. import figures
from ..protocols.evaluate import CryoEMGANProtEvaluate
from .base import RunViewer


class EvaluateViewer(RunViewer):
    """Pictures of an evaluation, drawn from its tables."""

    _label = 'viewer evaluation'
    _targets = [CryoEMGANProtEvaluate]
    _page = 'Evaluation'

    def _define_eyes(self, form):
        extra, run_dir = self.protocol._getExtraPath, self.protocol.getRunDir
        sets = {name: extra(f'{name}.star') for name in self.protocol.getSets()}
        self._add_gallery(form, {**sets, 'reference': extra('references.star')}, metrics=run_dir('metrics.csv'))
        self._add_file(
            form,
            'showMetrics',
            'Metrics of single particles',
            'Distribution of MSE, PSNR, SSIM and normalised cross-correlation over the particles, as they are and '
            'after an affine fit.',
            run_dir('metrics.csv'),
            figures.distributions,
        )
        self._add_file(
            form,
            'showFrc',
            'Fourier ring correlation',
            'Mean correlation with the references against resolution: where it falls below 0.5 the image says more of '
            'the denoiser than of the particle.',
            run_dir('frc.csv'),
            figures.frc_curves,
        )
