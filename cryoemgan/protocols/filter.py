"""Filter particles: the classical denoisers, without a network."""

import os
from enum import Enum

from pwem.objects import SetOfParticles

from ..constants import CTF_NONE
from ..convert import state_of
from ..engine.settings.project import AS_PARTICLES
from .base import CryoEMGANProtBase
from .pair_checks import check_noisy
from .streaming import Streaming

NAMES = {
    'cwf': 'covariance Wiener filtering',
    'bm3d': 'BM3D',
    'ksvd': 'a K-SVD dictionary',
    'nlm': 'non-local means',
    'wiener': 'a radial Wiener filter',
}
CITED = {'cwf': 'Bhamre2016', 'bm3d': 'Dabov2007', 'ksvd': 'Aharon2006', 'nlm': 'Buades2005'}


class outputs(Enum):
    outputParticles = SetOfParticles


class CryoEMGANProtFilter(Streaming, CryoEMGANProtBase):
    """Denoises particles by a classical method: Wiener filter, covariance Wiener filter, BM3D, K-SVD, non-local means.

    Needs no training, no map and no angles. Only the particles themselves are used, so nothing in the result can come
    from a map. It usually shows less than a trained network, and is what such a network should be compared with.
    Works while particles arrive (streaming).
    """

    _label = 'filter particles'
    _possibleOutputs = outputs
    _verb = 'filter'
    _makes_images = True
    _from_inputs = ('particles', 'learnt')
    _suffix = '_filtered'
    # wiener, cwf and ksvd learn from many particles.
    _shown_when = {'method in [0, 2, 4]': ('learn_from',)}

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='Particles without a mask: the noise is measured in the corners of the images.',
        )
        self._add_settings(form, *self._remaining())
        self._add_streaming(form)
        self._define_machine(form, gpu=False)

    # --------------------------- STEPS functions -----------------------------
    def _describe_output(self, filtered):
        name = NAMES[self._form_values()['method']]
        filtered.setObjLabel(f'{self.run_label()}: {name}')
        filtered.setObjComment(f'filtered by {name}')

    def _relate_output(self, filtered):
        self._defineTransformRelation(self.inputParticles, filtered)

    def _ctf_of_output(self, result, particles):
        # Only an undone CTF changes what Scipion knows of the images.
        return CTF_NONE if result.ctf == CTF_NONE and particles.hasCTF() else None

    def _least(self, number):
        # The first batch is what a method learns from.
        return max(super()._least(number), self._form_values().get('learn_from', 1) if number == 1 else 1)

    def _batch_settings(self, number):
        learnt = self._batch_path(1, 'run', 'learnt.npz')
        return {'learnt': os.path.abspath(learnt)} if number > 1 and os.path.exists(learnt) else {}

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors, particles, values = super()._validate(), self.inputParticles.get(), self._form_values()
        if not isinstance(particles, SetOfParticles):
            return errors
        errors += check_noisy(particles, 'Noisy particles')
        # An open set may be empty yet.
        if particles.getSize() and (particles.getXDim() % 2 or particles.getXDim() < 16):
            errors.append(
                f'The particles have a box of {particles.getXDim()} px: an even one of 16 px or more is needed.'
            )
        if values.get('ctf') == CTF_NONE and values.get('method') not in ('cwf', 'wiener') and particles.hasCTF():
            errors.append(f'{values["method"]} knows nothing of the CTF and cannot undo it: choose cwf or wiener.')
        return errors

    def _warnings(self):
        particles, ctf = self.inputParticles.get(), self._form_values().get('ctf')
        if particles is None or not particles.hasCTF():
            return []
        state = state_of(particles)
        if ctf not in (state, CTF_NONE, AS_PARTICLES):
            return [f'The particles hold the CTF as "{state}", and so will the result: choose "{AS_PARTICLES}".']
        return []

    def _summary_lines(self, summary):
        noise = summary['noise_sd']
        return [
            f'{summary["particles"]} particles filtered by {NAMES[summary["method"]]}; CTF in the result: '
            f'{summary["ctf"]}.',
            f'S.d. of the noise: {noise["min"]:.3g} to {noise["max"]:.3g}'
            + (f', median {noise["median"]:.3g}.' if 'median' in noise else '.'),
        ]

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        cited = CITED.get(summary['method'])
        return [
            f'{summary["particles"]} particles were denoised by {NAMES[summary["method"]]}'
            f'{f" [{cited}]" if cited else ""}; the filtered images were not used for reconstruction.'
        ]

    def _citations(self):
        cited = CITED.get(self._form_values().get('method'))
        return [cited] if cited else []

    # --------------------------- UTILS functions -----------------------------
    def _input_settings(self):
        return {'particles': self._engine_path('particles.star')}
