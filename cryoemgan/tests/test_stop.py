"""Stop is SIGKILL: nothing may go on in secret, and Continue goes on from the last checkpoint."""

import os
import signal
import subprocess
import time

from cryoemgan.figures.style import read_columns
from cryoemgan.tests.workflow import ProjectTest, slow

WAIT = 240


def wait_for(condition, what):
    """Wait until ``condition()`` is true; the test fails after WAIT seconds."""
    end = time.time() + WAIT
    while not condition():
        assert time.time() < end, f'waited in vain for {what}'
        time.sleep(0.2)


def engines(folder):
    """Process ids of engines of this project that write into ``folder``; other projects have folders of that name."""
    found = subprocess.run(
        ['pgrep', '-f', f'cryoemgan.engine train .*{folder}'], capture_output=True, text=True, check=False
    )
    return [int(p) for p in found.stdout.split() if _works_here(p)]


def _works_here(process):
    try:
        return os.readlink(f'/proc/{process}/cwd') == os.getcwd()
    except FileNotFoundError:
        return False


@slow
class TestStop(ProjectTest):
    """A training that is killed in the middle."""

    real_starts = True
    count, box = 40, 32
    iterations = 60

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.references = cls.project_references()

    def start_training(self):
        protocol = self.make(
            'CryoEMGANProtTrain',
            {
                'inputParticles': (self.particles, 'outputParticles'),
                'inputReferences': (self.references, 'outputReferences'),
            },
            iterations=self.iterations,
            batchSize=8,
            evaluations=30,
            crossFit=1,
            numberOfThreads=1,
        )
        self.proj.launchProtocol(protocol, wait=False)
        self.metrics = protocol.getRunDir('metrics.csv')
        wait_for(lambda: len(self.iterations_done()) >= 3, 'three evaluations')
        return protocol

    def iterations_done(self):
        return list(read_columns(self.metrics)['iteration']) if os.path.exists(self.metrics) else []

    def test_stop_and_continue(self):
        protocol = self.start_training()
        self.proj.stopProtocol(protocol)
        wait_for(lambda: not engines(protocol.getRunDir()), 'the engine to end')
        done = self.iterations_done()
        assert done
        assert done[-1] < self.iterations, 'training was too fast to be stopped'
        protocol = self.proj.getProtocol(protocol.getObjId())
        protocol.runMode.set(0)
        self.launchProtocol(protocol)
        assert protocol.isFinished()
        after = self.iterations_done()
        assert after[-1] == self.iterations
        # The checkpoint belongs to an evaluation before the kill; nothing was started anew.
        assert after[:2] == done[:2]
        with open(protocol.getStdoutLog() if hasattr(protocol, 'getStdoutLog') else protocol.getLogPaths()[0]) as f:
            assert '--resume' in f.read()
        assert protocol.outputModel.getBox() == self.box

    def test_engine_ends_with_its_protocol(self):
        """The protocol's own process dies (out of memory): the engine does not stay behind as an orphan."""
        protocol = self.start_training()
        engine = engines(protocol.getRunDir())[-1]
        with open(f'/proc/{engine}/environ', 'rb') as f:
            parent = next(int(v.split(b'=')[1]) for v in f.read().split(b'\0') if v.startswith(b'CRYOEMGAN_PARENT='))
        os.kill(parent, signal.SIGKILL)
        wait_for(lambda: not engines(protocol.getRunDir()), 'the orphan to end')
        assert self.iterations_done()[-1] < self.iterations, 'training was too fast to be stopped'
