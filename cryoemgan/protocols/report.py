"""Denoise and sort: the whole road from a finished refinement in one run, with one page at its end."""

import os

from pwem.objects import SetOfAverages, SetOfParticles

from ..constants import PURPOSE
from ..engine.settings.road import DENOISED as DENOISED_IN
from ..engine.settings.road import GUIDED, OPINION, REFERENCES, SELECTION, TITLES, TRAINED, TRAINING
from ..objects import DenoiserModel
from ..results import Result
from .base import CryoEMGANProtBase, describe_alignment_error
from .class_averages import OUTPUT, define_averages
from .map_input import has_half_sets, own_half_maps, write_map
from .sorted_sets import KEPT, REJECTED, part_of, scores_in

PAGE = 'report.html'
DENOISED = 'outputDenoised'
# {network: output}
MODELS = {GUIDED: 'outputModel', TRAINED: 'outputModelTrained'}


class CryoEMGANProtReport(CryoEMGANProtBase):
    """From a finished refinement to denoised, audited and sorted particles, in one run.

    Projects the map (or its half maps) at every particle's pose; checks that particles and map belong together;
    trains two networks, one on the map and one guided by it, and a third without the map; denoises each particle with
    networks that never saw it; audits both networks, with the third one for a second opinion; and rejects junk:
    particles that do not fit the map. The result is a page that begins with how far the images can be trusted. Each
    step also exists as a protocol of its own, with more options.
    """

    _label = 'denoise and sort'
    _possibleOutputs = {
        KEPT: SetOfParticles, REJECTED: SetOfParticles, DENOISED: SetOfParticles,
        **dict.fromkeys(MODELS.values(), DenoiserModel), OUTPUT: SetOfAverages,
    }  # fmt: skip
    _verb = 'report'
    _from_inputs = ('refinement', 'particles', 'volume', 'half1', 'half2', 'mask')
    # More minutes go on from the checkpoints.
    _may_change = ('minutes', 'limit', 'pictures')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_refinement(
            form,
            'The map of that refinement, best imported together with its half maps. Each particle is then compared '
            'only with the half map of its own half set.',
        )
        self._add_mask(form, 'Yes, if you have a mask.')
        self._add_settings(form, 'minutes', 'limit')
        self._add_settings(form, *self._remaining('minutes', 'limit'))
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        volume = self.inputVolume.get()
        write_map(volume.getLocation(), self._getExtraPath('map.mrc'), volume.getSamplingRate())
        for number, name in enumerate(self._half_maps(), 1):
            write_map((1, name), self._getExtraPath(f'half{number}.mrc'), volume.getSamplingRate())
        if self._mask() is not None:
            write_map(self._mask().getLocation(), self._getExtraPath('mask.mrc'), volume.getSamplingRate())

    def createOutputStep(self, digest):
        table = self.getRunDir(DENOISED_IN[GUIDED], 'denoised.star')
        # Nothing was denoised where particles and map do not belong together: the page says so.
        if os.path.exists(table):
            self._define_sets(table)
        for network, name in MODELS.items():
            folder = self.getRunDir(TRAINING[network], 'model')
            if os.path.exists(os.path.join(folder, 'card.json')):
                self._defineOutputs(**{name: DenoiserModel.fromFolder(folder)})
                self._defineSourceRelation(self.inputParticles, getattr(self, name))

        define_averages(self, self.getRunDir(OPINION))

    def _define_sets(self, table):
        """Kept, rejected and denoised particles."""
        particles = self.inputParticles.get()
        denoised = self._filled('_denoised', particles, Result(table))
        denoised.setObjLabel(f'denoised by {self.getRunName()}, guided by the map')
        denoised.setObjComment(PURPOSE)
        scores = scores_in(table, self.getRunDir(REFERENCES, 'references.star'))
        kept, rejected = (
            part_of(self, suffix, particles, self.getRunDir(SELECTION, f'{name}.star'), scores)
            for suffix, name in (('', 'kept'), ('_rejected', 'rejected'))
        )
        for name, part in ((KEPT, kept), (REJECTED, rejected), (DENOISED, denoised)):
            if part is not None:
                self._defineOutputs(**{name: part})
                self._defineTransformRelation(self.inputParticles, part)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors, particles, volume = super()._validate(), self.inputParticles.get(), self.inputVolume.get()
        if not isinstance(particles, SetOfParticles) or volume is None:
            return errors
        problem = describe_alignment_error(particles)
        if problem:
            errors.append(problem)
        if self._mask() is not None and self._mask().getXDim() != volume.getXDim():
            errors.append(f'The mask has {self._mask().getXDim()} px, the map {volume.getXDim()} px.')
        return errors

    def _warnings(self):
        if self.inputVolume.get() is None or self._half_maps():
            return []
        return [
            'The map has no half maps, or the particles have no half sets. The same unfiltered map is then used for '
            'all particles. If you have half maps, import the map with them: their FSC sets the low-pass.'
        ]

    def _summary_lines(self, summary):
        verdict = summary['verdict']
        lines = [f'{verdict["colour"].upper()}: {verdict["headline"]}', *verdict['sentences']]
        return [*lines, '*Analyze Results* opens the page: what to do next, pictures, scores and limits.']

    def _cost_lines(self):
        return [
            f'Training takes {self.minutes.get():g} minutes, shared by the networks; preparing, denoising and '
            'auditing come on top. The page lists how long each step took.',
            *super()._cost_lines(),
        ]

    def _images_made(self):
        """References, and the images of two networks."""
        particles = self._particles_there()
        return None if particles is None else (3 * particles.getSize(), particles.getXDim())

    def _progress_lines(self):
        names = self._begun()
        return [
            f'Step {len(names)} of {len(TITLES) - (not self._form_values().get("second_opinion", True))}: {names[-1]}.'
            if names
            else 'Not started yet.',
            *super()._progress_lines(),
        ]

    def _methods(self):
        summary = self.readSummary()
        if not summary.get('selection'):
            return []
        found = summary['selection']
        return [
            f'{found["rejected"]} of {found["particles"]} particles were rejected by their fit to the refined map, as '
            'judged by the denoiser; the original images of the others were used from there on.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def getPage(self):
        """Path of the page."""
        return self.getRunDir(PAGE)

    def _begun(self):
        """Names of the steps whose folder is there."""
        return [title for folder, title in TITLES.items() if os.path.isdir(self.getRunDir(folder))]

    def _stand_ins(self):
        # Particles and map of the form stand for the folder of a refinement.
        return {**super()._stand_ins(), 'particles': os.curdir}

    def _mask(self):
        return self.inputMask.get() if self.useMask else None

    def _half_maps(self):
        """Files of the half maps that are used, or []."""
        halves = own_half_maps(self.inputVolume.get())
        return halves if has_half_sets(self.inputParticles.get()) else []

    def _input_settings(self):
        found = {'particles': self._engine_path('particles.star')}
        maps = ('half1', 'half2') if self._half_maps() else ('map',)
        found |= {{'map': 'volume'}.get(n, n): self._engine_path(f'{n}.mrc') for n in maps}
        return found | ({'mask': self._engine_path('mask.mrc')} if self._mask() is not None else {})
