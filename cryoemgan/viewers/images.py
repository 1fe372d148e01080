"""Images side by side: particle | reference, and noisy | denoised | reference."""

import os

from ..protocols.denoise import CryoEMGANProtDenoise
from ..protocols.project import CryoEMGANProtProject
from ..protocols.train import CryoEMGANProtTrain, share_ids
from .base import RunViewer


class ProjectViewer(RunViewer):
    """References beside their particles."""

    _label = 'viewer references'
    _targets = [CryoEMGANProtProject]

    def _defineParams(self, form):
        form.addSection(label='References')
        self._add_gallery(form, 'Particle | reference')
        self._add_eye(form, 'showSet', 'References as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {'showGallery': self._show_gallery, 'showSet': self._show_set}

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
    _targets = [CryoEMGANProtDenoise]

    def _defineParams(self, form):
        form.addSection(label='Denoised particles')
        self._add_gallery(form, 'Noisy | denoised | reference')
        self._add_eye(form, 'showSet', 'Denoised particles as a table', "Scipion's viewer of sets.")

    def _getVisualizeDict(self):
        return {'showGallery': self._show_gallery, 'showSet': self._show_set}

    def _show_gallery(self, param=None):
        sets = {
            'noisy': self.protocol._getExtraPath('particles.star'),
            'denoised': self.protocol.getRunDir('denoised.star'),
        }
        references = self._references()
        if references:
            sets['reference'] = references
        return self._gallery_views('Denoised', sets)

    def _references(self):
        """Table of the references that the model's training had, if they are of these particles."""
        training = self.protocol.inputModel.getObjValue()
        if not isinstance(training, CryoEMGANProtTrain):
            return None
        table, references = training._getExtraPath('references.star'), training.inputReferences.get()
        particles = self.protocol.inputParticles.get()
        known = os.path.exists(table) and references is not None and particles is not None
        return table if known and share_ids(particles, references) else None

    def _show_set(self, param=None):
        return self._set_views('outputParticles')
