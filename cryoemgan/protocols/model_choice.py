"""The model of a form: of this project, or a folder on disk."""

import os

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..objects import DenoiserModel

FROM_PROJECT, FROM_DISK = 0, 1


def describe_replaced(model):
    """What is wrong with a DenoiserModel whose folder holds another one by now, as a list of sentences."""
    if not model.isReplaced():
        return []
    return [
        f'{model.getFolder()} no longer contains this model: its training was started again and has not finished, '
        'or the folder was removed. Continue or restart the training.'
    ]


class ModelChoice:
    """The part of a protocol that asks for a trained model and checks it against ``inputParticles``."""

    def _add_model(self, form):
        form.addParam(
            'modelFrom',
            params.EnumParam,
            choices=['this project', 'folder on disk'],
            default=FROM_PROJECT,
            display=params.EnumParam.DISPLAY_HLIST,
            label='Model from',
            help='For a model that was trained in another project, give its folder: '
            'PROJECT/Runs/..._Train/extra/run/model. Loading a model executes no code from it.',
        )
        self._add_model_pointer(
            form,
            'inputModel',
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
            help='The folder that contains card.json.',
        )

    def getModel(self):
        """The DenoiserModel of the form, or None; ValueError when the folder on disk is not a model."""
        if self.modelFrom == FROM_PROJECT:
            return self.inputModel.get()
        return DenoiserModel.fromFolder(self.modelFolder.get('').strip())

    def _model_name(self):
        """What tells the model from others: the run that made it, or its folder."""
        if self.modelFrom == FROM_DISK:
            return os.path.relpath(self.modelFolder.get().strip())
        maker = self.inputModel.getObjValue()
        return (maker.getRunName() if hasattr(maker, 'getRunName') else str(maker)).removeprefix('cryoemgan - ')

    def _validate(self):
        errors = super()._validate()
        try:
            model = self.getModel()
        except ValueError as e:
            return [*errors, str(e)]
        if not isinstance(model, DenoiserModel):
            return [*errors, '*Model* is empty: select the output of "train denoiser", or a folder on disk.']
        errors += describe_replaced(model)
        particles = self.inputParticles.get()
        # An open set may be empty yet.
        if isinstance(particles, SetOfParticles) and particles.getSize():
            width, of_model = particles.getXDim() * particles.getSamplingRate(), model.getBox() * model.getPixelSize()
            if abs(width - of_model) > 0.02 * of_model:
                errors.append(
                    f'The model was trained on {model.getBox()} px of {model.getPixelSize():.3g} Å '
                    f'({of_model:.0f} Å wide); the particles have {particles.getXDim()} px of '
                    f'{particles.getSamplingRate():.3g} Å ({width:.0f} Å). Extract or resample them to that '
                    'width, or train a model for them.'
                )
        return errors

    def _input_identity(self):
        folder = [self.modelFolder.get()] if self.modelFrom == FROM_DISK else []
        return super()._input_identity() + folder
