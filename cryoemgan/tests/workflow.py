"""What the workflow tests share: a project, a small import, and runs that must finish."""

import os
from pathlib import Path
from unittest import SkipTest

import pyworkflow as pw
from pwem.protocols import ProtImportParticles, ProtImportVolumes
from pyworkflow.tests import BaseTest, setupTestProject

from cryoemgan.tests import data
from cryoemgan.tests.forked import forked_runs

try:
    import pytest

    slow = pytest.mark.slow
except ImportError:
    # Scipion's own runner of tests needs no pytest.
    def slow(cls):
        return cls


def shared_data():
    """Folder of real maps and RELION's images beside the repository; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2].parent / 'shared' / 'data'
    folder = Path(os.environ.get('CRYOEMGAN_SHARED_DATA', beside))
    if not folder.is_dir():
        raise SkipTest('no shared data on this machine')
    return folder


class ProjectTest(BaseTest):
    """A Scipion project with particles (outputParticles of cls.particles) and a map (outputVolume of cls.map)."""

    count, box, noise = 48, 32, 1.0
    # Whether protocols and engines are started as a user's are.
    real_starts = False

    @classmethod
    def setUpClass(cls):
        if not cls.real_starts:
            patch = forked_runs()
            patch.start()
            cls.addClassCleanup(patch.stop)
        setupTestProject(cls)
        # Also gives protocols their plugin.
        cls.protocols = pw.Config.getDomain().getProtocols()
        folder = cls.getOutputPath()
        pw.utils.makePath(folder)
        data.make_particles(folder, cls.count, cls.box, cls.noise).close()
        data.write_map(f'{folder}/map.mrc', cls.box)
        cls.particles = cls.run_protocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
            sqliteFile=f'{folder}/particles.sqlite',
            samplingRate=data.PIXEL,
        )
        cls.map = cls.run_protocol(ProtImportVolumes, filesPath=f'{folder}/map.mrc', samplingRate=data.PIXEL)

    @classmethod
    def make(cls, which, pointers=(), **values):
        """A saved protocol; pointers {parameter: (protocol, output)}."""
        protocol = cls.newProtocol(cls.protocols[which] if isinstance(which, str) else which, **values)
        for name, target in dict(pointers).items():
            attribute = getattr(protocol, name)
            if isinstance(target, list):
                for owner, output in target:
                    attribute.append(pw.object.Pointer(owner, extended=output))
            else:
                attribute.set(target[0])
                attribute.setExtended(target[1])
        return protocol

    @classmethod
    def run_protocol(cls, which, pointers=(), label=None, **values):
        """A finished protocol; the test fails with the log otherwise."""
        protocol = cls.make(which, pointers, **values)
        if label:
            protocol.setObjLabel(label)
        cls.proj.launchProtocol(protocol, wait=True)
        if not protocol.isFinished():
            # Its folder is gone when the tests end.
            log = Path(protocol.getStderrLog())
            said = log.read_text()[-9000:] if log.exists() else 'no log was written'
            raise AssertionError(f'{protocol.getRunName()}: {protocol.getErrorMessage()} {said}')
        return protocol

    @classmethod
    def project_references(cls, **values):
        """A finished "project references" of the particles and the map."""
        return cls.run_protocol(
            'CryoEMGANProtProject',
            {'inputParticles': (cls.particles, 'outputParticles'), 'inputVolume': (cls.map, 'outputVolume')},
            **{'ctf': 0, 'numberOfThreads': 1, **values},
        )
