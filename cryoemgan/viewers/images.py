"""Images side by side: particle | reference, and noisy | denoised | reference."""

import os
from itertools import islice

from ..protocols.denoise import CryoEMGANProtDenoise
from ..protocols.filter import CryoEMGANProtFilter
from ..protocols.pair_checks import share_ids
from ..protocols.project import CryoEMGANProtProject
from ..protocols.train import CryoEMGANProtTrain
from .base import RunViewer

# What a viewer offers only where it was measured: name, column, label, help.
SCORE_EYES = (
    (
        'showUncertainty',
        'cryoemganUncertainty',
        'Uncertainty',
        'Distribution of the expected error of the images, in standard deviations of the image: 0.3 = a third of what '
        'is seen. The same number is an attribute of each particle in the table.',
    ),
    (
        'showFit',
        'cryoemganFit',
        'Do the particles belong to the map?',
        'Distribution of the fit: of particles that show what the map shows, 5 % have a fit below 0.05 and 1 % below '
        '0.01, evenly over the rest. A heap at the left is junk, another molecule or another state: sort the table by '
        'cryoemganFit and leave them out.',
    ),
)


def labels_of(table):
    """Labels of the columns that a STAR file has, without their underscore; none of a file that is not there."""
    if not os.path.exists(table):
        return set()
    with open(table, encoding='utf-8') as f:
        # The columns of a table stand before its rows; 200 lines hold those of any of ours.
        return {line.split()[0][1:] for line in islice(f, 200) if line.startswith('_')}


class ProjectViewer(RunViewer):
    """References beside their particles."""

    _label = 'viewer references'
    _targets = [CryoEMGANProtProject]

    def _defineParams(self, form):
        form.addSection(label='References')
        self._add_gallery(form, 'Particle | reference')
        self._add_eye(
            form,
            'showCorrelation',
            'Correlation with the particles',
            'Distribution over the particles: a tail or a second hump at the left is junk, or wrong angles.',
        )
        self._add_eye(form, 'showSet', 'References as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {
            'showGallery': self._show_gallery,
            'showCorrelation': self._show_correlation,
            'showSet': self._show_set,
        }

    def _show_correlation(self, param=None):
        table = self.protocol.getRunDir('references.star')
        return self._distribution('Correlation', table, 'cryoemganCorrelation', 'correlation with the reference')

    def _show_gallery(self, param=None):
        return self._gallery_views(
            'References',
            {
                'particle': self.protocol._getExtraPath('particles.star'),
                'reference': self.protocol.getRunDir('references.star'),
            },
        )

    def _show_set(self, param=None):
        return self._set_views('outputReferences')


class DenoiseViewer(RunViewer):
    """Denoised particles beside the noisy ones, and beside their references when the model's training had them."""

    _label = 'viewer denoised'
    _targets = [CryoEMGANProtDenoise, CryoEMGANProtFilter]

    def _defineParams(self, form):
        form.addSection(label='Denoised particles')
        self._add_gallery(form, 'Noisy | denoised | reference')
        measured = labels_of(self.protocol.getTables()[1])
        for name, label, words, help in SCORE_EYES:
            if label in measured:
                self._add_eye(form, name, words, help)
        self._add_eye(form, 'showSet', 'Denoised particles as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {
            'showGallery': self._show_gallery,
            'showUncertainty': self._show_uncertainty,
            'showFit': self._show_fit,
            'showSet': self._show_set,
        }

    def _show_uncertainty(self, param=None):
        _, table = self.protocol.getTables()
        return self._distribution('Uncertainty', table, 'cryoemganUncertainty', 'expected error (s.d. of the image)')

    def _show_fit(self, param=None):
        _, table = self.protocol.getTables()
        return self._distribution(
            'Fit', table, 'cryoemganFit', "fraction of the map's own particles that fit no better"
        )

    def _show_gallery(self, param=None):
        sets = dict(zip(('noisy', 'denoised'), self.protocol.getTables()))
        references = self._references()
        if references:
            sets['reference'] = references
        return self._gallery_views('Denoised', sets)

    def _references(self):
        """Table of the references that the model's training had, if they are of these particles."""
        if not isinstance(self.protocol, CryoEMGANProtDenoise):
            return None
        training = self.protocol.inputModel.getObjValue()
        if not isinstance(training, CryoEMGANProtTrain):
            return None
        table, references = training._getExtraPath('references.star'), training.inputReferences.get()
        particles = self.protocol.inputParticles.get()
        known = os.path.exists(table) and references is not None and particles is not None
        return table if known and share_ids(particles, references) else None

    def _show_set(self, param=None):
        return self._set_views('outputParticles')
