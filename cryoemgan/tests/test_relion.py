"""What a RELION user has, through the importer of scipion-em-relion."""

from importlib.util import find_spec

from pwem.protocols import ProtImportParticles, ProtImportVolumes

from cryoemgan.tests.workflow import ProjectTest, shared_data, slow


@slow
class TestRelionRefinement(ProjectTest):
    """run_data.star and the refined map."""

    count = 4

    def setUp(self):
        if find_spec('relion') is None:
            self.skipTest('no scipion-em-relion')
        self.data = shared_data() / 'relion_refined'

    def test_references_agree_with_the_particles(self):
        particles = self.run_protocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_RELION,
            starFile=str(self.data / 'run_data.star'),
            samplingRate=4.5,
        )
        volume = self.run_protocol(ProtImportVolumes, filesPath=str(self.data / 'run_class001.mrc'), samplingRate=4.5)
        run = self.run_protocol(
            'CryoEMGANProtProject',
            {'inputParticles': (particles, 'outputParticles'), 'inputVolume': (volume, 'outputVolume')},
            ctf=2,
            lowpass=11.1,
            numberOfThreads=1,
        )
        found = run.readSummary()['correlation']
        # SNR 0.1: a perfect reference correlates with the raw image by 0.30.
        assert found['raw_mean'] > 0.25, found
        assert found['mean'] > 2 * found['shuffled_mean'], found
        self.assertSetSize(run.outputReferences, 1500)
        assert run.outputReferences.hasCTF()
