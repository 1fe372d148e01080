"""Filter, simulate, cluster, back to the originals, 3D classes and half maps: real Scipion runs on tiny data."""

import os
from types import SimpleNamespace

import mrcfile
import numpy as np
import pyworkflow as pw
from pwem.objects import SetOfClasses3D, SetOfParticles, Volume
from pwem.protocols import EMProtocol, ProtImportParticles, ProtImportVolumes

from cryoemgan import viewers
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest, slow


class MakeClasses(EMProtocol):
    """Stands for a 3D classification: odd ids to class 2, the others to class 5, each with a map."""

    def _insertAllSteps(self):
        """Nothing to run."""

    def make(self, pointer, maps):
        """Define outputClasses of the particles; maps {class: path}."""
        classes = self._createSetOfClasses3D(pointer)

        def update(item, _):
            item.setClassId(2 if item.getObjId() % 4 == 3 else 5)

        def describe(group):
            group.setAlignmentProj()
            volume = Volume()
            volume.setFileName(maps[group.getObjId()])
            volume.setSamplingRate(data.PIXEL)
            group.setRepresentative(volume)

        classes.classifyItems(updateItemCallback=update, updateClassCallback=describe)
        self._defineOutputs(outputClasses=classes)
        return classes


def images(particles):
    """{id: image} of a set."""
    found = {}
    for item in particles.iterItems():
        index, path = item.getLocation()
        with mrcfile.mmap(path, permissive=True) as mrc:
            found[item.getObjId()] = np.array(mrc.data[index - 1])
    return found


@slow
class TestMaps(ProjectTest):
    """References of half maps and of 3D classes."""

    count = 24

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.one = cls.getOutputPath('map.mrc')
        with mrcfile.open(cls.one) as mrc:
            turned = np.ascontiguousarray(mrc.data[:, ::-1, ::-1])
        cls.other = data.write_stack(cls.getOutputPath('other.mrc'), turned)
        with mrcfile.open(cls.other, 'r+') as mrc:
            mrc.set_volume()
        cls.turned = cls.run_protocol(ProtImportVolumes, filesPath=cls.other, samplingRate=data.PIXEL)
        cls.of_one = cls.project_references()
        cls.of_other = cls.project_references_of(cls.turned)

    @classmethod
    def project_references_of(cls, volume, **values):
        return cls.run_protocol(
            'CryoEMGANProtProject',
            {'inputParticles': (cls.particles, 'outputParticles'), 'inputVolume': (volume, 'outputVolume')},
            **{'ctf': 0, 'numberOfThreads': 1, **values},
        )

    def assert_mixed(self, references, from_other):
        """Each image is that of a run with its own map alone; from_other(item id)."""
        found, one, other = (images(p.outputReferences) for p in (references, self.of_one, self.of_other))
        assert found.keys() == one.keys()
        for i, image in found.items():
            own, wrong = (other[i], one[i]) if from_other(i) else (one[i], other[i])
            assert np.abs(image - own).max() < 0.05 * own.std()
            assert np.abs(image - wrong).max() > 0.5 * own.std()

    def test_two_half_maps(self):
        run = self.run_protocol(
            'CryoEMGANProtProject',
            {
                'inputParticles': (self.particles, 'outputParticles'),
                'inputVolume': (self.map, 'outputVolume'),
                'inputHalf1': (self.map, 'outputVolume'),
                'inputHalf2': (self.turned, 'outputVolume'),
            },
            halfMaps=1,
            ctf=0,
            lowpass=12.5,
            numberOfThreads=1,
        )
        half = {i.getObjId(): i.getAttributeValue('_rlnRandomSubset') for i in self.particles.outputParticles}
        self.assert_mixed(run, lambda i: half[i] == 2)
        assert 'From half maps: 12 and 12 particles' in ' '.join(run.summary())
        assert 'half map of its own half set' in run._methods()[0]

    def test_half_maps_of_the_map_are_used_by_themselves(self):
        volume = self.map.outputVolume
        protocol = self.make(
            'CryoEMGANProtProject',
            {'inputParticles': (self.particles, 'outputParticles'), 'inputVolume': (self.map, 'outputVolume')},
            ctf=0,
        )
        assert protocol._half_maps() == []
        volume.setHalfMaps([self.one, self.other])
        try:
            protocol.inputVolume.get().setHalfMaps([self.one, self.other])
            assert set(protocol._maps()) == {'volume.mrc', 'half1.mrc', 'half2.mrc'}
            assert not any('No low-pass' in w for w in protocol._warnings())
            protocol.halfMaps.set(2)
            assert set(protocol._maps()) == {'volume.mrc'}
        finally:
            volume.setHalfMaps([])

    def test_each_particle_from_the_map_of_its_class(self):
        maker = self.newProtocol(MakeClasses)
        self.proj.saveProtocol(maker)
        pointer = self.make(
            'CryoEMGANProtDenoise', {'inputParticles': (self.particles, 'outputParticles')}
        ).inputParticles
        os.makedirs(maker._getPath(), exist_ok=True)
        maker.make(pointer, {2: self.other, 5: self.one})
        maker.setFinished()
        self.proj._storeProtocol(maker)
        assert isinstance(maker.outputClasses, SetOfClasses3D)
        run = self.run_protocol(
            'CryoEMGANProtProject', {'inputClasses': (maker, 'outputClasses')}, inputFrom=1, ctf=0, numberOfThreads=1
        )
        self.assertSetSize(run.outputReferences, self.count)
        self.assert_mixed(run, lambda i: i % 4 == 3)
        assert run.outputReferences.hasAlignmentProj()
        assert 'map of its class' in ' '.join(run.summary())

    def test_correlation_goes_with_every_reference(self):
        truth = ParticleTable.read(self.of_one.getRunDir('references.star')).floats('cryoemganCorrelation')
        found = [i.getAttributeValue('_cryoemganCorrelation') for i in self.of_one.outputReferences]
        np.testing.assert_allclose(found, truth, atol=1e-6)
        # Scipion sorts by it.
        first = next(self.of_one.outputReferences.iterItems(orderBy='_cryoemganCorrelation'))
        assert abs(first.getAttributeValue('_cryoemganCorrelation') - truth.min()) < 1e-6


@slow
class TestSimulation(ProjectTest):
    """simulate -> filter -> cluster -> originals."""

    count = 4

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.simulation = cls.run_protocol(
            'CryoEMGANProtSimulate',
            phantomStates=2,
            **{'count': 30, 'box': 32, 'snr': 2.0, 'pixelSize': 6.0, 'perturbAngles': 1.0, 'numberOfThreads': 1},
        )
        cls.filtered = cls.run_protocol(
            'CryoEMGANProtFilter', {'inputParticles': (cls.simulation, 'outputParticles')}, method=4, numberOfThreads=1
        )
        cls.clusters = cls.run_protocol(
            'CryoEMGANProtCluster',
            {
                'inputParticles': (cls.filtered, 'outputParticles'),
                'inputOriginals': (cls.simulation, 'outputParticles'),
            },
            clusters='2',
            haveOriginals=True,
            numberOfThreads=1,
        )

    def test_simulated_sets(self):
        run = self.simulation
        for name in ('outputParticles', 'outputClean', 'outputRefined'):
            self.assertSetSize(getattr(run, name), 60)
            assert not os.path.isabs(getattr(run, name).getFirstItem().getFileName())
        assert run.outputVolumes.getSize() == 3
        noisy, clean = images(run.outputParticles), images(run.outputClean)
        noise = np.stack([noisy[i] - clean[i] for i in noisy])
        signal = np.stack(list(clean.values()))
        assert abs(signal.var() / noise.var() - 2) < 0.3
        assert {i.getClassId() for i in run.outputParticles} == {1, 2}
        assert run.outputParticles.hasAlignmentProj()

    def test_simulation_of_a_map(self):
        run = self.run_protocol(
            'CryoEMGANProtSimulate',
            {'inputVolumes': [(self.map, 'outputVolume')]},
            **{'source': 2, 'count': 5, 'box': 32, 'numberOfThreads': 1},
        )
        self.assertSetSize(run.outputParticles, 5)
        assert abs(run.outputParticles.getSamplingRate() - 6) < 1e-6

    def test_filtered_set(self):
        clean, noisy, found = (
            images(s)
            for s in (self.simulation.outputClean, self.simulation.outputParticles, self.filtered.outputParticles)
        )
        before, after = (np.mean([((s[i] - clean[i]) ** 2).mean() for i in clean]) for s in (noisy, found))
        assert after < 0.8 * before
        assert self.filtered.outputParticles.hasAlignmentProj()
        assert self.filtered._citations() == []

    def test_classes_hold_the_originals(self):
        classes = self.clusters.outputClasses
        assert classes.getSize() == 2
        originals = {i.getObjId(): i.getLocation() for i in self.simulation.outputParticles}
        held = {i.getObjId(): i.getLocation() for i in classes.iterClassItems()}
        assert held == originals
        for group in classes.iterItems():
            assert os.path.exists(group.getRepresentative().getFileName())
            assert group.getRepresentative().getIndex() in (1, 2)
        assert next(classes.iterClassItems()).hasAttribute('_cryoemganEmbedding1')

    def test_back_to_the_originals(self):
        few = self.subset(self.filtered.outputParticles, 'few', lambda k: k % 3 == 1)
        run = self.run_protocol(
            'CryoEMGANProtOriginals',
            {'inputSelection': (few, 'outputParticles'), 'inputParticles': (self.simulation, 'outputParticles')},
        )
        truth = {i.getObjId(): i.getLocation() for k, i in enumerate(self.simulation.outputParticles) if k % 3 == 1}
        assert {i.getObjId(): i.getLocation() for i in run.outputParticles} == truth
        assert f'{len(truth)} of 60' in run.summary()[0]

    def test_originals_of_classes(self):
        run = self.run_protocol(
            'CryoEMGANProtOriginals',
            {'inputSelection': (self.clusters, 'outputClasses'), 'inputParticles': (self.simulation, 'outputRefined')},
        )
        self.assertSetSize(run.outputParticles, 60)

    def test_other_particles_with_the_same_ids_are_refused(self):
        stranger = self.imported('stranger', first_id=1, count=60)
        errors = self.make(
            'CryoEMGANProtOriginals',
            {'inputSelection': (self.filtered, 'outputParticles'), 'inputParticles': (stranger, 'outputParticles')},
        ).validate()
        assert 'select the set that was denoised' in ' '.join(errors)

    def imported(self, name, **options):
        folder = self.getOutputPath(name)
        os.makedirs(folder, exist_ok=True)
        data.make_particles(folder, **options).close()
        return self.run_protocol(
            ProtImportParticles, importFrom=4, sqliteFile=f'{folder}/particles.sqlite', samplingRate=data.PIXEL
        )

    def subset(self, particles, name, chosen):
        """A run whose output is a part of a set, as Scipion's subset protocol makes it."""
        path = self.getOutputPath(f'{name}.sqlite')
        pw.utils.cleanPath(path)
        part = SetOfParticles(filename=path)
        part.copyInfo(particles)
        for k, item in enumerate(particles.iterItems()):
            if chosen(k):
                part.append(item)
        part.write()
        part.close()
        return self.run_protocol(
            ProtImportParticles, importFrom=4, sqliteFile=path, samplingRate=particles.getSamplingRate()
        )

    def test_pictures_without_display(self):
        for cls, run, names in (
            (viewers.ClusterViewer, self.clusters, ('showEmbedding', 'showAverages')),
            (viewers.DenoiseViewer, self.filtered, ('showGallery',)),
        ):
            viewer = cls(project=self.proj, protocol=run)
            viewer.setProtocol(run)
            for name in names:
                view = viewer._getVisualizeDict()[name](name)[0]
                path = self.getOutputPath(f'{cls.__name__}_{name}.png')
                view.save(path)
                assert os.path.getsize(path) > 3000

    def test_a_click_shows_the_particle(self):
        viewer = viewers.ClusterViewer(project=self.proj, protocol=self.clusters)
        viewer.setProtocol(self.clusters)
        view = viewer._getVisualizeDict()['showEmbedding']('showEmbedding')[0]
        figure = view.figure()
        figure.canvas.draw()
        axes, picture = figure.axes
        point = axes.transData.transform(axes.lines[0].get_xydata()[:1])[0]
        assert not view._clicked(SimpleNamespace(inaxes=picture, x=0, y=0))
        assert view._clicked(SimpleNamespace(inaxes=axes, x=point[0], y=point[1]))
        assert 'particle' in picture.get_title()
        assert picture.images[0].get_array().shape == (32, 32)
