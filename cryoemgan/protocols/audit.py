"""Audit denoising: can these pixels be believed?"""

import os

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from .base import CryoEMGANProtBase
from .train import check_pairs


class CryoEMGANProtAudit(CryoEMGANProtBase):
    """Measures how far a denoiser's images can be believed, and shows a traffic light.

    Pure noise, simulated twins of the particles, another molecule and mirrored particles go through the denoiser;
    bias, uncertainty and leakage are measured. The result is one page (HTML) and a table of the particles.
    """

    _label = 'audit denoising'
    _verb = 'audit'
    _from_inputs = ('particles', 'references', 'model')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputParticles',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Noisy particles',
            help='The particles that are to be denoised.',
        )
        form.addParam(
            'inputReferences',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='References',
            help='Output of "project references" for these particles.',
        )
        form.addParam(
            'inputModel',
            params.PointerParam,
            pointerClass='DenoiserModel',
            important=True,
            label='Model',
            help='Output of "train denoiser".',
        )
        self._add_settings(form, *self._remaining())
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        self._write_input(self.inputReferences.get(), 'references.star')

    def createOutputStep(self, digest):
        """The result is the page, the table and the pictures; there is no set to define."""
        self.summaryVar.set('\n'.join(self._summary_lines(self.readSummary())))

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles, references = self.inputParticles.get(), self.inputReferences.get()
        if all(isinstance(s, SetOfParticles) for s in (particles, references)):
            errors += check_pairs(particles, references)
        return errors

    def _summary_lines(self, summary):
        if not summary:
            return []
        lights = ', '.join(f'{name} {colour}' for name, colour in summary['lights'].items())
        return [f'{summary["overall"].upper()}: {lights}.', f'Page: {self.getPage()}']

    def _methods(self):
        if not self.isFinished():
            return []
        return [
            'The denoiser was audited with noise, simulated particles and another molecule; bias was estimated '
            'without ground truth [Palovcak2020].'
        ]

    def _citations(self):
        return [*super()._citations(), 'Palovcak2020']

    # --------------------------- UTILS functions -----------------------------
    def getPage(self):
        """The HTML page of the audit, relative to the project."""
        return self.getRunDir('audit.html')

    def _input_settings(self):
        return {
            'particles': self._engine_path('particles.star'),
            'references': self._engine_path('references.star'),
            'model': os.path.abspath(self.inputModel.get().getFolder()),
        }
