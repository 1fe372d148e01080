"""Cluster particles: sort denoised (or raw) particles into conformations."""

from enum import Enum

from pwem.objects import SetOfClasses2D, SetOfParticles
from pyworkflow.object import Float

from ..engine.data.table import ParticleTable
from ..figures.style import read_columns
from ..results import Result, put_attribute
from .base import CryoEMGANProtBase
from .pair_checks import share_ids

EMBEDDING = '_cryoemganEmbedding'


class outputs(Enum):
    outputClasses = SetOfClasses2D


class CryoEMGANProtCluster(CryoEMGANProtBase):
    """Sorts particles into conformations, and shows how they are spread between them.

    Particles with angles are placed along the main changes of the 3D map. Without angles the images themselves are
    compared, which works only for particles seen from one side. If the original particles are given, the classes and
    their averages are made of them, so that what they show was not painted by a network.
    """

    _label = 'cluster particles'
    _possibleOutputs = outputs
    _verb = 'cluster'
    _from_inputs = ('particles', 'source')
    # By the lists' order: compare auto, variability, images; embedding auto, pca, isomap, spectral, mds, tsne.
    _shown_when = {
        'compare != 2': ('components', 'detail'),
        'compare != 1': ('align',),
        'embedding in [0, 2, 3]': ('neighbours',),
    }

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Particles to cluster',
            help='Noisy or denoised particles. With angles noisy particles serve as well or better, since many of them '
            'are averaged; without angles they should be denoised.',
        )
        self._add_asked(
            form,
            'haveOriginals',
            'Classes of the original particles?',
            lambda condition: self._add_particles(
                form,
                'inputOriginals',
                important=True,
                condition=condition,
                label='Original particles',
                help='The set that was denoised.',
            ),
            help='For denoised particles. Yes: the classes hold the originals, ready for reconstruction, and show '
            'their averages. No: the classes hold the particles that were clustered.',
        )
        self._add_settings(form, 'compare', 'clusters', 'bad_images')
        form.addSection(label='Embedding')
        self._add_settings(form, *self._remaining('compare', 'clusters', 'bad_images'))
        self._define_machine(form, gpu=False)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        if self.haveOriginals:
            self._write_input(self.inputOriginals.get(), 'originals.star')

    def createOutputStep(self, digest):
        result = Result(self.getRunDir('clusters.star'))
        labels, points = self._read(result)
        places = {number: k for k, number in enumerate(self.readSizes(), 1)}
        classes = self._createSetOfClasses2D(self._members())

        def update(item, _):
            row = result.row(item.getObjId())
            # Class 0 is none.
            item.setClassId(0 if row is None else int(labels[row]))
            for k, values in enumerate(points, 1):
                put_attribute(item, f'{EMBEDDING}{k}', Float, 0.0 if row is None else values[row])

        def describe(group):
            group.setAlignment(self._members().get().getAlignment())
            group.getRepresentative().setLocation(places[group.getObjId()], self.getAverages())
            group.getRepresentative().setSamplingRate(self._members().get().getSamplingRate())

        classes.classifyItems(updateItemCallback=update, updateClassCallback=describe, doClone=False)
        self._defineOutputs(**{outputs.outputClasses.name: classes})
        self._defineSourceRelation(self.inputParticles, classes)
        if self.haveOriginals:
            self._defineSourceRelation(self.inputOriginals, classes)

    def _read(self, result):
        """Class of every row of the result, and its coordinates [dimensions][rows]."""
        table = ParticleTable.read(result.path)
        columns = read_columns(self.getRunDir('embedding.csv'), text=('particle',))
        return table.ints('rlnClassNumber'), [columns[n] for n in columns if n[0] == 'x' and n[1:].isdecimal()]

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors, values = super()._validate(), self._form_values()
        particles, originals = self.inputParticles.get(), self._given('inputOriginals')
        clusters = values.get('clusters', 'auto')
        if clusters != 'auto' and not (clusters.isdecimal() and int(clusters) >= 2):
            errors.append('"Clusters" must be auto or a number of 2 or more.')
        if values.get('embedding') == 'tsne' and values.get('dimensions') not in (2, 3):
            errors.append('t-SNE takes 2 or 3 dimensions.')
        if not isinstance(particles, SetOfParticles):
            return errors
        if values.get('compare') == 'variability' and not particles.hasAlignmentProj():
            errors.append('The particles have no projection angles: compare "images", or take refined particles.')
        if originals is not None and not share_ids(particles, originals):
            errors.append('The original particles have no particle in common with those to cluster (by id).')
        return errors

    def _warnings(self):
        particles, values = self.inputParticles.get(), self._form_values()
        if particles is None:
            return []
        images = values.get('compare') == 'images' or not particles.hasAlignmentProj()
        return ['Images are compared: only particles seen from one side can be sorted so.'] if images else []

    def _summary_lines(self, summary):
        chosen = ' (by silhouette)' if summary['chosen_by'] == 'silhouette' else ''
        lines = [
            f'{summary["particles"]} particles in {summary["clusters"]} classes{chosen}: '
            f'{", ".join(map(str, summary["sizes"]))}.',
            f'Compared by {summary["compare"]}, embedded by {summary["embedding"]}.',
        ]
        if summary.get('accuracy') is not None:
            lines.append(f'Against the truth: accuracy {summary["accuracy"]:.2f}.')
        return lines

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        return [
            f'{summary["particles"]} particles were sorted into {summary["clusters"]} classes by their '
            f'{summary["compare"]} ({summary["embedding"]}).'
        ]

    # --------------------------- UTILS functions -----------------------------
    def getAverages(self):
        """The stack of the classes' averages, relative to the project."""
        return self.getRunDir('averages.mrcs')

    def readSizes(self):
        """{class number: members}, in the order of the averages."""
        return {int(number): size for number, size in self.readSummary()['members'].items()}

    def _members(self):
        """Pointer to the particles that the classes hold."""
        return self.inputOriginals if self.haveOriginals else self.inputParticles

    def _input_settings(self):
        source = self._engine_path('originals.star') if self.haveOriginals else None
        return {'particles': self._engine_path('particles.star'), 'source': source}
