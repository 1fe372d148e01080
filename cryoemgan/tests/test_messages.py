"""Wrong input in the forms, in a real project: messages before any work."""

import os
import re
import unittest

from pwem.objects import SetOfParticles, Volume
from pwem.protocols import ProtImportParticles, ProtImportVolumes

from cryoemgan import protocols
from cryoemgan.protocols.train_form import GUIDED
from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest

ALL = [getattr(protocols, name) for name in protocols.__all__]


class TestMessages(ProjectTest):
    """Wrong input in the forms: an early, clear message."""

    count = 12

    def errors_of(self, which, pointers, **values):
        return ' '.join(self.make(which, pointers, **values).validate())

    def imported(self, name, **options):
        folder = self.getOutputPath(name)
        os.makedirs(folder, exist_ok=True)
        data.make_particles(folder, **{'count': 6, **options}).close()
        return self.run_protocol(
            ProtImportParticles, importFrom=4, sqliteFile=f'{folder}/particles.sqlite', samplingRate=data.PIXEL
        )

    def project_errors(self, particles, volume, **values):
        return self.errors_of(
            'CryoEMGANProtProject',
            {'inputParticles': (particles, 'outputParticles'), 'inputVolume': (volume, 'outputVolume')},
            **values,
        )

    def test_nothing_wrong(self):
        assert self.project_errors(self.particles, self.map, ctf=0) == ''

    def test_particles_without_angles(self):
        unaligned = self.imported('unaligned', aligned=False)
        assert 'no projection angles' in self.project_errors(unaligned, self.map, ctf=0)

    def test_particles_with_2d_alignment(self):
        two = self.imported('two', aligned=True)
        particles = two.outputParticles
        particles.setAlignment2D()
        particles.write()
        two._store(particles)
        assert '2D alignment only' in self.project_errors(two, self.map, ctf=0)

    def test_map_of_another_pixel_size(self):
        wrong = self.run_protocol(ProtImportVolumes, filesPath=self.getOutputPath('map.mrc'), samplingRate=60.0)
        assert 'pixel size is wrong' in self.project_errors(self.particles, wrong, ctf=0)

    def test_ctf_that_particles_do_not_have(self):
        assert 'have no CTF' in self.project_errors(self.particles, self.map, ctf=2)

    def test_pairs_that_share_no_particle(self):
        other = self.imported('other', count=3)
        particles = other.outputParticles
        assert isinstance(particles, SetOfParticles)
        # Ids of the small set are 11, 13, 15; those of a set without them start later.
        far = self.imported('far', count=3, first_id=5001)
        errors = self.errors_of(
            'CryoEMGANProtTrain',
            {'inputParticles': (other, 'outputParticles'), 'inputReferences': (far, 'outputParticles')},
        )
        assert 'no particle in common' in errors

    def test_particles_as_their_own_references(self):
        errors = self.errors_of(
            'CryoEMGANProtTrain',
            {
                'inputParticles': (self.particles, 'outputParticles'),
                'inputReferences': (self.particles, 'outputParticles'),
            },
        )
        assert 'learn to copy' in errors

    def test_references_that_do_not_say_what_they_hold_of_the_ctf(self):
        """A guided network must know it: told in the form, not after the run has begun."""
        inputs = {
            'inputParticles': (self.particles, 'outputParticles'),
            'inputReferences': (self.imported('silent', count=12, with_ctf=True), 'outputParticles'),
        }
        assert 'hold of the CTF' in self.errors_of('CryoEMGANProtTrain', inputs, approach=GUIDED)
        assert self.errors_of('CryoEMGANProtTrain', inputs) == ''

    def test_empty_inputs(self):
        # A simulation of the phantom needs no input.
        for cls in (c for c in ALL if c is not protocols.CryoEMGANProtSimulate):
            assert 'EMPTY' in self.errors_of(cls.__name__, {}) or 'is empty' in self.errors_of(cls.__name__, {})

    def test_folder_that_is_no_model(self):
        errors = self.errors_of(
            'CryoEMGANProtDenoise',
            {'inputParticles': (self.particles, 'outputParticles')},
            modelFrom=1,
            modelFolder=self.getOutputPath(),
        )
        assert 'not a model folder' in errors

    def test_model_for_other_particles(self):
        folder = self.getOutputPath('model')
        os.makedirs(folder, exist_ok=True)
        with open(f'{folder}/card.json', 'w') as f:
            f.write('{"network": "residual", "box": 32, "pixel_size": 12.0, "ctf": "none"}')
        errors = self.errors_of(
            'CryoEMGANProtDenoise',
            {'inputParticles': (self.particles, 'outputParticles')},
            modelFrom=1,
            modelFolder=folder,
        )
        assert '384 Å wide' in errors
        assert '192 Å' in errors

    def test_engine_message_reaches_the_user(self):
        """Found by the engine, not by the form: a stack that is gone."""
        broken = self.imported('broken')
        os.remove(self.getOutputPath('broken/particles.mrcs'))
        protocol = self.make(
            'CryoEMGANProtProject',
            {'inputParticles': (broken, 'outputParticles'), 'inputVolume': (self.map, 'outputVolume')},
            ctf=0,
        )
        self.proj.launchProtocol(protocol, wait=True)
        assert protocol.isFailed()
        assert 'particles.mrcs' in protocol.getErrorMessage()
        assert 'returned non-zero' not in protocol.getErrorMessage()

    def test_warnings(self):
        project = self.make(
            'CryoEMGANProtProject',
            {'inputParticles': (self.particles, 'outputParticles'), 'inputVolume': (self.map, 'outputVolume')},
            ctf=1,
        )
        text = ' '.join(project._warnings())
        assert 'the references would as "phase-flip"' in text
        assert 'No low-pass' in text
        assert isinstance(self.map.outputVolume, Volume)


class TestSentences(unittest.TestCase):
    """What the engine says, without a project."""

    def test_sentences_of_the_engine_name_fields_and_kinds_of_network(self):
        """Summaries and errors, of a shell's options."""
        train, denoise = protocols.CryoEMGANProtTrain(), protocols.CryoEMGANProtDenoise()
        assert train._said('One guided by the map (--network guided) shows more') == 'One guided by the map shows more'
        assert denoise._said('with --network guided') == 'with a network guided by the map'
        assert train._said('--minutes 0.5 is less') == '"Training time" 0.5 is less'
        summary = {'wall_seconds': 60.0, 'advice': 'take --network guided', 'warnings': ['--minutes 1 is little']}
        train.readSummary = lambda: summary
        assert not re.search('--[a-z]', ' '.join(train._summary()))
