"""The guided network through real Scipion runs, with the form's own values wherever they can stay."""

import json
import os

import numpy as np

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.protocols.train_form import GUIDED
from cryoemgan.tests.workflow import ProjectTest, slow


@slow
class TestGuided(ProjectTest):
    """project -> train (network: guided) -> denoise -> audit."""

    def test_form_trains_denoises_and_audits(self):
        references = self.project_references()
        pairs = {
            'inputParticles': (self.particles, 'outputParticles'),
            'inputReferences': (references, 'outputReferences'),
        }
        training = self.run_protocol(
            'CryoEMGANProtTrain', pairs, approach=GUIDED, iterations=4, batchSize=8,
            evaluations=1, bankSize=100, numberOfThreads=1,
        )  # fmt: skip
        model = {'inputModel': (training, 'outputModel')}
        with open(os.path.join(training.getModelDir(), 'card.json'), encoding='utf-8') as f:
            card = json.load(f)
        # Cross-fitted without being asked, and the bank is of the map, not of the references.
        assert len(card['members']) == 2
        assert all(m['guide']['templates'] == 100 for m in card['members'])
        particles = {'inputParticles': pairs['inputParticles']}
        denoising = self.run_protocol('CryoEMGANProtDenoise', {**particles, **model}, numberOfThreads=1)
        evidence = [p._cryoemganEvidence.get() for p in denoising.outputParticles]
        table = ParticleTable.read(denoising.getRunDir('denoised.star'))
        np.testing.assert_allclose(sorted(evidence), sorted(table.floats('cryoemganEvidence')), rtol=1e-4, atol=1e-3)
        assert np.median(evidence) > 0
        spread = [p._cryoemganAngleSpread.get() for p in denoising.outputParticles]
        np.testing.assert_allclose(sorted(spread), sorted(table.floats('cryoemganAngleSpread')), rtol=1e-4)
        assert any('median angle to the refinement' in line for line in denoising.summary())
        self.check_fit(denoising, table.floats('cryoemganFit'))
        self.check_selection(denoising, references, table)
        audit = self.run_protocol('CryoEMGANProtAudit', {**pairs, **model}, numberOfThreads=1)
        assert os.path.getsize(audit.getPage()) > 10_000

    def check_fit(self, denoising, fit):
        """Whether particles belong to the map: an attribute of each, a sentence of the summary, a picture."""
        from cryoemgan.viewers import DenoiseViewer

        found = [p._cryoemganFit.get() for p in denoising.outputParticles]
        np.testing.assert_allclose(sorted(found), sorted(fit), atol=1e-5)
        told = [line for line in denoising.summary() if '(cryoemganFit) below 0.05' in line]
        assert f'{int((fit < 0.05).sum())} of {len(fit)} particles' in told[0]
        viewer = DenoiseViewer(project=self.proj, protocol=denoising)
        viewer.setProtocol(denoising)
        path = self.getOutputPath('fit.png')
        viewer._getVisualizeDict()['showFit']('showFit')[0].save(path)
        assert os.path.getsize(path) > 5000

    def check_selection(self, denoising, references, table):
        """Kept and rejected originals are those that the scores say, with the scores as attributes."""
        from cryoemgan.viewers import SelectViewer

        inputs = {
            'inputParticles': (denoising, 'outputParticles'),
            'inputOriginals': (self.particles, 'outputParticles'),
            'inputReferences': (references, 'outputReferences'),
        }
        run = self.run_protocol(
            'CryoEMGANProtSelect', inputs, useReferences=True, fit='25%', correlation='-1', denoised=True,
            numberOfThreads=1,
        )  # fmt: skip
        fit = dict(zip(table.ints('rlnImageId').tolist(), table.floats('cryoemganFit')))
        limit = run.readSummary()['limits'][0]['limit']
        originals = {i.getObjId(): i.getLocation() for i in self.particles.outputParticles}
        for part, worse in ((run.outputParticles, False), (run.outputRejected, True)):
            assert {i.getObjId() for i in part} == {k for k, v in fit.items() if (v < limit) == worse}
            for item in part:
                assert item.getLocation() == originals[item.getObjId()]
                assert abs(item._cryoemganFit.get() - fit[item.getObjId()]) < 1e-5
        assert run.outputParticles.getSize() + run.outputRejected.getSize() == len(fit)
        assert run.outputDenoised.getSize() == run.outputParticles.getSize()
        assert run.outputDenoised.getFirstItem().getFileName().endswith('denoised.mrcs')
        viewer = SelectViewer(project=self.proj, protocol=run)
        viewer.setProtocol(run)
        path = self.getOutputPath('selection.png')
        viewer._getVisualizeDict()['showHistograms']('showHistograms')[0].save(path)
        assert os.path.getsize(path) > 5000
        swapped = {'inputParticles': inputs['inputOriginals'], 'inputOriginals': inputs['inputOriginals']}
        assert 'are the same set' in ' '.join(self.make('CryoEMGANProtSelect', swapped).validate())
        missing = self.make('CryoEMGANProtSelect', inputs, correlation='0.1').validate()
        assert not missing, missing
