"""Denoise particles with a trained model."""

import os
from enum import Enum

from pwem.objects import SetOfParticles

from ..constants import CTF_NONE, CTF_UNKNOWN, PURPOSE
from ..convert import state_of
from ..objects import DenoiserModel
from .base import CryoEMGANProtBase
from .model_choice import FROM_PROJECT, ModelChoice
from .pair_checks import check_noisy
from .streaming import Streaming


class outputs(Enum):
    outputParticles = SetOfParticles
    # A model from disk, so that what comes after can point to it.
    outputModel = DenoiserModel


class CryoEMGANProtDenoise(Streaming, ModelChoice, CryoEMGANProtBase):
    """Denoises particles with a trained network.

    The output has the same particles in the same order, with their angles, coordinates and ids; only the images are
    new. They are for viewing, sorting and clustering; use the original particles for the final reconstruction.
    Works while particles arrive (streaming).
    """

    _label = 'denoise particles'
    _possibleOutputs = outputs
    _verb = 'denoise'
    _from_inputs = ('particles', 'model')
    _suffix = '_denoised'

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='Particles of the kind that the model was trained on: the same molecule, pixel size, normalisation '
            'and contrast. Angles are not needed.',
        )
        self._add_model(form)
        self._add_settings(form, *self._remaining())
        self._add_streaming(form)
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _describe_output(self, denoised):
        model = self.getModel()
        # Where sets are chosen, the label stands in place of the run's name.
        denoised.setObjLabel(f'{self.run_label()}: {model.getKind()}, {self._model_name()}')
        denoised.setObjComment(f'Denoised by {model}. {PURPOSE}')

    def _relate_output(self, denoised):
        self._defineTransformRelation(self.inputParticles, denoised)
        if self.modelFrom == FROM_PROJECT:
            self._defineSourceRelation(self.inputModel, denoised)
        else:
            self._defineOutputs(**{outputs.outputModel.name: self.getModel()})

    def _ctf_of_output(self, result, particles):
        """What the denoised images hold of the CTF: what the model's references held."""
        state = result.ctf or self.getModel().getCtfState()
        # "As the input" when references were the input's own kind: flags stay what they are.
        as_input = state_of(particles)
        return None if state in (as_input, CTF_UNKNOWN, None, '') and state != CTF_NONE else state

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        return super()._validate() + check_noisy(self.inputParticles.get(), 'Noisy particles')

    def _images_made(self):
        particles = self._particles_there()
        try:
            model = self.getModel()
        except ValueError:
            model = None
        if particles is None or model is None:
            return None
        box = model.getBox() if self._form_values()['output_box'] == 'model' else particles.getXDim()
        return particles.getSize(), box

    def _warnings(self):
        particles = self.inputParticles.get()
        try:
            model = self.getModel()
        except ValueError:
            return []
        if particles is None or model is None:
            return []
        state = state_of(particles)
        if model.getCtfState() in (state, CTF_NONE, CTF_UNKNOWN):
            return []
        return [f'The model was trained on images with CTF "{model.getCtfState()}", but the particles have "{state}".']

    def _summary_lines(self, summary):
        count, seconds = summary['particles'], summary['wall_seconds']
        lines = [f'{count} particles denoised in {seconds:.0f} s ({count / max(seconds, 1e-3):.0f} a second).']
        if len(summary.get('members') or []) > 1:
            lines.append(
                'Cross-fitted: each particle was denoised by a network that was not trained on it'
                + (f', except {summary["leakage"]}.' if summary.get('leakage') else '.')
            )
        if summary.get('resolution_cut'):
            lines.append(
                f'Detail finer than {summary["resolution_cut"]:.1f} Å is removed: the particles do not support it.'
            )
        if summary.get('uncertainty_median') is not None:
            lines.append(
                f'Median expected error: {summary["uncertainty_median"]:.0%} of the contrast of an image '
                '(cryoemganUncertainty of each particle, for sorting).'
            )
        if summary.get('fit'):
            sort = '' if summary.get('doubtful') is None else ' Sort by it in the table.'
            lines.append(summary['fit'][0].upper() + summary['fit'][1:] + '.' + sort)
        for sentence in (summary.get('classes'), summary.get('poses')):
            if sentence:
                lines.append(f'{sentence[0].upper()}{sentence[1:]}.')
        return [*lines, PURPOSE]

    def _methods(self):
        if not self.isFinished():
            return []
        return [
            f'{self.inputParticles.get().getSize()} particles were denoised with {self.getModel()}; the denoised '
            'images were not used for reconstruction.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _input_settings(self):
        return {'particles': self._engine_path('particles.star'), 'model': os.path.abspath(self.getModel().getFolder())}
