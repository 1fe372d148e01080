"""What RELION's importer leaves in a set of its optics groups, and names of other letters, reach the engine."""

import numpy as np
import pytest
from pwem.objects import Coordinate, SetOfParticles

from cryoemgan import convert, results
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.tests import data


@pytest.fixture
def particles(tmp_path):
    """24 particles with projection alignment, CTF, coordinates and half sets."""
    return data.make_particles(tmp_path, count=24, with_ctf=True)


OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMagMat00 #6
_rlnMagMat01 #7
_rlnMagMat10 #8
_rlnMagMat11 #9
_rlnCtfDataAreCtfPremultiplied #10
opticsGroup1 1 300.0 2.7 0.1 1.02 0.0 0.0 0.98 {premultiplied}
"""
SECOND = 'opticsGroup2 2 300.0 2.7 {contrast} 1.02 0.0 0.0 0.98 {premultiplied}\n'


def with_optics(particles, *groups, premultiplied=0):
    """The set as RELION's importer leaves it: optics groups as text, no number in the items."""
    text = OPTICS + ''.join(SECOND.format(contrast=c, premultiplied=premultiplied) for c in groups)
    particles.getAcquisition().opticsGroupInfo.set(text.format(premultiplied=premultiplied))
    return particles


@pytest.mark.parametrize('premultiplied', [0, 1])
def test_the_importers_optics_group_reaches_the_engine(particles, tmp_path, premultiplied):
    convert.write_particles(with_optics(particles, premultiplied=premultiplied), tmp_path / 'p.star')
    table = ParticleTable.read(tmp_path / 'p.star')
    np.testing.assert_allclose(table.magnification(), np.broadcast_to(np.diag([1.02, 0.98]), (24, 2, 2)))
    assert table.ctf_state == ('premultiplied' if premultiplied else 'unknown')
    assert convert.state_of(particles) == ('premultiplied' if premultiplied else 'full')


def test_optics_groups_that_nobody_can_assign(particles, tmp_path):
    """Contrast 0.1 for some, 0.9 for others: a guess would be wrong for half of the particles."""
    with pytest.raises(InputError, match='2 optics groups, which differ in _rlnAmplitudeContrast'):
        convert.write_particles(with_optics(particles, 0.9), tmp_path / 'p.star')
    # Groups by beam position alone are one group to an image.
    convert.write_particles(with_optics(particles, 0.1), tmp_path / 'p.star')
    assert set(ParticleTable.read(tmp_path / 'p.star').ctf()['amplitude_contrast']) == {0.1}


def test_phase_flipped_sets(particles, tmp_path):
    particles.setIsPhaseFlipped(True)
    convert.write_particles(particles, tmp_path / 'p.star')
    assert ParticleTable.read(tmp_path / 'p.star').ctf_state == 'phase-flip'


def test_corrected_images_of_premultiplied_particles_do_not_claim_it(particles, tmp_path):
    particles = with_optics(particles, premultiplied=1)
    output = SetOfParticles(filename=str(tmp_path / 'out.sqlite'))
    output.copyInfo(particles)
    results._state_ctf(output, particles, 'none')
    assert not convert.is_premultiplied(output)
    assert convert.is_premultiplied(particles)
    np.testing.assert_array_equal(convert.optics_of(output)['rlnMagMat00'], ['1.02'])


@pytest.mark.parametrize('name', ['mic é.mrc', 'it\'s "b" c.mrc', 'data_1.mrc', '#1.mrc', 'x:mrcs'])
def test_names_of_micrographs_come_back(particles, tmp_path, name, monkeypatch):
    monkeypatch.setattr(Coordinate, 'getMicName', lambda self: name)
    convert.write_particles(particles, tmp_path / 'p.star')
    assert set(ParticleTable.read(tmp_path / 'p.star').strings('rlnMicrographName')) == {name}


def test_a_project_in_a_folder_with_other_letters(tmp_path):
    folder = tmp_path / 'josé µ "x" it\'s'
    folder.mkdir()
    particles = data.make_particles(folder, count=6, with_ctf=True)
    convert.write_particles(particles, folder / 'p.star')
    table = ParticleTable.read(folder / 'p.star')
    assert len(table.images()) == 6
    table.derive('q.mrcs').write(folder / 'q.star')
    assert ParticleTable.read(folder / 'q.star').names() == table.names()


def test_how_images_came_about_is_read_beside_their_stack(tmp_path):
    """The block alone is read, which is no table of particles."""
    particles = data.make_particles(tmp_path, count=2)
    assert convert.provenance_of(particles) == {}
    table = tmp_path / 'particles.star'
    convert.write_particles(particles, table)
    table.write_text(table.read_text() + '\ndata_cryoemgan\n\n_cryoemganVerb project\n_cryoemganCtf none\n')
    assert convert.provenance_of(particles) == {'verb': 'project', 'ctf': 'none'}
