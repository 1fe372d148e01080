"""Denoise particles with a trained model."""

import os
from enum import Enum

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..constants import CTF_FLIP, CTF_FULL, PURPOSE
from ..convert import Result, fill_particles
from ..objects import DenoiserModel
from .base import CryoEMGANProtBase

FROM_PROJECT, FROM_DISK = 0, 1


class outputs(Enum):
    outputParticles = SetOfParticles


class CryoEMGANProtDenoise(CryoEMGANProtBase):
    """Denoises particles with a trained network.

    The output has the input's particles, in order, with their angles, coordinates and ids; only the images are new.
    It is for viewing, sorting and clustering: use the original particles for the final reconstruction.
    """

    _label = 'denoise particles'
    _possibleOutputs = outputs
    _verb = 'denoise'
    _from_inputs = ('particles', 'model')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputParticles',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Input particles',
            help='Noisy particles of the kind the model was trained on: the same '
            'molecule, pixel size, normalisation and contrast. Angles are not needed.',
        )
        form.addParam(
            'modelFrom',
            params.EnumParam,
            choices=['this project', 'folder on disk'],
            default=FROM_PROJECT,
            display=params.EnumParam.DISPLAY_HLIST,
            label='Model from',
            help='A model trained in another project: give its folder, PROJECT/Runs/..._Train/extra/run/'
            'model. It loads without executing anything.',
        )
        form.addParam(
            'inputModel',
            params.PointerParam,
            pointerClass='DenoiserModel',
            important=True,
            condition=f'modelFrom == {FROM_PROJECT}',
            label='Model',
            allowsNull=True,
            help='Output of "train denoiser".',
        )
        form.addParam(
            'modelFolder',
            params.FolderParam,
            condition=f'modelFrom == {FROM_DISK}',
            label='Model folder',
            help='The folder that holds card.json.',
        )
        self._add_settings(form, *self._remaining())
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')

    def createOutputStep(self, digest):
        particles, model = self.inputParticles.get(), self.getModel()
        result = Result(self.getRunDir('denoised.star'))
        denoised = self._createSetOfParticles('_denoised')
        missing = fill_particles(denoised, particles, result, ctf=self._ctf_of_output(result, particles, model))
        if missing:
            raise RuntimeError(
                f'{missing} particles are not in {result.path}: the run is not complete. Restart this protocol.'
            )
        denoised.setObjComment(f'Denoised by {model}. {PURPOSE}')
        self._defineOutputs(**{outputs.outputParticles.name: denoised})
        self._defineTransformRelation(self.inputParticles, denoised)
        if self.modelFrom == FROM_PROJECT:
            self._defineSourceRelation(self.inputModel, denoised)

    @staticmethod
    def _ctf_of_output(result, particles, model):
        """What the denoised images hold of the CTF: what the model's references held."""
        state = result.ctf or model.getCtfState()
        # "As the input" when references were the input's own kind: flags stay what they are.
        as_input = CTF_FLIP if particles.isPhaseFlipped() else CTF_FULL
        return None if state in (as_input, 'unknown', None, '') else state

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        try:
            model = self.getModel()
        except ValueError as e:
            return [*errors, str(e)]
        if not isinstance(model, DenoiserModel):
            return [*errors, '*Model* is empty: select the output of "train denoiser", or a folder on disk.']
        if not os.path.isdir(model.getFolder()):
            errors.append(f'The model folder {model.getFolder()} is no longer there.')
        particles = self.inputParticles.get()
        if isinstance(particles, SetOfParticles):
            width, of_model = particles.getXDim() * particles.getSamplingRate(), model.getBox() * model.getPixelSize()
            if abs(width - of_model) > 0.02 * of_model:
                errors.append(
                    f'The model was trained on {model.getBox()} px of {model.getPixelSize():.3g} Å '
                    f'({of_model:.0f} Å wide); the particles have {particles.getXDim()} px of '
                    f'{particles.getSamplingRate():.3g} Å ({width:.0f} Å). Extract or resample them to that '
                    'width, or train a model for them.'
                )
        return errors

    def _warnings(self):
        particles = self.inputParticles.get()
        try:
            model = self.getModel()
        except ValueError:
            return []
        if particles is None or model is None:
            return []
        if particles.isPhaseFlipped() != (model.getCtfState() == CTF_FLIP) and model.getCtfState() in (
            CTF_FULL,
            CTF_FLIP,
        ):
            return [
                f'The model learned images with CTF "{model.getCtfState()}", but the particles are '
                f'{"" if particles.isPhaseFlipped() else "not "}phase-flipped.'
            ]
        return []

    def _summary_lines(self, summary):
        count = self.inputParticles.get().getSize() if self.inputParticles.get() is not None else 0
        seconds = summary['wall_seconds']
        return [f'{count} particles denoised in {seconds:.0f} s ({count / max(seconds, 1e-3):.0f} a second).', PURPOSE]

    def _methods(self):
        if not self.isFinished():
            return []
        return [
            f'{self.inputParticles.get().getSize()} particles were denoised with {self.getModel()}; the denoised '
            'images were not used for reconstruction.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def getModel(self):
        """The DenoiserModel of the form, or None; ValueError when the folder on disk is not a model."""
        if self.modelFrom == FROM_PROJECT:
            return self.inputModel.get()
        return DenoiserModel.fromFolder(self.modelFolder.get('').strip())

    def _input_identity(self):
        folder = [self.modelFolder.get()] if self.modelFrom == FROM_DISK else []
        return super()._input_identity() + folder

    def _input_settings(self):
        return {'particles': self._engine_path('particles.star'), 'model': os.path.abspath(self.getModel().getFolder())}
