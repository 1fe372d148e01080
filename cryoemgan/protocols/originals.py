"""Back to the originals: the noisy particles of any selection of denoised ones."""

from enum import Enum

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..engine.table import ParticleTable
from .base import CryoEMGANProtBase


class outputs(Enum):
    outputParticles = SetOfParticles


class CryoEMGANProtOriginals(CryoEMGANProtBase):
    """Gives the original particles of a selection of denoised ones (classes, subsets, joins), by identity.

    Select on denoised images, reconstruct from the original ones: denoised particles are not for the final refinement.
    """

    _label = 'back to the originals'
    _possibleOutputs = outputs
    _verb = 'originals'
    _from_inputs = ('particles', 'source')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputParticles',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Selected denoised particles',
            help='Any subset of a denoised set.',
        )
        form.addParam(
            'inputSource',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Original particles',
            help='The set that was denoised, or one that contains it.',
        )
        self._add_settings(form, *self._remaining())
        self._define_machine(form, threads=1)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        self._write_input(self.inputSource.get(), 'source.star')

    def createOutputStep(self, digest):
        source = self.inputSource.get()
        wanted = set(ParticleTable.read(self.getRunDir('originals.star')).ints('rlnImageId').tolist())
        found = self._createSetOfParticles()
        found.copyInfo(source)

        def keep(item, row):
            item._appendItem = item.getObjId() in wanted

        found.copyItems(source.iterItems(), updateItemCallback=keep, doClone=False)
        self._defineOutputs(**{outputs.outputParticles.name: found})
        self._defineTransformRelation(self.inputSource, found)
        self._defineSourceRelation(self.inputParticles, found)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        selected, source = self.inputParticles, self.inputSource
        if selected.get() is not None and selected.getUniqueId() == source.getUniqueId():
            errors.append('Both fields hold the same set: give the set that was denoised as the original particles.')
        return errors

    def _summary_lines(self, summary):
        return [f'{summary["particles"]} original particles of {summary["of"]}.'] if summary else []

    # --------------------------- UTILS functions -----------------------------
    def _input_settings(self):
        return {'particles': self._engine_path('particles.star'), 'source': self._engine_path('source.star')}
