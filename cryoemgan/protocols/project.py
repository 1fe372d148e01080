"""Project references: the refined map as every particle sees it."""

import os
from enum import Enum

import pyworkflow.protocol.params as params
from pwem.emlib.image import ImageHandler
from pwem.objects import SetOfParticles

from ..constants import CTF_FLIP, CTF_FULL, CTF_NONE
from ..convert import Result, fill_particles
from .base import CryoEMGANProtBase, describe_alignment_error


class outputs(Enum):
    outputReferences = SetOfParticles


class CryoEMGANProtProject(CryoEMGANProtBase):
    """Projects the refined map at every particle's own angles, shifts and CTF.

    The output holds one clean reference image for each particle, with the particle's identity: what the particle
    would look like without noise if the map were the truth. Pairs (particle, reference) train the denoiser.
    """

    _label = 'project references'
    _possibleOutputs = outputs
    _verb = 'project'
    _from_inputs = ('particles', 'volume', 'volume_pixel_size', 'mask')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputParticles',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Input particles',
            pointerCondition='hasAlignmentProj',
            help='Particles with projection angles: the output of a 3D refinement.',
        )
        form.addParam(
            'inputVolume',
            params.PointerParam,
            pointerClass='Volume',
            important=True,
            label='Refined map',
            help='The map of that refinement. Box and pixel size may differ from the '
            "particles': it is resampled by its pixel size in Scipion.",
        )
        form.addParam(
            'inputMask',
            params.PointerParam,
            pointerClass='VolumeMask',
            allowsNull=True,
            label='Mask',
            help=self._help('mask') + ' Same box as the map. Leave empty when the map is masked already.',
        )
        self._add_settings(form, 'lowpass', 'ctf')
        self._add_settings(form, *self._remaining('lowpass', 'ctf'))
        self._define_machine(form)

    @classmethod
    def _help(cls, name):
        return cls._settings_class().__dataclass_fields__[name].metadata['help']

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        for pointer, name in ((self.inputVolume, 'volume.mrc'), (self.inputMask, 'mask.mrc')):
            if pointer.get() is not None:
                self._write_map(pointer.get(), self._getExtraPath(name))

    def _write_map(self, volume, path):
        """The map as an MRC file of the extra folder: a link where it is one already, else converted."""
        source = volume.getFileName().replace(':mrc', '')
        if os.path.lexists(path):
            os.remove(path)
        if source.lower().endswith(('.mrc', '.map')):
            os.symlink(os.path.abspath(source), path)
        else:
            ImageHandler().convert(volume.getLocation(), path)

    def createOutputStep(self, digest):
        particles = self.inputParticles.get()
        result = Result(self.getRunDir('references.star'))
        references = self._createSetOfParticles('_references')
        missing = fill_particles(references, particles, result, ctf=result.ctf or self._ctf())
        if missing:
            raise RuntimeError(
                f'{missing} particles have no projection in {result.path}: the run is not complete. '
                'Restart this protocol.'
            )
        references.setObjComment("projections of the refined map at the particles' angles")
        self._defineOutputs(**{outputs.outputReferences.name: references})
        self._defineSourceRelation(self.inputVolume, references)
        self._defineTransformRelation(self.inputParticles, references)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles, volume = self.inputParticles.get(), self.inputVolume.get()
        if not isinstance(particles, SetOfParticles) or volume is None:
            return errors
        problem = describe_alignment_error(particles)
        errors += [problem] if problem else []
        if not volume.getSamplingRate() or not particles.getSamplingRate():
            return [*errors, 'The map or the particles have no pixel size: import them with it.']
        errors += self._check_sizes(particles, volume)
        if self._ctf() != CTF_NONE and not particles.hasCTF():
            errors.append(
                f'The particles have no CTF, so the references cannot hold it ({self._ctf()}). Estimate it '
                f'first, or choose "{CTF_NONE}" for particles that never had one.'
            )
        return errors

    def _check_sizes(self, particles, volume):
        errors = []
        box, field = volume.getDim(), particles.getXDim() * particles.getSamplingRate()
        if box and len(set(box)) > 1:
            errors.append(f'The map has a box of {box[0]} x {box[1]} x {box[2]}: a cube is needed.')
        elif box:
            of_map = box[0] * volume.getSamplingRate()
            if not 0.5 <= of_map / field <= 4:
                errors.append(
                    f'The map is {of_map:.0f} Å wide, the particles {field:.0f} Å: these do not belong '
                    'together, or a pixel size is wrong (map '
                    f'{volume.getSamplingRate():g}, particles {particles.getSamplingRate():g} Å/px).'
                )
            mask = self.inputMask.get()
            if mask is not None and mask.getDim() and tuple(mask.getDim()) != tuple(box):
                errors.append(f'The mask has a box of {mask.getDim()[0]} px, the map {box[0]} px.')
        return errors

    def _warnings(self):
        particles = self.inputParticles.get()
        if particles is None:
            return []
        flipped = particles.isPhaseFlipped()
        warnings = []
        if flipped and self._ctf() == CTF_FULL:
            warnings.append(f'The particles are phase-flipped, the references would not be: choose "{CTF_FLIP}".')
        if not flipped and self._ctf() == CTF_FLIP:
            warnings.append(f'The particles are not phase-flipped: choose "{CTF_FULL}".')
        if self.lowpass.get() is None:
            warnings.append(
                'No low-pass: noise of the map beyond its resolution goes into the references. Give the '
                'FSC 0.143 resolution of the refinement, unless the map is filtered already.'
            )
        return warnings

    def _summary_lines(self, summary):
        particles, volume = self.inputParticles.get(), self.inputVolume.get()
        if particles is None or volume is None:
            return []
        lowpass = f', low-pass {self.lowpass.get():g} Å' if self.lowpass.get() else ''
        found = summary.get('correlation') or {}
        agreement = (
            [
                f'Correlation with the particles, below {found["resolution"]:.0f} Å: {found["mean"]:.2f} (with '
                f"another particle's reference: {found['shuffled_mean']:.2f})."
            ]
            if found
            else []
        )
        return [
            f'{particles.getSize()} projections of a map of {volume.getSamplingRate():.2f} Å/px; CTF in the '
            f'references: {self._ctf()}{lowpass}.',
            *agreement,
        ]

    def _methods(self):
        if not self.isFinished():
            return []
        lowpass = f' low-passed at {self.lowpass.get():g} Å' if self.lowpass.get() else ''
        return [
            f'The refined map{lowpass} was projected at the refined angles and shifts of '
            f'{self.inputParticles.get().getSize()} particles (Fourier slices, {self._interpolation()} '
            f'interpolation; CTF: {self._ctf()}).'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _input_settings(self):
        settings = {
            'particles': self._engine_path('particles.star'),
            'volume': self._engine_path('volume.mrc'),
            # Scipion's pixel size rules: headers are often empty.
            'volume_pixel_size': float(self.inputVolume.get().getSamplingRate()),
        }
        if self.inputMask.get() is not None:
            settings['mask'] = self._engine_path('mask.mrc')
        return settings

    def _ctf(self):
        return self._form_values().get('ctf')

    def _interpolation(self):
        return self._form_values().get('interpolation')
