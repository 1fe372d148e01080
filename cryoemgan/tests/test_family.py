"""Every member of the family trains through the form: its steps, with the engine called in this process."""

import math
import os
import shlex
from unittest import mock

from pwem.protocols import ProtImportParticles

from cryoemgan.engine import networks
from cryoemgan.engine.__main__ import main
from cryoemgan.engine.settings.networks import NETWORKS
from cryoemgan.figures.style import read_columns
from cryoemgan.objects import read_card
from cryoemgan.protocols.form import camel
from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest, slow

BETA, WGAN = {'gan': 'beta', 'p': 1}, {'gan': 'wgan-gp', 'p': 1}
# Table 4 of the paper.
PAIRS = ((1, 1), (0.5, 0.5), (-0.5, -0.5), (-1, -1), (1, -1), (0.5, -0.5), (0, 0), (0.1, -0.1))
MEMBERS = [
    *({'preset': name} for name in ('recommended', 'paper', 'authors')),
    *({'network': name} for name in NETWORKS if name != 'guided'),
    *({'gan': 'none', 'p': p} for p in (1, 2)),
    *({**BETA, 'alpha': a, 'beta': b} for a, b in PAIRS),
    {**BETA, 'alpha': 0.0, 'beta': 0.0, 'reconstruction_weight': 0.0},
    {**BETA, 'network': 'pggan'},
    {**WGAN, 'critic_scale': 'box'},
    {**WGAN, 'critic_scale': 'literal', 'gradient_penalty': 10.0},
    {**WGAN, 'critic_scale': 'literal', 'reconstruction_weight': 200.0},
    {**WGAN, 'network': 'paper128'},
    {**WGAN, 'network': 'plain'},
    {**WGAN, 'network': 'pggan'},
    {**WGAN, 'network': 'pggan', 'reconstruction_weight': 0.0},
    *({'contaminate': what, 'contaminate_fraction': 0.3} for what in ('references', 'particles', 'both')),
    {'fresh_fraction': 0.5},
    {'fresh_fraction': 0.5, 'noise': True},
]


@slow
class TestFamily(ProjectTest):
    """Particles and their noise-free images, 32 px."""

    count, box = 16, 32

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.references = cls.imported('clean', noise=0.0)
        cls.noise = cls.imported('noise', noise=200.0)

    @classmethod
    def imported(cls, name, **options):
        folder = cls.getOutputPath(name)
        os.makedirs(folder, exist_ok=True)
        data.make_particles(folder, cls.count, cls.box, **options).close()
        return cls.run_protocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
            sqliteFile=f'{folder}/particles.sqlite',
            samplingRate=data.PIXEL,
        )

    def setUp(self):
        """Narrow networks: the full ones are built and counted in the engine's tests, and write gigabytes here."""
        options = networks.options

        def narrow(name, gan):
            found = options(name, gan)
            return {**found, 'width': min(found['width'], 8)} if 'width' in found else found

        patch = mock.patch.object(networks, 'options', narrow)
        patch.start()
        self.addCleanup(patch.stop)

    def form(self, noise=False, **values):
        """The training form, filled in with a member."""
        pointers = {
            'inputParticles': (self.particles, 'outputParticles'),
            'inputReferences': (self.references, 'outputParticles'),
        }
        if noise:
            pointers['inputNoiseParticles'] = (self.noise, 'outputParticles')
        protocol = self.make('CryoEMGANProtTrain', pointers, numberOfThreads=1, haveNoise=noise)
        short = {'cross_fit': 'none', 'iterations': 1, 'evaluations': 1, 'batch_size': 4, 'validation_fraction': 0.25}
        for name, value in {**short, **values}.items():
            param = protocol.getParam(camel(name))
            choices = getattr(param, 'choices', None)
            getattr(protocol, camel(name)).set(choices.index(value) if choices else value)
        return protocol

    def train(self, protocol):
        """The protocol's steps."""
        self.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        status = []
        protocol.runJob = lambda program, arguments, **_: status.append(main(shlex.split(arguments)))
        for step in (protocol.convertInputStep, protocol.runEngineStep, protocol.createOutputStep):
            step(protocol._digest())
        assert status == [0]

    def test_every_member_trains(self):
        for member in MEMBERS:
            with self.subTest(**member):
                protocol = self.form(**member)
                assert protocol.validate() == []
                self.train(protocol)
                settings = read_card(protocol.getModelDir())['settings']
                asked = {k: v for k, v in member.items() if k != 'noise'}
                assert {k: settings[k] for k in asked} == asked
                assert bool(settings['noise_particles']) == ('noise' in member)
                assert protocol.outputModel.getNetwork() == settings['network']
                metrics = read_columns(protocol.getRunDir('metrics.csv'))
                # A network that starts linear is measured before its first step, too.
                assert metrics['iteration'][-1] == 1
                assert all(math.isfinite(metrics[k][-1]) for k in ('mse', 'psnr', 'ssim', 'reconstruction'))
                adversary = settings['gan'] != 'none'
                assert adversary == ('d_fake' in metrics and math.isfinite(metrics['d_fake'][-1]))

    def test_noise_without_fresh_pairs_is_refused_in_the_form(self):
        assert any('are used for fresh pairs only' in e for e in self.form(noise=True).validate())
