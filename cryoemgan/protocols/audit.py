"""Audit denoising: how far denoised particles can be believed."""

import os

from pwem.objects import SetOfParticles

from ..engine.trust.thresholds import THRESHOLDS
from .base import CryoEMGANProtBase
from .model_choice import ModelChoice, describe_replaced
from .pair_checks import check_noise_images, check_noisy, check_pairs, check_references

PAGE = 'audit.html'
PICTURES = (
    'particles.png', 'noise.png', 'empties.png', 'nearest.png', 'calibration.png', 'bias.png', 'opinion.png',
    'opinions.png',
)  # fmt: skip
VERDICTS = {
    'green': 'GREEN: nothing was found that speaks against these denoised particles.',
    'yellow': 'YELLOW: use these denoised particles with care.',
    'red': 'RED: do not rely on these denoised particles.',
}


class CryoEMGANProtAudit(ModelChoice, CryoEMGANProtBase):
    """Tests how far the images of a trained denoiser can be trusted.

    The denoiser is given pure noise, mirrored particles and another molecule, and what it makes of them is compared
    with real particles. Further questions: does each image show its own particle or only the average? Is the
    uncertainty right? Was a particle denoised by a network that had learnt it? Each question gets a traffic light,
    and there is a page with pictures. Do this once for each model before you draw conclusions from its images.
    """

    _label = 'audit denoising'
    _verb = 'audit'
    _from_inputs = ('particles', 'references', 'model', 'second_model', 'noise_particles')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='The particles that the model is to denoise, as they were refined.',
        )
        self._add_particles(
            form,
            'inputReferences',
            label='References',
            help='Output of "project references" for these particles.',
        )
        self._add_model(form)
        self._add_asked(
            form,
            'haveSecond',
            'Compare with a second model?',
            lambda condition: self._add_model_pointer(
                form, 'inputSecondModel', condition=condition, label='Second model', help=self._help('second_model')
            ),
            help='Yes: the images are compared with those of another model, ideally a map-free one.',
        )
        self._add_noise_images(
            form, 'Yes: images without a particle (background, empty picks) are used beside simulated noise.'
        )
        self._add_settings(form, *self._remaining())
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        self._write_input(self.inputReferences.get(), 'references.star')
        if self.haveNoise:
            self._write_input(self.inputNoiseParticles.get(), 'noise.star')

    def createOutputStep(self, digest):
        """The result is the page with its pictures, and the traffic lights of the summary."""

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles, references = self.inputParticles.get(), self.inputReferences.get()
        if not all(isinstance(s, SetOfParticles) for s in (particles, references)):
            return errors
        second = self._given('inputSecondModel')
        errors += check_noisy(particles, 'Noisy particles') + check_references(references)
        if second is not None:
            errors += describe_replaced(second)
        if not errors and second is not None and second.getFolder() == self.getModel().getFolder():
            errors.append('The second opinion is the audited model itself: it would agree with everything.')
        noise = self.inputNoiseParticles if self.haveNoise else None
        errors += check_noise_images(
            noise, {'Noisy particles': self.inputParticles, 'References': self.inputReferences}
        )
        return errors + check_pairs(particles, references)

    def _summary_lines(self, summary):
        lines = [VERDICTS[summary['overall']]]
        lines += [f'{colour}: {THRESHOLDS[name].title}' for name, colour in summary['lights'].items()]
        return [*lines, f'{summary["sample"]} particles were looked at. "Analyze results" opens the page.']

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        return [
            f'The denoiser was audited on {summary["sample"]} particles (pure noise, mirrored and foreign particles, '
            f'calibration of the uncertainty, leakage, bias [Palovcak2020]): {summary["overall"]}.'
        ]

    def _citations(self):
        return [*super()._citations(), 'Palovcak2020']

    # --------------------------- UTILS functions -----------------------------
    def getPage(self):
        """The page of the audit (HTML), relative to the project."""
        return self.getRunDir(PAGE)

    def _input_settings(self):
        settings = {
            'particles': self._engine_path('particles.star'),
            'references': self._engine_path('references.star'),
            'model': os.path.abspath(self.getModel().getFolder()),
        }
        if self._given('inputSecondModel') is not None:
            settings['second_model'] = os.path.abspath(self.inputSecondModel.get().getFolder())
        if self.haveNoise:
            settings['noise_particles'] = self._engine_path('noise.star')
        return settings
