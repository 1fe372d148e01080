"""Images side by side: particle | reference, and noisy | denoised | reference."""

import os

from .. import figures
from ..engine.data.scores import BY_NAME
from ..protocols.denoise import CryoEMGANProtDenoise
from ..protocols.filter import CryoEMGANProtFilter
from ..protocols.pair_checks import share_ids
from ..protocols.project import CryoEMGANProtProject
from ..protocols.simulate import CryoEMGANProtSimulate
from ..protocols.train import CryoEMGANProtTrain
from .base import RunViewer

# Distributions of scores: name of the eye, score, label, help.
SCORE_EYES = (
    (
        'showUncertainty',
        BY_NAME['uncertainty'],
        'Uncertainty',
        'Distribution of the expected error of the images, in standard deviations of the image: 0.3 = a third of what '
        'is seen. The same number is an attribute of each particle in the table.',
    ),
    (
        'showFit',
        BY_NAME['fit'],
        'Do the particles belong to the map?',
        'Distribution of the fit: of particles that show what the map shows, 5 % have a fit below 0.05 and 1 % below '
        '0.01, evenly over the rest. A heap at the left is junk, another molecule or another state: sort the table by '
        'cryoemganFit and leave them out.',
    ),
)


class ProjectViewer(RunViewer):
    """References beside their particles."""

    _label = 'viewer references'
    _targets = [CryoEMGANProtProject]
    _page = 'References'

    def _define_eyes(self, form):
        references = self.protocol.getRunDir('references.star')
        self._add_gallery(form, {'particle': self.protocol._getExtraPath('particles.star'), 'reference': references})
        self._add_distribution(
            form,
            'showPoseFit',
            'Do the particles show their references?',
            'Distribution of the pose fit: of good particles at about the right angles, 5 % are below 0.05, and the '
            'rest evenly above. A heap at the left is junk, another molecule or state, or wrong angles: '
            'cryoemganReason says which is likely, and *select particles* leaves them out (*Use the scores of '
            'references?*).',
            references,
            BY_NAME['pose_fit'],
        )
        self._add_distribution(
            form,
            'showCorrelation',
            'Correlation with the particles',
            'Distribution over the particles: a tail or a second hump at the left is junk, or wrong angles.',
            references,
            BY_NAME['correlation'],
        )
        self._add_file(
            form,
            'showOtherState',
            'Another state',
            'Where particles that agree against the map differ from it, and how probably each particle is one of them.',
            self.protocol.getRunDir('another_state.png'),
            figures.picture,
        )
        self._add_set(form, 'showSet', 'References as a table', 'outputReferences')


class DenoiseViewer(RunViewer):
    """Denoised particles beside the noisy ones, and beside their references when the model's training had them."""

    _label = 'viewer denoised'
    _targets = [CryoEMGANProtDenoise, CryoEMGANProtFilter]
    _page = 'Denoised particles'

    def _define_eyes(self, form):
        noisy, denoised = self.protocol.getTables()
        references = self._references()
        self._add_gallery(
            form, {'noisy': noisy, 'denoised': denoised, **({'reference': references} if references else {})}
        )
        for name, score, label, help in SCORE_EYES:
            self._add_distribution(form, name, label, help, denoised, score)
        self._add_set(form, 'showSet', 'Denoised particles as a table', 'outputParticles')

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


class SimulateViewer(RunViewer):
    """Simulated particles beside the truth."""

    _label = 'viewer simulated'
    _targets = [CryoEMGANProtSimulate]
    _page = 'Simulated particles'

    def _define_eyes(self, form):
        self._add_gallery(form, {name: self.protocol.getRunDir(f'{name}.star') for name in ('noisy', 'clean')})
        for name, _ in list(self.protocol.iterOutputAttributes()):
            words = name.removeprefix('output').lower()
            self._add_set(form, f'show{words.capitalize()}', f'{words.capitalize()} as a table', name)
