"""What a table says of its images: CTF state, magnification, aberrations, tomography."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
import torch

from ..data import image_state, optics
from ..data.image_state import CtfState
from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable
from ..errors import InputError
from ..geometry import matrix_to_euler, random_matrices
from ..imaging.ctf import apply_ctf, ctf_rfft
from ..imaging.projection import FourierProjector
from .blobs import Blobs

BOX, PIXEL = 32, 3.0
MATRIX = np.array([[1.04, 0.02], [-0.01, 0.95]])
MAGMAT = {f'rlnMagMat{i}{j}': [MATRIX[i, j]] for i in (0, 1) for j in (0, 1)}


def table(folder, optics_columns=(), **columns):
    """Two particles with CTF in one optics group."""
    given = {
        'rlnImageName': ['000001@p.mrcs', '000002@p.mrcs'], 'rlnOpticsGroup': [1, 1], 'rlnDefocusU': [10000.0, 15000.0],
        'rlnDefocusV': [10500.0, 15100.0], 'rlnDefocusAngle': [20.0, 70.0], **columns}  # fmt: skip
    group = {'rlnOpticsGroupName': ['g'], 'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PIXEL], 'rlnImageSize': [BOX],
             'rlnVoltage': [300.0], 'rlnSphericalAberration': [2.7], 'rlnAmplitudeContrast': [0.1],
             **dict(optics_columns)}  # fmt: skip
    ParticleTable.create(folder / 'p.star', given, group).write(folder / 'p.star')
    return ParticleTable.read(folder / 'p.star')


@pytest.mark.parametrize(('flags', 'state', 'particles'), [
    ({}, 'unknown', 'full'), ({'rlnCtfDataAreCtfPremultiplied': [1]}, 'premultiplied', 'premultiplied'),
    ({'rlnCtfDataArePhaseFlipped': [1]}, 'phase-flip', 'phase-flip'),
    ({'rlnCtfDataArePhaseFlipped': [0], 'rlnCtfDataAreCtfPremultiplied': [0]}, 'unknown', 'full'),
])  # fmt: skip
def test_relions_columns(tmp_path, flags, state, particles):
    t = table(tmp_path, flags)
    assert (t.ctf_state, image_state.of_particles(t)) == (state, particles)


def test_our_block_comes_first_and_corrects_relions_columns(tmp_path):
    t = table(tmp_path, {'rlnCtfDataAreCtfPremultiplied': [1]})
    t.set_provenance(ctf=CtfState.NONE)
    assert t.ctf_state is CtfState.NONE
    assert t.ints('rlnCtfDataAreCtfPremultiplied').tolist() == [0, 0]
    t.set_provenance(ctf='premultiplied')
    assert t.ints('rlnCtfDataAreCtfPremultiplied').tolist() == [1, 1]
    t.set_provenance(ctf='half')
    with pytest.raises(InputError, match="'half', which is none of none, phase-flip"):
        t.ctf_state  # noqa: B018


def test_two_kinds_of_images_are_refused(tmp_path):
    t = table(tmp_path, rlnCtfDataArePhaseFlipped=[0, 1])
    with pytest.raises(InputError, match='1 of 2 particles'):
        t.ctf_state  # noqa: B018
    both = {'rlnCtfDataAreCtfPremultiplied': [1], 'rlnCtfDataArePhaseFlipped': [1]}
    with pytest.raises(InputError, match='cannot both'):
        table(tmp_path, both).ctf_state  # noqa: B018


def test_references_that_say_nothing_are_not_taken_for_bare(tmp_path):
    with pytest.raises(InputError, match=r'p\.star does not say.*_cryoemganCtf STATE'):
        image_state.require_known(table(tmp_path), 'a test')
    # Without defocus there is no CTF to be known.
    bare = ParticleTable.create(tmp_path / 'q.star', {'rlnImageName': ['1@p.mrcs']})
    assert image_state.require_known(bare, 'a test') is CtfState.NONE


def test_images_of_each_state():
    params = dict(defocus_u=[12000.0], defocus_v=[12500.0], defocus_angle=[10.0], voltage=[300.0], cs=[2.7],
                  amplitude_contrast=[0.1], phase_shift=[0.0])  # fmt: skip
    ctf = ctf_rfft(BOX, PIXEL, {k: np.array(v) for k, v in params.items()})
    one = torch.ones_like(ctf)
    for state, wanted in (('none', one), ('full', ctf), ('phase-flip', ctf.abs()), ('premultiplied', ctf * ctf)):
        torch.testing.assert_close(apply_ctf(one, ctf, state), wanted)
    with pytest.raises(ValueError, match='unknown'):
        apply_ctf(one, ctf, 'unknown')


def test_projections_of_anisotropic_magnification():
    """Gaussian blobs in closed form: F(k) = |M| P(M k) is the image p(M^-T x)."""
    blobs = Blobs.random(BOX, count=6, radius=0.25, seed=2)
    matrices = random_matrices(5, 3)
    stretch = np.broadcast_to(MATRIX, (5, 2, 2))
    found = FourierProjector(blobs.volume(BOX), 3.0, 'cubic').project(optics.stretched(matrices, stretch)).numpy()
    grid = np.arange(BOX) - BOX // 2
    x, y = np.meshgrid(grid, grid)
    back = np.linalg.inv(MATRIX).T
    u, v = (back[i, 0] * x + back[i, 1] * y for i in (0, 1))
    for image, matrix in zip(found, matrices):
        centres = blobs.centres @ matrix.T
        wanted = sum(
            h * np.sqrt(2 * np.pi) * s * np.exp(-((u - c[0]) ** 2 + (v - c[1]) ** 2) / (2 * s**2))
            for c, s, h in zip(centres, blobs.sigmas, blobs.heights)
        )
        assert np.abs(image - wanted).max() < 0.02 * wanted.max()
    plain = FourierProjector(blobs.volume(BOX), 3.0, 'cubic').project(matrices).numpy()
    assert np.abs(plain - found).max() > 0.1 * found.max()


def test_magnification_of_a_table(tmp_path):
    t = table(tmp_path, MAGMAT)
    np.testing.assert_allclose(t.magnification(), [MATRIX, MATRIX])
    assert t.ctf()['magnification'].shape == (2, 2, 2)
    one = {'rlnMagMat00': [1.0], 'rlnMagMat01': [0.0], 'rlnMagMat10': [0.0], 'rlnMagMat11': [1.0]}
    assert table(tmp_path, one).magnification() is None
    with pytest.raises(InputError, match='magnification matrix'):
        table(tmp_path, {'rlnMagMat00': [2.0]}).magnification()


@pytest.mark.skipif(not shutil.which('relion_reconstruct'), reason='RELION is not installed')
def test_relion_takes_the_magnification_out_again(tmp_path):
    """The map that RELION reconstructs from our stretched projections is the map only if it is told the same matrix."""
    blobs, count = Blobs.random(BOX, count=12, radius=0.25, seed=2), 400
    volume, matrices = blobs.volume(BOX).astype(np.float32), random_matrices(count, 0)
    stretch = np.broadcast_to(MATRIX, (count, 2, 2))
    with StackWriter(tmp_path / 'p.mrcs', count, BOX, PIXEL) as writer:
        writer.append(FourierProjector(volume, 2.5, 'cubic').project(optics.stretched(matrices, stretch)).numpy())
    angles = dict(zip(('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'), matrix_to_euler(matrices)))
    zero, agreed = np.zeros(count), {}
    for name, matrix in (('same', MATRIX), ('none', np.eye(2)), ('inverse', np.linalg.inv(MATRIX))):
        columns = {'rlnImageName': [f'{i + 1:06d}@p.mrcs' for i in range(count)], 'rlnOpticsGroup': [1] * count,
                   'rlnOriginXAngst': zero, 'rlnOriginYAngst': zero, 'rlnDefocusU': zero + 1e4,
                   'rlnDefocusV': zero + 1e4, 'rlnDefocusAngle': zero, **angles}  # fmt: skip
        group = {'rlnOpticsGroupName': ['g'], 'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PIXEL],
                 'rlnImageSize': [BOX], 'rlnImageDimensionality': [2], 'rlnVoltage': [300.0],
                 'rlnSphericalAberration': [2.7], 'rlnAmplitudeContrast': [0.1],
                 **{f'rlnMagMat{i}{j}': [float(matrix[i, j])] for i in (0, 1) for j in (0, 1)}}  # fmt: skip
        ParticleTable.create(tmp_path / f'{name}.star', columns, group).write(tmp_path / f'{name}.star')
        subprocess.run(['relion_reconstruct', '--i', f'{name}.star', '--o', f'{name}.mrc', '--angpix', str(PIXEL)],
                       cwd=tmp_path, check=True, capture_output=True, timeout=120)  # fmt: skip
        agreed[name] = np.corrcoef(mrcfile.read(tmp_path / f'{name}.mrc').ravel(), volume.ravel())[0, 1]
    assert agreed['same'] > 0.99
    assert agreed['same'] > agreed['none'] > agreed['inverse']


def test_beam_tilt_is_named_with_what_it_does(tmp_path):
    t = table(tmp_path, {'rlnBeamTiltX': [0.3], 'rlnBeamTiltY': [-0.4]})
    # 360 Cs lambda^2 k^3 theta at Nyquist (6 A), by hand: 360 * 2.7e7 * 0.0196875^2 * (1/6)^3 * 0.5e-3.
    assert 'moves the phase by up to 8.7 degrees at the resolution of the box (6 A)' in optics.unread(t)[0]
    assert not optics.unread(table(tmp_path, {'rlnBeamTiltX': [0.0], 'rlnBeamTiltY': [0.0]}))


def test_zernike_terms(tmp_path):
    k = 1 / 6
    # Order of RELION: (m, n) = (-1, 1), (1, 1), (-3, 3), ...; trefoil r^3 sin 3 phi.
    assert optics.largest_phase('[0,0,5]', k, odd=True) == pytest.approx(5 * k**3, rel=1e-3)
    # n = 3, m = 1: 3 r^3 - 2 r.
    assert optics.largest_phase('[0,0,0,0,7]', k, odd=True) == pytest.approx(7 * abs(3 * k**3 - 2 * k), rel=1e-3)
    # Symmetric: (0, 0), (-2, 2), (0, 2), (2, 2), ..., the seventh is (0, 4): 6 r^4 - 6 r^2 + 1.
    assert optics.largest_phase('[0,0,0,0,0,0,2]', k, odd=False) == pytest.approx(2 * abs(6 * k**4 - 6 * k**2 + 1))
    sentences = optics.unread(table(tmp_path, {'rlnOddZernike': ['[0,0,5e1,0,0,0]'], 'rlnEvenZernike': ['[0,0,0]']}))
    assert len(sentences) == 1
    assert f'up to {np.rad2deg(50 * k**3):.2g} degrees' in sentences[0]


@pytest.mark.parametrize('columns', [
    {'rlnTomoName': ['TS_1', 'TS_1']}, {'rlnOriginZAngst': [0.0, 0.0]}, {'rlnCtfImage': ['a.mrc', 'b.mrc']},
    {'rlnMicrographName': ['a.tomostar', 'a.tomostar']}, {'rlnCoordinateZ': [1.0, 2.0]},
])  # fmt: skip
def test_tomography_is_refused_by_its_name(tmp_path, columns):
    with pytest.raises(InputError, match='particles of tomography'):
        table(tmp_path, **columns)


def test_scale_of_the_ctf(tmp_path):
    scaled, plain = table(tmp_path, rlnCtfScalefactor=[0.5, 2.0]).ctf(), table(tmp_path).ctf()
    assert 'scale' not in plain
    found = ctf_rfft(BOX, PIXEL, scaled) / ctf_rfft(BOX, PIXEL, plain)
    torch.testing.assert_close(found[:, 3, 3], torch.tensor([0.5, 2.0]))
