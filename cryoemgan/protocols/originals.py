"""Original particles: from a selection of denoised particles back to the originals."""

from enum import Enum

from pwem.objects import SetOfClasses, SetOfParticles
from pwem.protocols import EMProtocol
from pyworkflow import BETA

from ..results import different_particle, original_identity
from .base import describe_unfinished_inputs
from .form import FormHabits
from .single_start import SingleStart


class outputs(Enum):
    outputParticles = SetOfParticles


class CryoEMGANProtOriginals(FormHabits, SingleStart, EMProtocol):
    """Finds the original particles of any selection of denoised or filtered particles.

    Denoised particles are for choosing; a reconstruction needs the originals. Sort, classify or select the denoised
    particles, and get the originals of what is left here. Particles are found by their identity in Scipion.
    """

    _label = 'original particles'
    _devStatus = BETA
    _possibleOutputs = outputs

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_pointer(
            form,
            'inputSelection',
            'SetOfParticles, SetOfClasses2D, SetOfClasses3D',
            label='Selected denoised particles',
            help='A subset of denoised particles, or classes made of them: of classes, all particles of those that '
            'are switched on.',
        )
        self._add_pointer(
            form,
            'inputParticles',
            'SetOfParticles',
            label='Original particles',
            help='The set that was denoised, or one that contains it.',
        )

    # --------------------------- INSERT steps functions ----------------------
    def _insertAllSteps(self):
        # Arguments of the step: other inputs run it again.
        inputs = [f'{p.getUniqueId()} {p.get()}' for p in (self.inputSelection, self.inputParticles)]
        self._insertFunctionStep(self.createOutputStep, *inputs, needsGPU=False)

    # --------------------------- STEPS functions -----------------------------
    def createOutputStep(self, *inputs):
        """Copy the items whose ids were selected; RuntimeError when some are missing or are other particles."""
        particles, selected = self.inputParticles.get(), self._selected()
        problem = different_particle(selected, particles)
        if problem:
            raise RuntimeError(problem)
        originals = self._createSetOfParticles()
        originals.copyInfo(particles)
        found = 0

        def choose(item, row):
            nonlocal found
            item._appendItem = item.getObjId() in selected
            found += item._appendItem

        originals.copyItems(particles, updateItemCallback=choose, doClone=False)
        if found < len(selected):
            raise RuntimeError(
                f'{len(selected) - found} of {len(selected)} selected particles are not among the original particles: '
                'select the set that was denoised.'
            )
        self._defineOutputs(**{outputs.outputParticles.name: originals})
        self._defineSourceRelation(self.inputSelection, originals)
        self._defineTransformRelation(self.inputParticles, originals)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        selection, particles = self.inputSelection.get(), self.inputParticles.get()
        if selection is None or not isinstance(particles, SetOfParticles):
            return []
        unfinished = describe_unfinished_inputs(self)
        if unfinished:
            return unfinished
        if self.inputSelection.getUniqueId() == self.inputParticles.getUniqueId():
            return ['Selected and original particles are the same set: there is nothing to look up.']
        first = next(iter(self._selected().items()), None)
        if first is None:
            return ['The selection is empty.']
        problem = different_particle(dict([first]), particles)
        return [problem] if problem else []

    def _summary(self):
        if not self.isFinished():
            return ['Not finished yet.']
        return [f'{self.outputParticles.getSize()} of {self.inputParticles.get().getSize()} original particles.']

    def _methods(self):
        if not self.isFinished():
            return []
        return [
            f'{self.outputParticles.getSize()} particles were selected by their denoised images; the original images '
            'were used from there on.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _selected(self):
        """{id: identity} of the selected particles."""
        selection = self.inputSelection.get()
        many = isinstance(selection, SetOfClasses)
        items = selection.iterClassItems() if many else (i for i in selection.iterItems() if i.isEnabled())
        return {i.getObjId(): original_identity(i) for i in items}
