"""Denoising and filtering while particles arrive: the same particles, images and scores as of a closed set."""

import os
import time

import mrcfile
import numpy as np
from pwem.protocols import ProtCreateStreamData, ProtImportParticles
from pyworkflow.object import Set
from pyworkflow.protocol import getProtocolFromDb

from cryoemgan.convert import write_particles
from cryoemgan.engine.__main__ import run as engine
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_json
from cryoemgan.engine.settings import Filter
from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest, slow

WAIT = 240


def has_output(run):
    """Whether a run has given its first particles."""
    return hasattr(run, 'outputParticles')


@slow
class TestStreaming(ProjectTest):
    """A training, and particles that arrive for its model."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        references = cls.project_references()
        cls.training = cls.run_protocol(
            'CryoEMGANProtTrain',
            {
                'inputParticles': (cls.particles, 'outputParticles'),
                'inputReferences': (references, 'outputReferences'),
            },
            iterations=6,
            batchSize=8,
            evaluations=2,
            numberOfThreads=1,
        )

    def wait_for(self, condition, run):
        """Until a condition on a run, as its own database has it, holds; the test fails with its log otherwise."""
        end = time.time() + WAIT
        while True:
            # Project._updateProtocol takes a run that ends within a second of its last look for dead.
            now = getProtocolFromDb(self.proj.path, run.getDbPath(), run.getObjId())
            reached, failed = condition(now), now.isFailed()
            now.getProject().closeMapper()
            if reached:
                return
            if failed or time.time() > end:
                with open(run.getStdoutLog(), encoding='utf-8') as f:
                    raise AssertionError(f.read()[-6000:])
            time.sleep(0.5)

    def finished(self, run):
        """A run that was started, when it has ended well."""
        self.wait_for(lambda now: now.isFinished(), run)
        self.proj._updateProtocol(run)
        return run

    def denoising(self, source, **values):
        return self.make(
            'CryoEMGANProtDenoise',
            {'inputParticles': (source, 'outputParticles'), 'inputModel': (self.training, 'outputModel')},
            numberOfThreads=1,
            **values,
        )

    def content(self, particles):
        """{id: (image, scores)} of a set."""
        found = {}
        for item in particles.iterItems():
            index, path = item.getLocation()
            with mrcfile.mmap(path, permissive=True) as mrc:
                image = np.array(mrc.data[index - 1])
            scores = {k: v.get() for k, v in item.getAttributes() if k.startswith(('_cryoemgan', '_rln'))}
            found[item.getObjId()] = image, scores
        return found

    def check_equal(self, one, other, tolerance):
        """Two sets hold the same particles, images, scores and poses."""
        a, b = self.content(one), self.content(other)
        assert list(a) == list(b)
        scale = np.std([image for image, _ in a.values()])
        for i, (image, scores) in a.items():
            assert np.abs(image - b[i][0]).max() <= tolerance * scale, i
            assert set(scores) == set(b[i][1])
            for name, value in scores.items():
                if isinstance(value, float):
                    assert abs(value - b[i][1][name]) <= 100 * tolerance * max(1, abs(value)), (i, name)
                else:
                    assert value == b[i][1][name]
        assert one.getSize() == other.getSize() == len(a)
        assert (one.hasCTF(), one.getAlignment(), one.getSamplingRate()) == (
            other.hasCTF(), other.getAlignment(), other.getSamplingRate())  # fmt: skip

    def check_batches(self, run, least):
        """A finished streaming run: several batches, a closed output, one table and one summary of all."""
        batches = read_json(run.getRunDir('summary.json'))['batches']
        assert batches >= least
        assert run.outputParticles.isStreamClosed()
        summary = run.readSummary()
        assert summary['particles'] == run.outputParticles.getSize()
        table = ParticleTable.read(run.getRunDir('denoised.star'))
        assert len(table) == summary['particles']
        assert not any('Not finished' in line for line in run.summary())
        first = run.outputParticles.getFirstItem()
        row = table.ints('rlnImageId').tolist().index(first.getObjId())
        index, path = first.getLocation()
        assert np.array_equal(table.images().read([row])[0], mrcfile.mmap(path, permissive=True).data[index - 1])

    def test_simulated(self):
        """Scipion's own simulation of streaming makes the particles."""
        source = self.make(
            ProtCreateStreamData,
            {'inputParticles': (self.particles, 'outputParticles')},
            setof=3, nDim=48, groups=16, creationInterval=8,
        )  # fmt: skip
        self.proj.launchProtocol(source)
        self.wait_for(has_output, source)
        self.proj._updateProtocol(source)
        run = self.denoising(source, streamingBatchSize=16)
        assert run.validate() == []
        self.proj.launchProtocol(run)
        self.wait_for(lambda now: has_output(now) and now.outputParticles.isStreamOpen(), run)
        self.finished(source)
        self.check_batches(self.finished(run), 2)
        static = self.denoising(source)
        self.proj.launchProtocol(static, wait=True)
        assert 'batches' not in static.readSummary()
        self.check_equal(run.outputParticles, static.outputParticles, 1e-5)
        assert run.summary()[1:] == static.summary()[1:]

    def open_source(self, count):
        """An import whose set is open and holds its first particles; the others come by `more`."""
        source = self.run_protocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
            sqliteFile=self.particles.sqliteFile.get(),
            samplingRate=data.PIXEL,
        )
        particles = source.outputParticles
        self.later = [item.clone() for item in particles.iterItems()]
        particles.clear()
        particles.setStreamState(Set.STREAM_OPEN)
        self.more(particles, count, Set.STREAM_OPEN)
        source._store(particles)
        return source

    def more(self, particles, count, state):
        """Append the next particles to a set, as a protocol that makes them does."""
        particles.enableAppend()
        for item in self.later[:count]:
            particles.append(item)
        del self.later[:count]
        particles.setStreamState(state)
        particles.write()
        particles.close()

    def test_killed_and_continued(self):
        """Stop is SIGKILL; after it no particle is there twice, none is lost, and what was done is not done again."""
        source = self.open_source(16)
        run = self.denoising(source, streamingBatchSize=12)
        self.proj.launchProtocol(run)
        self.wait_for(has_output, run)
        self.more(source.outputParticles, 20, Set.STREAM_OPEN)
        self.wait_for(lambda now: os.path.exists(run._batch_path(2, 'run', 'settings.json')), run)
        self.proj.stopProtocol(run)
        first = os.stat(run._batch_path(1, 'run', 'denoised.mrcs')).st_mtime_ns
        # As if it had been killed between the commit of a batch and the end of its step.
        os.remove(run.getStepsFile())
        self.more(source.outputParticles, 12, Set.STREAM_CLOSED)
        source._store(source.outputParticles)
        run = self.proj.getProtocol(run.getObjId())
        self.proj.launchProtocol(run, wait=True)
        self.check_batches(self.finished(run), 3)
        assert os.stat(run._batch_path(1, 'run', 'denoised.mrcs')).st_mtime_ns == first
        static = self.denoising(source)
        self.proj.launchProtocol(static, wait=True)
        self.check_equal(run.outputParticles, static.outputParticles, 1e-5)
        self.damage_and_continue(run, 3)
        self.check_equal(run.outputParticles, static.outputParticles, 1e-5)
        # Other settings: nothing of the old batches stays.
        run.cut.set('none')
        self.proj.launchProtocol(run, wait=True)
        assert not os.path.isdir(run._batch_path())
        assert run.outputParticles.getSize() == self.count
        assert run.readSummary()['resolution_cut'] is None

    def damage_and_continue(self, run, number):
        """A batch whose files are not what its run wrote is refused at the end, and made again by Continue."""
        stack, first = (run._batch_path(n, 'run', 'denoised.mrcs') for n in (number, 1))
        before, kept = os.stat(stack).st_size, os.stat(first).st_mtime_ns
        os.truncate(stack, before // 2)
        with self.assertRaisesRegex(RuntimeError, f'batch {number} are missing, damaged'):
            run.closeOutputStep('', '')
        self.proj.launchProtocol(run, wait=True)
        self.check_batches(self.finished(run), 3)
        assert os.stat(stack).st_size == before
        assert os.stat(first).st_mtime_ns == kept

    def test_filter(self):
        """Later batches are filtered by what was learnt from the first, which waits until it can learn."""
        # Empty yet.
        source = self.open_source(0)
        values = {'method': 4, 'numberOfThreads': 1, 'learnFrom': 20, 'streamingBatchSize': 4}
        run = self.make('CryoEMGANProtFilter', {'inputParticles': (source, 'outputParticles')}, **values)
        assert run.validate() == []
        self.proj.launchProtocol(run)
        self.wait_for(lambda now: now.isRunning(), run)
        self.more(source.outputParticles, 28, Set.STREAM_OPEN)
        self.wait_for(has_output, run)
        assert len(ParticleTable.read(run._batch_path(1, 'particles.star'))) == 28
        self.more(source.outputParticles, 20, Set.STREAM_CLOSED)
        source._store(source.outputParticles)
        self.check_batches(self.finished(run), 2)
        learnt = run._batch_path(1, 'run', 'learnt.npz')
        write_particles(source.outputParticles, self.getOutputPath('all.star'))
        settings = Filter(
            output=self.getOutputPath('whole'), particles=self.getOutputPath('all.star'), method='wiener', learnt=learnt
        )
        engine('filter', settings)
        whole = ParticleTable.read(self.getOutputPath('whole/denoised.star')).images()
        for k, (image, _) in enumerate(self.content(run.outputParticles).values()):
            np.testing.assert_allclose(image, whole.read([k])[0], atol=1e-5)
