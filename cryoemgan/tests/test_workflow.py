"""The protocols, headless, on tiny data, through real Scipion runs."""

import os
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pyworkflow as pw
from pwem.protocols import ProtImportParticles
from pyworkflow.protocol import STATUS_FINISHED, STATUS_RUNNING

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.objects import DenoiserModel, read_card
from cryoemgan.protocols.train_form import GUIDED, MAP_FREE
from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest, slow


@slow
class TestWorkflow(ProjectTest):
    """project -> train -> denoise -> evaluate, and their pictures."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.references = cls.project_references()
        cls.training = cls.run_protocol(
            'CryoEMGANProtTrain',
            {
                'inputParticles': (cls.particles, 'outputParticles'),
                'inputReferences': (cls.references, 'outputReferences'),
            },
            iterations=6,
            batchSize=8,
            evaluations=2,
            numberOfThreads=1,
        )
        cls.denoising = cls.run_protocol(
            'CryoEMGANProtDenoise',
            {'inputParticles': (cls.particles, 'outputParticles'), 'inputModel': (cls.training, 'outputModel')},
            numberOfThreads=1,
        )
        cls.evaluation = cls.run_protocol(
            'CryoEMGANProtEvaluate',
            {
                'inputDenoised': [(cls.denoising, 'outputParticles')],
                'inputReferences': (cls.references, 'outputReferences'),
                'inputParticles': (cls.particles, 'outputParticles'),
            },
            numberOfThreads=1,
            addNoisy=True,
        )
        cls.blind = cls.run_protocol(
            'CryoEMGANProtTrain',
            {'inputParticles': (cls.particles, 'outputParticles')},
            approach=MAP_FREE,
            iterations=6,
            batchSize=8,
            evaluations=2,
            numberOfThreads=1,
        )
        folder = cls.getOutputPath('empty')
        pw.utils.makePath(folder)
        data.make_particles(folder, 24, cls.box, 3.0, micrographs='empty').close()
        cls.empty = cls.run_protocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
            sqliteFile=f'{folder}/particles.sqlite',
            samplingRate=data.PIXEL,
        )
        cls.audit = cls.run_protocol(
            'CryoEMGANProtAudit',
            {
                'inputParticles': (cls.particles, 'outputParticles'),
                'inputReferences': (cls.references, 'outputReferences'),
                'inputModel': (cls.training, 'outputModel'),
                'inputSecondModel': (cls.blind, 'outputModel'),
                'inputNoiseParticles': (cls.empty, 'outputParticles'),
            },
            numberOfThreads=1,
            haveSecond=True,
            haveNoise=True,
        )

    def test_audit_gives_a_page(self):
        found = self.audit.readSummary()
        assert os.path.getsize(self.audit.getPage()) > 10_000
        assert self.audit.summary()[0].split(':')[0] in ('GREEN', 'YELLOW', 'RED')
        assert found['leakage'] == 0
        assert 'opinion' in found['lights']
        assert found['empty_particles_in']['count'] == 24

    def test_a_model_without_references(self):
        card = read_card(self.blind.getModelDir())
        assert card['target'] == 'self'
        assert 'Trained without references' in card['statement']
        assert not os.path.exists(self.blind._getExtraPath('references.star'))
        assert 'no other data' in self.blind.methods()[0]
        averages = self.blind.outputAverages
        assert (averages.getXDim(), averages.getSamplingRate()) == (self.box, data.PIXEL)
        # Each particle that a fold model learned from is counted once; some are kept out of training.
        shown = sum(item.getAttributeValue('_cryoemganShownBy') for item in averages.iterItems())
        assert 0.8 * self.count < shown <= self.count

    def test_training_is_told_what_project_found(self):
        card = read_card(self.training.getModelDir())
        assert card['ctf'] == self.references.readSummary()['ctf'] == 'none'
        assert card['cross_fit']['mode'] in ('halves', 'folds')
        table = ParticleTable.read(self.training._getExtraPath('references.star'))
        assert table.provenance['verb'] == 'project'
        assert table.has('cryoemganCorrelation')

    def test_uncertainty_can_be_sorted_by_and_the_way_back(self):
        denoised = self.denoising.outputParticles
        values = [item.getAttributeValue('_cryoemganUncertainty') for item in denoised.iterItems()]
        assert len(values) == self.count
        assert min(values) > 0
        run = self.run_protocol(
            'CryoEMGANProtOriginals',
            {
                'inputSelection': (self.denoising, 'outputParticles'),
                'inputParticles': (self.particles, 'outputParticles'),
            },
        )
        first, source = run.outputParticles.getFirstItem(), self.particles.outputParticles.getFirstItem()
        assert first.getLocation() == source.getLocation()
        self.assertSetSize(run.outputParticles, self.count)

    def test_references(self):
        self.assertSetSize(self.references.outputReferences, self.count)
        assert 'CTF in the references: none' in self.references.summary()[0]

    def test_model(self):
        model = self.training.outputModel
        assert (model.getBox(), model.getPixelSize()) == (self.box, 6.0)
        assert not os.path.isabs(model.getFolder())
        assert os.path.exists(os.path.join(model.getFolder(), 'card.json'))
        assert any('kept out of training' in line for line in self.training.summary())
        assert str(DenoiserModel.fromFolder(model.getFolder())) == str(model)

    def test_denoised_set_is_the_input_with_other_images(self):
        given, found = self.particles.outputParticles, self.denoising.outputParticles
        self.assertSetSize(found, self.count)
        before = {i.getObjId(): (i.getTransform().getMatrix().copy(), i.getLocation()) for i in given.iterItems()}
        for item in found.iterItems():
            matrix, location = before[item.getObjId()]
            assert np.array_equal(item.getTransform().getMatrix(), matrix)
            assert item.getFileName() != location[1]
            assert os.path.exists(item.getFileName())
        assert 'final reconstruction' in found.getObjComment()
        assert found.getObjLabel() == 'denoise particles: trained on the map, train denoiser'

    def test_evaluation_names_both_sets(self):
        lines = self.evaluation.summary()
        assert any(line.startswith('noisy: MSE') for line in lines), lines
        assert any(line.startswith('denoise_particles: MSE') for line in lines), lines

    def test_swapped_inputs_are_refused(self):
        particles, references = (self.particles, 'outputParticles'), (self.references, 'outputReferences')
        denoised, model = (self.denoising, 'outputParticles'), (self.training, 'outputModel')
        cases = (
            ('Train', {'inputParticles': references, 'inputReferences': particles}, 'holds references'),
            ('Train', {'inputParticles': denoised, 'inputReferences': references}, 'holds denoised particles'),
            ('Train', {'inputParticles': particles, 'inputReferences': denoised}, '*References* holds denoised'),
            ('Denoise', {'inputParticles': references, 'inputModel': model}, 'holds references'),
            ('Denoise', {'inputParticles': denoised, 'inputModel': model}, 'holds denoised particles'),
            (
                'Audit',
                {'inputParticles': denoised, 'inputReferences': references, 'inputModel': model},
                'holds denoised particles',
            ),
            ('Filter', {'inputParticles': denoised}, 'holds denoised particles'),
        )
        for name, pointers, words in cases:
            with self.subTest(name=name, words=words):
                assert words in ' '.join(self.make(f'CryoEMGANProt{name}', pointers).validate())
        audit = self.make(
            'CryoEMGANProtAudit',
            {
                'inputParticles': particles,
                'inputReferences': references,
                'inputModel': model,
                'inputNoiseParticles': references,
            },
            cut='abc',
        )
        # Filled in by Scipion, but not asked for.
        assert audit.validate() == ['"Resolution cut-off" (Expert Level: Advanced): \'abc\' is not auto, none or a '
                                    'resolution in A']  # fmt: skip
        audit.cut.set('auto')
        audit.haveNoise.set(True)
        assert audit.validate() == ['*Noise images* and *References* are the same set: noise images hold no particle.']

    def test_our_columns_are_visible_in_the_table(self):
        from pwem.viewers.mdviewer.viewer import MDView

        from cryoemgan import viewers  # noqa: F401

        visible, order, _ = MDView(self.denoising.outputParticles).getVisibleAndOrderLabels()
        columns = order.split()
        assert columns.index('_filename') < columns.index('_cryoemganFit') < columns.index('_cryoemganUncertainty')
        assert set(columns) == set(visible.split())

    def another_denoising(self):
        return self.make(
            'CryoEMGANProtDenoise',
            {'inputParticles': (self.particles, 'outputParticles'), 'inputModel': (self.training, 'outputModel')},
        )

    def test_results_that_are_made_anew_are_waited_for(self):
        """Seen in a workflow that was continued with another network: denoising began with half of the new model,
        since the old output of the training was still there."""
        denoising = self.another_denoising()
        assert denoising.validate() == []
        self.training.setStatus(STATUS_RUNNING)
        try:
            assert 'its results are about to be replaced' in ' '.join(denoising.validate())
        finally:
            self.training.setStatus(STATUS_FINISHED)

    def test_model_that_was_trained_again_is_not_taken_for_the_old_one(self):
        """A training that runs again and is stopped leaves its old output object and half of a new model."""
        model, card = self.training.outputModel, Path(self.training.getModelDir()) / 'card.json'
        denoising = self.another_denoising()
        before, identity = card.read_bytes(), denoising._input_identity()
        try:
            card.write_bytes(before + b'\n')
            assert 'no longer contains this model' in ' '.join(denoising.validate())
            again = type(model).fromFolder(model.getFolder())
            assert not again.isReplaced()
            assert str(again) == str(model)
            assert again.getDigest() not in str(identity)
            assert model.getDigest() in str(identity)
            card.unlink()
            assert 'no longer contains this model' in ' '.join(denoising.validate())
        finally:
            card.write_bytes(before)

    def test_model_of_another_project(self):
        """By its folder, absolute."""
        protocol = self.run_protocol(
            'CryoEMGANProtDenoise',
            {'inputParticles': (self.particles, 'outputParticles')},
            modelFrom=1,
            modelFolder=os.path.abspath(self.training.outputModel.getFolder()),
            numberOfThreads=1,
        )
        self.assertSetSize(protocol.outputParticles, self.count)

    def test_viewers_offer_what_was_made_and_nothing_else(self):
        from cryoemgan import viewers
        from cryoemgan.viewers.windows import FigureView

        both = ['Correlation', 'Uncertainty']
        for cls, run, names, sortable in (
            (viewers.TrainViewer, self.training, {'showCurves', 'showPreviews', 'showGallery'}, ['Correlation']),
            (viewers.TrainViewer, self.blind, {'showCurves', 'showPreviews', 'showAverages', 'showGallery'}, []),
            (viewers.ProjectViewer, self.references, {'showGallery', 'showCorrelation', 'showSet'}, ['Correlation']),
            (viewers.DenoiseViewer, self.denoising, {'showGallery', 'showUncertainty', 'showSet'}, both),
            (viewers.AuditViewer, self.audit, {'showLights', 'showPage', 'showPictures'}, []),
            (viewers.EvaluateViewer, self.evaluation, {'showGallery', 'showMetrics', 'showFrc'}, both),
        ):
            viewer = cls(project=self.proj, protocol=run)
            viewer.setProtocol(run)
            eyes = viewer._getVisualizeDict()
            assert set(eyes) == names, (cls, set(eyes))
            assert [s.title for s in viewer._sortable] == sortable, cls
            # Every eye opens something, in every order of the gallery.
            for name, show in eyes.items():
                for chosen in range(1 + len(viewer._sortable) * (name == 'showGallery')):
                    if chosen:
                        viewer.sortBy.set(chosen)
                    views = show(name)
                    assert len(views) == 1, (cls, name)
                    if isinstance(views[0], FigureView) and not chosen:
                        path = self.getOutputPath(f'{cls.__name__}_{name}.png')
                        views[0].save(path)
                        assert os.path.getsize(path) > 5000
            # Before it has run, there is a sentence and no eye.
            empty = cls(project=self.proj, protocol=run)
            empty.setProtocol(self.make(run.getClassName()))
            assert empty._getVisualizeDict() == {}
            assert empty.getParam('nothing') is not None

    def test_what_a_run_takes_is_said_before_it_starts(self):
        particles = (self.particles, 'outputParticles')
        denoising = self.another_denoising()
        assert denoising.summary()[1:] == [f'The result, {self.count} images of {self.box} px, takes 1 MB of the disk.']
        training = self.make('CryoEMGANProtTrain', {'inputParticles': particles}, minutes=3.0, approach=GUIDED)
        assert 'takes 3 minutes, 1.5 for each of 2 fold models, and up to a quarter' in training.summary()[1]
        training.iterations.set(100)
        training.minutes.set(None)
        assert 'as soon as it has begun' in training.summary()[1]
        with mock.patch('shutil.disk_usage', return_value=SimpleNamespace(free=1000)):
            assert 'the disk of this project has' in ' '.join(denoising.validate())
        with open(self.training.getStdoutLog(), encoding='utf-8') as log:
            said = log.read()
        with open(self.training.getStderrLog(), encoding='utf-8') as log:
            assert 'of the 48 pairs in memory' in said + log.read()
