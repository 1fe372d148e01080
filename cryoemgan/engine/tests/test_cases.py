"""Small inputs as laboratories have them: each is read right, or refused or warned of in words (EXPECT beside it)."""

import re

import mrcfile
import numpy as np
import pytest

from ..__main__ import main
from ..data.table import ParticleTable
from .bench_of_cases import RIGHT, Bench, correlations


def sides(tasks):
    """[(training rows, other rows)] of every fold model."""
    everything = np.arange(len(tasks[0].pairs))
    return [(t.training, np.setdiff1d(everything, t.training)) for t in tasks]


# What each case must do. Most are read as if nothing were odd:
def reads(b):
    b.right()


def a10(b):
    b.said('>') if b.project()[0] else b.right()


def duplicates(b):
    output = b.project()[2]
    inputs, said = b.pairs(b.star, output / 'references.star', cross_fit='folds')
    assert re.search(r'15\b.*(twice|several|more than once|copies)', said), said
    names = np.array(inputs.pairs.particles.strings('rlnImageName'))[inputs.pairs.rows]
    assert len(set(names)) == 40
    for mine, others in sides(inputs.tasks):
        assert not set(names[mine]) & set(names[others])


def other_folder(b):
    a, other = b.case / 'a' / 'p.star', b.case / 'b' / 'p.star'
    references = b.right(a) / 'references.star'
    status, said, _ = b.run('evaluate', '--particles', other, '--references', references)
    assert status == 2
    assert re.search('share no particle|other images|different', said), said


def utf8_folder(b):
    folder = next(p for p in b.case.iterdir() if p.is_dir())
    output = b.folder / 'résultat'
    status = main(['project', '--particles', str(folder / 'p.star'), '--volume', str(folder / 'carte_é.mrc'),
                   '--output', str(output), '--threads', '1'])  # fmt: skip
    assert status == 0
    references = output / 'references.star'
    assert correlations(mrcfile.read(output / 'references.mrcs'), b.truth(16)).min() > RIGHT
    # A table that names its stack by a path with such letters is read again.
    ParticleTable.read(references).subset(np.arange(8)).write(b.folder / 'few.star')
    assert len(ParticleTable.read(b.folder / 'few.star').images()) == 8
    inputs, _ = b.pairs(folder / 'p.star', references)
    assert len(inputs.pairs) == 16
    status, said, found = b.run('originals', '--particles', references, '--source', folder / 'p.star')
    assert status == 0, said
    assert len(ParticleTable.read(found / 'originals.star')) == 16


def zero_rows(b):
    b.refused('no particles')


def cistem(b):
    b.refused('cisTEM')


def hash_first(b):
    status, said, output = b.project()
    if status == 0 and len(mrcfile.read(output / 'references.mrcs')) < 40:
        assert '4' in said
    else:
        b.right()


def unquoted(b):
    b.refused('row 1 ', '16 values for 15 labels', 'quotes')


def index_zero(b):
    b.refused('start at 1', 'one too low')


def half_sets_up_to_4(b):
    status, said, output = b.project(b.star, b.base / 'map.mrc')
    if status == 0:
        _, said = b.pairs(b.star, output / 'references.star')
    assert re.search(r'half set|random subset', said, re.IGNORECASE), said
    assert re.search(r'\b(3|4)\b', said), said


def helical(b):
    output = b.right()
    inputs, said = b.pairs(b.star, output / 'references.star', cross_fit='folds')
    table = inputs.pairs.particles
    tube = np.array([f'{m}:{t}' for m, t in zip(table.strings('rlnMicrographName'), table.ints('rlnHelicalTubeID'))])
    tube = tube[inputs.pairs.rows]
    for mine, others in sides(inputs.tasks):
        assert not set(tube[mine]) & set(tube[others])
    assert re.search('filament|helical|tube', said), said


def expanded(b):
    for star in ('p.star', 'ids.star'):
        output = b.project(b.case / star, b.case / 'map.mrc')[2]
        particles = ParticleTable.read(b.case / star)
        found = mrcfile.read(output / 'references.mrcs')
        assert correlations(found[::2], found[1::2]).min() > 0.99
        inputs, said = b.pairs(b.case / star, output / 'references.star')
        assert len(inputs.pairs) == len(particles)
        assert re.search('several|twice|copies|more than once', said), said
        names = np.array(particles.strings('rlnImageName'))[inputs.pairs.rows]
        for mine, others in sides(inputs.tasks):
            assert not set(names[mine]) & set(names[others])


def reextracted(b):
    references = b.project(b.case / 'old.star')[2] / 'references.star'
    status, said, _ = b.run('evaluate', '--particles', b.case / 'new.star', '--references', references)
    # The stack was overwritten in another order: the particles are known by where they lie, not by their names.
    assert status == 0, said
    assert float(re.search(r'^new .*', said, re.MULTILINE)[0].split()[4]) > 0.5
    inputs, said = b.pairs(b.case / 'new.star', references, force=True)
    p = inputs.pairs
    x = p.particles.floats('rlnCoordinateX')[p.rows]
    np.testing.assert_array_equal(x, p.references.floats('rlnCoordinateX')[p.reference_rows])
    assert len(x) == 24


def magnification(b):
    # The matrix stands the other way round than RELION (relion_reconstruct) takes it: it is applied, and said.
    b.said('inverse of the magnification matrix')


def ctf_state(state):
    def check(b):
        status, said, output = b.project()
        assert status == 0, said
        table = ParticleTable.read(output / 'references.star')
        assert table.provenance['ctf'] == state
        noisy = mrcfile.read(b.case / 'p.mrcs')
        wrong = b.project(without_state(b))[2]
        mine, other = (correlations(mrcfile.read(o / 'references.mrcs'), noisy).mean() for o in (output, wrong))
        assert mine > other + 0.005, (mine, other)

    return check


def without_state(b):
    text = re.sub(r'_rlnCtfDataAre\w+', '_rlnUnknownColumn', b.star.read_text())
    path = b.folder / 'plain.star'
    path.write_text(text.replace('@p.mrcs', f'@{b.case}/p.mrcs').replace('@_base', f'@{b.base}'))
    return path


def beam_tilt(b):
    b.said('beam tilt', 'deg|°')


def other_formats(b):
    for name, word in (('p.csv', 'csv|STAR'), ('p.par', 'cisTEM|Frealign|par'), ('p.xmd', 'Xmipp'), ('p.lst', 'EMAN')):
        b.refused(word, star=b.case / name)
    b.refused('cryoSPARC', star=b.case / 'p.cs') if b.project(b.case / 'p.cs')[0] else None
    b.refused('json|STAR', star=b.case / 'p.json')


# Columns whose numbers cannot be, and pairs that do not belong together:
def no_ctf_left(b):
    output = b.project(None, None, '--ctf', 'none')[2]
    inputs, _ = b.pairs(b.star, output / 'references.star')
    assert len(inputs.pairs) == 40


def misfit(*words):
    return lambda b: b.said(*words)


def maps_of(*words):
    """Every map of the case is named so, with the good table."""

    def check(b):
        for volume in sorted(b.case.glob('*.mrc')):
            b.said(*words, star=b.good, volume=volume)

    return check


def right_maps(b):
    for volume in sorted(b.case.glob('*.mrc')):
        b.right(b.good, volume)


def either(words):
    def check(b):
        for volume in sorted(b.case.glob('*.mrc')):
            if b.project(b.good, volume)[0]:
                b.refused(words, star=b.good, volume=volume)
            else:
                b.right(b.good, volume)

    return check


def formats(b):
    for path in sorted(b.case.iterdir()):
        if path.suffix in ('.gz', '.hdf', '.img', '.spi', '.stk') and path.name != 'p.mrcs.gz':
            status, said, _ = b.project(b.good, path)
            if status:
                assert status == 2
                assert re.search('Spider|Imagic|HDF|EMAN|gz|compressed|format', said, re.IGNORECASE), said


def huge(b):
    status, said, output = b.project()
    assert status in (0, 2), said
    assert said
    if status == 0:
        assert np.isfinite(mrcfile.read(output / 'references.mrcs')).all()


CASES = {
    'A10_gt': a10, 'A13_duplicates': duplicates, 'A13_same_name_other_folder': other_folder, 'A14_001': reads,
    'A14_float_optics': reads, 'A16_optics_pairs': reads, 'A18_zero_rows': zero_rows, 'A1_folder_utf8': utf8_folder,
    'A1_mic_utf8': reads, 'A20_cistem': cistem, 'A2_bom': reads, 'A3_data': reads, 'A3_hash': reads,
    'A3_hash_first': hash_first, 'A3_underscore': reads, 'A4_space_unquoted': unquoted, 'A8_single_files': reads,
    'A9_zero': index_zero, 'B10_upto4': half_sets_up_to_4, 'B12_helical': helical, 'B13_expanded': expanded,
    'B14_reextracted': reextracted, 'B1_premultiplied': ctf_state('premultiplied'), 'B2_corrected_noctf': no_ctf_left,
    'B2_flipped_column': ctf_state('phase-flip'), 'B3_phase_lost': misfit('phase shift|no cause|do not fit'),
    'B4_beamtilt_column': beam_tilt, 'B4_magmat': magnification, 'B5_nominal_mag_det': misfit('pixel size'),
    'B6_angst_holds_px': misfit('shift'), 'B6_px_other_binning': misfit('shift'),
    'B9_contrast_10': misfit('contrast'), 'B9_contrast_neg': lambda b: b.said(''),
    'B9_defocus_um': misfit('defocus'), 'B9_voltage_0': misfit('voltage'), 'C10_213': either('axes|axis'),
    'C12_hand_x': maps_of('hand|mirror'), 'C12_more': maps_of('hand|mirror'), 'C13_formats': formats,
    'C14_suffix': reads, 'C15_huge': huge, 'C2_uint8_imod': reads, 'C4_maps': right_maps, 'C4_stamp_4400': reads,
    'C8_aniso': maps_of('isotropic|differ'), 'C9_crop': either('nxstart|origin|crop'), 'D1_cs': other_formats,
}  # fmt: skip


@pytest.mark.parametrize('name', CASES)
def test_case(name, shared_data, tmp_path, capsys):
    if not (shared_data / 'cases' / name).is_dir():
        pytest.skip('the cases are not here')
    CASES[name](Bench(shared_data, name, tmp_path, capsys))
