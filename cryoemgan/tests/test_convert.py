"""The door: what is written is what RELION says, and what comes back belongs to the right particle."""

import gemmi
import mrcfile
import numpy as np
import pytest
from pwem.emlib.image import ImageHandler
from pwem.objects import Acquisition, Particle, SetOfParticles

from cryoemgan import convert, results
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import euler_to_matrix
from cryoemgan.table_import import read_particles
from cryoemgan.tests import data


@pytest.fixture
def particles(tmp_path):
    """24 particles with projection alignment, CTF, coordinates and half sets."""
    return data.make_particles(tmp_path, count=24, with_ctf=True)


def column(path, label):
    """A column of the particles' table as RELION wrote it."""
    block = next(b for b in gemmi.cif.read(str(path)) if b.find_loop('_rlnImageName'))
    return list(block.find_loop('_' + label))


def imported_by_relion_plugin(star, folder):
    """SetOfParticles read by scipion-em-relion, the converter of other authors."""
    convert31 = pytest.importorskip('relion.convert.convert31')
    particles = SetOfParticles(filename=str(folder / 'imported.sqlite'))
    convert31.Reader().readSetOfParticles(str(star), particles, alignType='Projection', extraLabels=['rlnRandomSubset'])
    particles.write()
    return particles


def relative_angles(a, b):
    """Angle in degrees between orientations given as (rot, tilt, psi) arrays."""
    ra, rb = euler_to_matrix(*a), euler_to_matrix(*b)
    trace = np.einsum('nij,nij->n', ra, rb)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def astigmatic(path):
    """Defocus at 0, 45 and 90 degrees, A."""
    u, v, angle = (np.array(column(path, f'rlnDefocus{x}'), float) for x in ('U', 'V', 'Angle'))
    return [(u + v) / 2 + (u - v) / 2 * np.cos(2 * np.radians(a - angle)) for a in (0, 45, 90)]


def test_our_table_says_what_relion_said(shared_data, tmp_path, monkeypatch):
    """RELION's table -> the importer of scipion-em-relion -> our table: the numbers of RELION again."""
    truth = shared_data / 'relion_refined' / 'run_data.star'
    imported = imported_by_relion_plugin(truth, tmp_path)
    written = tmp_path / 'ours.star'
    (tmp_path / 'particles.mrcs').symlink_to(shared_data / 'relion_refined' / 'particles.mrcs')
    # Names in the set are relative to the project, the working directory.
    monkeypatch.chdir(tmp_path)
    assert convert.write_particles(imported, written) == 1500
    angles = ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi')
    theirs, ours = ([np.array(column(p, a), float) for a in angles] for p in (truth, written))
    assert relative_angles(theirs, ours).max() < 1e-3
    # Away from the poles the angles themselves are RELION's.
    for a, b in zip(theirs, ours):
        assert np.abs((a - b + 180) % 360 - 180).max() < 1e-2
    # Scipion orders U >= V and turns the angle with them: the same defocus in every direction.
    for a, b in zip(astigmatic(truth), astigmatic(written)):
        assert np.abs(a - b).max() < 0.01
    for label in (
        'rlnOriginXAngst',
        'rlnOriginYAngst',
        'rlnPhaseShift',
        'rlnCoordinateX',
        'rlnCoordinateY',
        'rlnRandomSubset',
    ):
        # Scipion's coordinates are whole pixels.
        tolerance = 1.0 if 'Coordinate' in label else 2e-5
        difference = np.abs(np.array(column(truth, label), float) - np.array(column(written, label), float))
        assert difference.max() <= tolerance, label
    table = ParticleTable.read(written)
    assert (table.pixel_size, table.box) == (4.5, 64)
    assert set(table.ctf()['voltage']) == {300.0}
    assert set(table.ctf()['cs']) == {2.7}
    assert set(table.half_sets()) == {1, 2}


def test_wrong_conventions_would_show(particles, tmp_path):
    """The comparison above can fail: the matrix itself instead of its inverse is tens of degrees off."""
    path = tmp_path / 'p.star'
    convert.write_particles(particles, path)
    table = ParticleTable.read(path)
    matrices = np.array([i.getTransform().getMatrix() for i in particles.iterItems()])
    right = np.linalg.inv(matrices)
    assert np.abs(table.rotations() - right[:, :3, :3]).max() < 1e-6
    assert np.abs(table.shifts() + right[:, :2, 3]).max() < 1e-5
    assert np.abs(table.rotations() - matrices[:, :3, :3]).max() > 0.5


def test_identity_and_columns(particles, tmp_path):
    path = tmp_path / 'p.star'
    assert convert.write_particles(particles, path) == 24
    table = ParticleTable.read(path)
    assert list(table.ints('rlnImageId')) == list(range(11, 59, 2))
    assert table.strings('rlnMicrographName')[0] == 'mic 0.mrc'
    assert list(table.half_sets()[:4]) == [1, 2, 1, 2]
    assert table.pixel_size == data.PIXEL
    assert table.ctf()['defocus_v'][3] == 12020


def test_disabled_items_are_left_out(particles, tmp_path):
    for item in [i.clone() for i in particles.iterItems()]:
        if item.getObjId() in (13, 19):
            item.setEnabled(False)
            particles.update(item)
    particles.write()
    path = tmp_path / 'p.star'
    assert convert.write_particles(particles, path) == 22
    assert not {13, 19} & set(ParticleTable.read(path).ints('rlnImageId'))


def test_path_with_blanks(tmp_path):
    folder = tmp_path / "a lab's data"
    folder.mkdir()
    particles = data.make_particles(folder, count=3)
    path = tmp_path / 'p.star'
    convert.write_particles(particles, path)
    assert ParticleTable.read(path).images().read([2]).shape == (1, 32, 32)


def test_several_microscopes_become_optics_groups(particles, tmp_path):
    for item in [i.clone() for i in particles.iterItems()]:
        if item.getObjId() > 30:
            item.getAcquisition().setVoltage(200.0)
            particles.update(item)
    particles.write()
    path = tmp_path / 'p.star'
    convert.write_particles(particles, path)
    table = ParticleTable.read(path)
    assert dict(zip(table.ints('rlnImageId'), table.ctf()['voltage'])) == {
        i: 200.0 if i > 30 else 300.0 for i in range(11, 59, 2)
    }


def write_result(particles, folder, order, pixel=data.PIXEL, box=32, ctf='full'):
    """A verb's result table in any order; the image of particle i holds the constant i."""
    source = folder / 'in.star'
    convert.write_particles(particles, source)
    table = ParticleTable.read(source).derive('result.mrcs', box=box, pixel_size=pixel, rows=order)
    ids = table.ints('rlnImageId')
    data.write_stack(str(folder / 'result.mrcs'), ids[:, None, None] * np.ones((1, box, box)), pixel)
    table.set_provenance(ctf=ctf)
    table.write(folder / 'result.star')
    return results.Result(folder / 'result.star')


def values_of(output):
    """{particle id: grey value of its image}, read as Scipion reads it."""
    handler = ImageHandler()
    return {i.getObjId(): float(handler.read(i.getLocation()).getData().mean()) for i in output.iterItems()}


def test_results_are_matched_by_id_not_by_position(particles, tmp_path):
    order = np.random.default_rng(1).permutation(24)
    result = write_result(particles, tmp_path, order)
    output = SetOfParticles(filename=str(tmp_path / 'out.sqlite'))
    assert results.fill_particles(output, particles, result) == 0
    output.write()
    assert output.getSize() == 24
    assert all(value == i for i, value in values_of(output).items())
    for a, b in zip(particles.iterItems(), [o.clone() for o in output.iterItems()]):
        assert a.getObjId() == b.getObjId()
        assert np.array_equal(a.getTransform().getMatrix(), b.getTransform().getMatrix())
        assert a.getCTF().getDefocusU() == b.getCTF().getDefocusU()
        assert a.getCoordinate().getPosition() == b.getCoordinate().getPosition()
        assert a._rlnRandomSubset.get() == b._rlnRandomSubset.get()
    assert output.hasAlignmentProj()
    assert output.hasCTF()


def test_particles_without_result_are_counted_and_left_out(particles, tmp_path):
    result = write_result(particles, tmp_path, [5, 2, 9])
    output = SetOfParticles(filename=str(tmp_path / 'out.sqlite'))
    assert results.fill_particles(output, particles, result) == 21
    assert values_of(output) == {15: 15.0, 21: 21.0, 29: 29.0}


def test_resampled_result_has_its_pixel_size_and_shifts(particles, tmp_path):
    result = write_result(particles, tmp_path, np.arange(24), pixel=2 * data.PIXEL, box=16)
    output = SetOfParticles(filename=str(tmp_path / 'out.sqlite'))
    results.fill_particles(output, particles, result)
    assert output.getSamplingRate() == 2 * data.PIXEL
    assert output.getXDim() == 16
    before, after = (
        np.array([i.getTransform().getMatrix().copy() for i in s.iterItems()]) for s in (particles, output)
    )
    assert np.allclose(after[:, :3, 3], before[:, :3, 3] / 2)
    assert np.array_equal(after[:, :3, :3], before[:, :3, :3])


def test_images_without_ctf_do_not_claim_one(particles, tmp_path):
    result = write_result(particles, tmp_path, np.arange(24), ctf='none')
    output = SetOfParticles(filename=str(tmp_path / 'out.sqlite'))
    results.fill_particles(output, particles, result, ctf=result.ctf)
    assert not output.hasCTF()
    assert output.isPhaseFlipped()
    assert not any(i.hasCTF() for i in output.iterItems())
    # The input still has its own.
    assert particles.getFirstItem().getCTF().getDefocusU() == 12000


def test_a_repeated_id_is_an_error(particles, tmp_path):
    write_result(particles, tmp_path, np.arange(24))
    table = ParticleTable.read(tmp_path / 'result.star')
    ids = table.ints('rlnImageId')
    ids[3] = ids[4]
    table.set('rlnImageId', ids)
    table.write(tmp_path / 'result.star')
    with pytest.raises(InputError, match='two rows'):
        results.Result(tmp_path / 'result.star')


def test_table_to_set_and_back(particles, tmp_path):
    """read_particles is the inverse of write_particles."""
    first, second = tmp_path / 'a.star', tmp_path / 'b.star'
    convert.write_particles(particles, first)
    again = SetOfParticles(filename=str(tmp_path / 'again.sqlite'))
    read_particles(first, again)
    again.write()
    convert.write_particles(again, second)
    a, b = ParticleTable.read(first), ParticleTable.read(second)
    assert a.names() == b.names()
    assert np.abs(a.rotations() - b.rotations()).max() < 1e-6
    assert np.abs(a.shifts() - b.shifts()).max() < 1e-5
    assert np.array_equal(a.ctf()['defocus_u'], b.ctf()['defocus_u'])


def test_stacks_written_by_the_engine_read_upright_in_scipion(tmp_path):
    """Row order: xmippLib, which Scipion reads with, and mrcfile agree."""
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 1, 5] = 1
    path = data.write_stack(str(tmp_path / 's.mrcs'), image)
    assert np.array_equal(ImageHandler().read((1, path)).getData(), image[0])
    with mrcfile.open(path) as mrc:
        assert np.array_equal(np.squeeze(mrc.data), image[0])


@pytest.mark.parametrize('ending', ['stk', 'spi', 'mrc:mrcs'])
def test_stacks_of_other_formats_are_converted(tmp_path, ending):
    """A stack as pwem's ImageHandler writes it: the engine reads the same images under their own identity."""
    images = np.random.default_rng(3).normal(size=(5, 24, 24)).astype(np.float32)
    stack = str(tmp_path / 's.mrcs')
    data.write_stack(stack, images, 2.0)
    foreign = str(tmp_path / 'particles.') + ending
    handler = ImageHandler()
    for number in range(1, 6):
        handler.convert((number, stack), (number, foreign))
    particles = SetOfParticles(filename=str(tmp_path / 'p.sqlite'))
    particles.setSamplingRate(2.0)
    for number in (4, 2, 5):
        item = Particle()
        item.setLocation(number, foreign)
        item.setSamplingRate(2.0)
        item.setAcquisition(Acquisition(voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1))
        particles.append(item)
    particles.setAcquisition(item.getAcquisition())
    particles.write()
    (tmp_path / 'run').mkdir()
    convert.write_particles(particles, tmp_path / 'run' / 'p.star')
    table = ParticleTable.read(tmp_path / 'run' / 'p.star')
    np.testing.assert_allclose(table.images().read([0, 1, 2]), images[[3, 1, 4]], atol=1e-6)
    assert table.names() == [f'{n}@{foreign.removesuffix(":mrcs")}' for n in (4, 2, 5)]


@pytest.mark.parametrize('value', [None, float('nan')])
def test_an_unknown_defocus_is_refused_by_its_row(particles, tmp_path, value):
    """NULL in the database of an object, which is what becomes of NaN there, too, was a TypeError."""
    changed = SetOfParticles(filename=str(tmp_path / 'changed.sqlite'))
    changed.copyInfo(particles)
    for number, item in enumerate(particles.iterItems()):
        item = item.clone()
        if number == 2:
            item.getCTF()._defocusU.set(value)
        changed.append(item)
    changed.write()
    convert.write_particles(changed, tmp_path / 'p.star')
    with pytest.raises(InputError, match="_rlnDefocusU.*row 3.*'none' is not a number"):
        ParticleTable.read(tmp_path / 'p.star').ctf()
