"""Select particles: kept and rejected by their scores, as original particles."""

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..engine.data.scores import SCORES
from ..results import different_particle, original_identity
from .base import CryoEMGANProtBase
from .pair_checks import share_ids
from .sorted_sets import KEPT, REJECTED, part_of, scores_in

KEPT_DENOISED, REJECTED_DENOISED = 'outputDenoised', 'outputRejectedDenoised'


class CryoEMGANProtSelect(CryoEMGANProtBase):
    """Removes junk: selects particles by the scores that the denoiser gave them, as original particles.

    Set limits on one or more scores: pose fit, fit to the map, evidence, correlation with the reference, uncertainty,
    pose disagreement. Without any limit, the proposed limit of the first score that the particles have is used. The two
    outputs are the kept and the rejected particles, with their original images. The summary says how many good
    particles a limit is expected to cost, where that is known.
    """

    _label = 'select particles'
    _possibleOutputs = dict.fromkeys((KEPT, REJECTED, KEPT_DENOISED, REJECTED_DENOISED), SetOfParticles)
    _verb = 'select'
    # Nothing here is random: no seed.
    _from_inputs = ('particles', 'source', 'scores', 'seed')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Denoised particles',
            help='Output of "denoise particles", or any subset of it. Their attributes are the scores; only a network '
            'that is guided by the map gives all of them.',
        )
        self._add_particles(
            form,
            'inputOriginals',
            label='Original particles',
            help='The set that was denoised, or one that contains it. The outputs hold its images.',
        )
        form.addParam(
            'useReferences',
            params.BooleanParam,
            default=False,
            label='Use the scores of references?',
            help='Yes: also select by how well each particle fits its reference (pose fit, correlation), attributes of '
            'the output of "project references".',
        )
        self._add_particles(
            form,
            'inputReferences',
            condition='useReferences',
            allowsNull=True,
            label='References',
            help='Output of "project references" for these particles.',
        )
        form.addSection(label='Limits')
        form.addParam(
            'noLimits',
            params.LabelParam,
            label='An empty field sets no limit. If all are empty, the proposed limit of the first score is used.',
        )
        for score in SCORES:
            of_references = score.name in ('pose_fit', 'correlation', 'other_state')
            self._add_settings(form, score.name, **({'condition': 'useReferences'} if of_references else {}))
        self._add_settings(form, 'denoised', 'bad_images')
        form.addParallelSection(threads=1, mpi=0)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        self._write_input(self.inputOriginals.get(), 'originals.star')
        if self.useReferences:
            self._write_input(self.inputReferences.get(), 'references.star')

    def createOutputStep(self, digest):
        selected = {i.getObjId(): original_identity(i) for i in self.inputParticles.get().iterItems() if i.isEnabled()}
        problem = different_particle(selected, self.inputOriginals.get())
        if problem:
            raise RuntimeError(problem)
        scores = scores_in(*map(self._getExtraPath, ('particles.star', 'references.star')))
        for suffix, name, output in (('', 'kept', KEPT), ('_rejected', 'rejected', REJECTED)):
            self._define(output, self._part(suffix, self.inputOriginals, name, scores), self.inputOriginals)
        if self.denoised:
            for suffix, name, output in (
                ('_denoised', 'kept', KEPT_DENOISED),
                ('_rejected_denoised', 'rejected', REJECTED_DENOISED),
            ):
                self._define(output, self._part(suffix, self.inputParticles, name, None), self.inputParticles)

    def _part(self, suffix, pointer, name, scores):
        return part_of(self, suffix, pointer.get(), self.getRunDir(f'{name}.star'), scores)

    def _define(self, output, part, source):
        if part is None:
            return
        self._defineOutputs(**{output: part})
        self._defineTransformRelation(source, part)
        if source is not self.inputParticles:
            self._defineSourceRelation(self.inputParticles, part)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles, originals = self.inputParticles.get(), self.inputOriginals.get()
        if not isinstance(particles, SetOfParticles) or not isinstance(originals, SetOfParticles):
            return errors
        if self.inputParticles.getUniqueId() == self.inputOriginals.getUniqueId():
            return [*errors, '*Denoised particles* and *Original particles* are the same set.']
        references = self.inputReferences.get() if self.useReferences else None
        if self.useReferences and references is None:
            return [*errors, '*References* is empty: select the output of "project references".']
        if not share_ids(particles, originals):
            errors.append(
                'No denoised particle is among the original particles (by id): select the set that was denoised.'
            )
        known = {s.name: s for s in SCORES if self._has(particles, s) or (references and self._has(references, s))}
        if not known:
            errors.append(
                '*Denoised particles* have no scores to sort by: take the output of "denoise particles", with '
                '"Uncertainty" on or a network that is guided by the map.'
            )
        missing = [s for s in SCORES if s.name in self._form_values() and s.name not in known]
        if missing and known:
            errors.append(
                f'The particles have no {missing[0].title.lower()}; they can be sorted by '
                f'{", ".join(s.title.lower() for s in known.values())}.'
            )
        return errors

    @staticmethod
    def _has(particles, score):
        first = particles.getFirstItem()
        return first is not None and first.hasAttribute('_' + score.label)

    def _summary_lines(self, summary):
        return [f'{summary["sentence"]}.', *(f'{limit["sentence"]}.' for limit in summary['limits'])]

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        by = ' and '.join(
            f'{x["score"].replace("_", " ")} ({x["rejects"]} {x["limit"]:.4g})' for x in summary['limits']
        )
        return [
            f'{summary["rejected"]} of {summary["particles"]} particles were rejected by their {by}; the original '
            'images were used from there on.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _input_settings(self):
        found = {name: self._engine_path(f'{table}.star') for name, table in
                 (('particles', 'particles'), ('source', 'originals'))}  # fmt: skip
        return found | ({'scores': [self._engine_path('references.star')]} if self.useReferences else {})
