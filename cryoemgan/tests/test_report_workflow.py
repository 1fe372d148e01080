"""The whole road through Scipion: one protocol, its sets, its models and its page."""

import json
import os

from cryoemgan.tests.workflow import ProjectTest, slow
from cryoemgan.viewers import ReportViewer


@slow
class TestReport(ProjectTest):
    """denoise and sort"""

    count = 40

    def test_from_refinement_to_sorted_sets(self):
        options = self.getOutputPath('options.json')
        with open(options, 'w', encoding='utf-8') as f:
            json.dump({'bank_size': 100, 'iterations': 2, 'evaluations': 1}, f)
        inputs = {'inputParticles': (self.particles, 'outputParticles'), 'inputVolume': (self.map, 'outputVolume')}
        run = self.run_protocol('CryoEMGANProtReport', inputs, trainSettings=options, limit='20%', numberOfThreads=1)
        originals = {i.getObjId(): i.getLocation() for i in self.particles.outputParticles}
        kept, rejected = run.outputParticles, run.outputRejected
        assert kept.getSize() == 32
        assert rejected.getSize() == 8
        assert {i.getObjId(): i.getLocation() for part in (kept, rejected) for i in part} == originals
        least, most = (f(i._cryoemganFit.get() for i in part) for f, part in ((min, kept), (max, rejected)))
        assert most < least
        assert kept.getFirstItem().hasAttribute('_cryoemganCorrelation')
        assert run.outputDenoised.getSize() == self.count
        assert run.outputModel.getNetwork() == 'guided'
        assert run.outputModelTrained.getNetwork() != 'guided'
        assert run.summary()[0].split(':')[0] in ('GREEN', 'YELLOW', 'RED')
        viewer = ReportViewer(project=self.proj, protocol=run)
        viewer.setProtocol(run)
        shown = viewer._getVisualizeDict()
        assert os.path.getsize(shown['showPage']('showPage')[0].path) > 50_000
        assert run.outputAverages.getSamplingRate() == self.particles.outputParticles.getSamplingRate()
        shown['showAverages']('showAverages')[0].save(self.getOutputPath('averages.png'))
        shown['showCurves']('showCurves')[0].save(self.getOutputPath('curves.png'))
