"""The four protocols, headless, on tiny data, through real Scipion runs."""

import os

import numpy as np
import pytest

from cryoemgan.objects import DenoiserModel
from cryoemgan.tests.workflow import ProjectTest

pytestmark = pytest.mark.workflow


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
        )

    def test_references(self):
        self.assertSetSize(self.references.outputReferences, self.count)
        assert 'CTF in the references: none' in self.references.summary()[0]

    def test_model(self):
        model = self.training.outputModel
        assert (model.getBox(), model.getPixelSize()) == (self.box, 6.0)
        assert not os.path.isabs(model.getFolder())
        assert os.path.exists(os.path.join(model.getFolder(), 'card.json'))
        assert any('kept out of training' in line for line in self.training.summary())
        again = DenoiserModel.fromFolder(model.getFolder())
        assert str(again) == str(model)

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

    def test_evaluation_names_both_sets(self):
        lines = self.evaluation.summary()
        assert any(line.startswith('raw: MSE') for line in lines), lines
        assert any(line.startswith('denoised: MSE') for line in lines), lines

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

    def test_pictures_without_display(self):
        from cryoemgan import viewers

        for cls, run, names in (
            (viewers.TrainViewer, self.training, ('showCurves', 'showGallery')),
            (viewers.ProjectViewer, self.references, ('showGallery',)),
            (viewers.DenoiseViewer, self.denoising, ('showGallery',)),
            (viewers.EvaluateViewer, self.evaluation, ('showGallery', 'showMetrics', 'showFrc')),
        ):
            viewer = cls(project=self.proj, protocol=run)
            viewer.setProtocol(run)
            for name in names:
                views = viewer._getVisualizeDict()[name](name)
                assert len(views) == 1, (cls, name)
                path = self.getOutputPath(f'{cls.__name__}_{name}.png')
                views[0].save(path)
                assert os.path.getsize(path) > 5000
        assert views[0].pages == 1
