"""denoise: order, identity and everything known about the particles survive; wrong input is refused early."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.resample import resample
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.model_writer import amend_card, save_model

from .test_model import card, trained

COUNT, BOX, PIXEL = 23, 32, 4.0


def particles(folder, box=BOX, pixel=PIXEL, count=COUNT, seed=0, edit=None):
    """A RELION 3.1 set whose rows are not in the stack's order; returns its path."""
    rng = np.random.default_rng(seed)
    images = rng.normal(2, 3, (count, box, box)).astype(np.float32)
    if edit:
        edit(images)
    folder.mkdir(exist_ok=True)
    mrcfile.write(folder / 'raw.mrcs', images, overwrite=True, voxel_size=pixel)
    order = rng.permutation(count)
    columns = {
        'rlnImageName': [f'{i + 1:06d}@raw.mrcs' for i in order], 'rlnImageId': 100 + np.arange(count),
        'rlnOpticsGroup': np.ones(count, int), 'rlnMicrographName': ['mic 1.mrc'] * count,
        'rlnAngleRot': rng.uniform(-180, 180, count), 'rlnAngleTilt': rng.uniform(0, 180, count),
        'rlnAnglePsi': rng.uniform(-180, 180, count), 'rlnOriginXAngst': rng.normal(0, 5, count),
        'rlnOriginYAngst': rng.normal(0, 5, count), 'rlnOriginX': rng.normal(0, 2, count),
        'rlnDefocusU': rng.uniform(1e4, 2e4, count), 'rlnDefocusV': rng.uniform(1e4, 2e4, count),
        'rlnCoordinateX': rng.uniform(0, 4000, count), 'rlnRandomSubset': 1 + np.arange(count) % 2,
    }  # fmt: skip
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': np.array([pixel]), 'rlnImageSize': [box],
              'rlnVoltage': np.array([300.0])}  # fmt: skip
    ParticleTable.create(folder / 'particles.star', columns, optics).write(folder / 'particles.star')
    return folder / 'particles.star'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained') / 'model'
    save_model(folder, card(BOX, ctf='phase-flip'), {'all': trained(BOX)}, {'all': ['3@raw.mrcs', '9@raw.mrcs']})
    return folder


def denoise(star, model, out, *options):
    return main(['denoise', '--particles', str(star), '--model', str(model), '--output', str(out),
                 '--precision', 'float32', '--threads', '1', '--device', 'cpu', *options])  # fmt: skip


def summary(folder):
    return json.loads((folder / 'summary.json').read_text())


def read(folder):
    table = ParticleTable.read(folder / 'denoised.star')
    return table, table.images().read(np.arange(len(table)))


def test_order_identity_and_columns_survive(tmp_path, model):
    star = particles(tmp_path / 'in')
    assert denoise(star, model, tmp_path / 'out', '--batch-size', '5') == 0
    before, (after, images) = ParticleTable.read(star), read(tmp_path / 'out')
    # Each row's image is its own particle, through the model.
    expected = Model.load(model).denoise(before.images().read(np.arange(COUNT)))
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-4)
    assert after.names() == before.names()
    for label in before.labels():
        if label not in ('rlnImageName',):
            assert after.strings(label) == before.strings(label)
    rows = match(before, after)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert after.pixel_size == PIXEL
    assert after.provenance['ctf'] == 'phase-flip'
    assert after.provenance['model_digest'] == Model.load(model).digest
    assert 'not for the final refinement' in after.provenance['statement']
    with mrcfile.open(tmp_path / 'out' / 'denoised.mrcs') as mrc:
        assert mrc.voxel_size.x == pytest.approx(PIXEL)


def test_batch_size_does_not_matter(tmp_path, model):
    star = particles(tmp_path / 'in')
    results = []
    for size in ('1', '7', '64'):
        assert denoise(star, model, tmp_path / size, '--batch-size', size) == 0
        results.append(read(tmp_path / size)[1])
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-5, atol=1e-5 * results[0].std())


def test_model_of_a_training_that_has_not_ended_is_told(tmp_path, model):
    """From its first evaluation on there is a model, of one member, with nothing measured."""
    star = particles(tmp_path / 'in')
    denoise(star, model, tmp_path / 'early')
    assert any('has not finished' in w for w in summary(tmp_path / 'early')['warnings'])
    ended = tmp_path / 'model'
    shutil.copytree(model, ended)
    amend_card(ended, cross_fit={'mode': 'none'})
    denoise(star, ended, tmp_path / 'ended')
    assert not any('has not finished' in w for w in summary(tmp_path / 'ended')['warnings'])


def test_leakage_is_counted(tmp_path, model):
    assert denoise(particles(tmp_path / 'in'), model, tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert found['leakage'] == 2
    assert 'trained on 2 of these 23' in ' '.join(found['warnings'])
    assert read(tmp_path / 'out')[0].provenance['leakage'] == '2'


def test_other_box_of_the_same_field_is_resampled(tmp_path, model):
    """48 px of 8/3 A is the model's field of 128 A: images go through 32 px, and back on request."""
    star = particles(tmp_path / 'in', box=48, pixel=PIXEL * 32 / 48)
    before = ParticleTable.read(star)
    small = resample(before.images().read(np.arange(COUNT)), BOX)
    expected = Model.load(model).denoise(small)

    assert denoise(star, model, tmp_path / 'model_box', '--output-box', 'model') == 0
    table, images = read(tmp_path / 'model_box')
    np.testing.assert_allclose(images, expected, rtol=1e-3, atol=1e-3)
    assert table.box == BOX
    assert table.pixel_size == pytest.approx(PIXEL, rel=1e-4)
    # In Angstrom nothing moves; in pixels everything shrinks with the box.
    assert table.strings('rlnOriginXAngst') == before.strings('rlnOriginXAngst')
    np.testing.assert_allclose(table.floats('rlnOriginX'), before.floats('rlnOriginX') * 32 / 48, atol=1e-5)
    np.testing.assert_allclose(table.shifts(), before.shifts() * 32 / 48, atol=1e-4)

    assert denoise(star, model, tmp_path / 'input_box') == 0
    table, images = read(tmp_path / 'input_box')
    assert table.box == 48
    assert table.pixel_size == pytest.approx(PIXEL * 32 / 48, rel=1e-5)
    assert table.strings('rlnOriginX') == before.strings('rlnOriginX')
    np.testing.assert_allclose(images, resample(expected, 48), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(('box', 'pixel'), [(32, 4.05), (32, 1.1), (48, 4.0)])
def test_other_field_of_view_is_refused(tmp_path, model, capsys, box, pixel):
    star = particles(tmp_path / 'in', box=box, pixel=pixel)
    assert denoise(star, model, tmp_path / 'out') == 2
    message = capsys.readouterr().err
    assert f'{pixel:g} A' in message
    assert '32 px of 4 A' in message
    assert 'Extract' in message
    assert not (tmp_path / 'out').exists()


def test_field_within_half_a_percent_passes(tmp_path, model):
    star = particles(tmp_path / 'in', pixel=PIXEL * 1.004)
    assert denoise(star, model, tmp_path / 'out', '--output-box', 'model') == 0
    assert read(tmp_path / 'out')[0].pixel_size == pytest.approx(PIXEL * 1.004, rel=1e-5)


def test_constant_images_are_counted(tmp_path, model):
    star = particles(tmp_path / 'in', edit=lambda images: images[4:7].fill(1.5))
    assert denoise(star, model, tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert found['constant_images'] == 3
    assert any('3 of 23 particles are constant' in w for w in found['warnings'])


def test_other_grey_scale_is_told(tmp_path, model):
    star = particles(tmp_path / 'in', edit=lambda images: np.multiply(images, 100, out=images))
    assert denoise(star, model, tmp_path / 'out') == 0
    assert any('normalise them in the same way' in w for w in summary(tmp_path / 'out')['warnings'])


def test_nan_names_the_particle_and_leaves_nothing(tmp_path, model, capsys):
    def spoil(images):
        images[6, 0, 0] = np.nan

    star = particles(tmp_path / 'in', edit=spoil)
    assert denoise(star, model, tmp_path / 'out') == 2
    assert '000007@raw.mrcs' in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'denoised.mrcs').exists()
    assert not (tmp_path / 'out' / 'summary.json').exists()


def test_a_pickle_as_model_is_refused(tmp_path, capsys):
    path = tmp_path / 'model.pt'
    path.write_bytes(b'\x80\x02.')
    assert denoise(particles(tmp_path / 'in'), path, tmp_path / 'out') == 2
    assert 'pickle' in capsys.readouterr().err


def test_killed_run_never_looks_complete_and_resumes(tmp_path, model):
    star = particles(tmp_path / 'in', count=1000)
    command = [sys.executable, '-m', 'cryoemgan.engine', 'denoise', '--particles', star, '--model', model, '--output',
               tmp_path / 'out', '--threads', '1', '--batch-size', '1', '--precision', 'float32']  # fmt: skip
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = tmp_path / 'out' / 'denoised.mrcs.partial'
    end = time.time() + 120
    while not partial.exists() and time.time() < end and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.exists()
    assert not any((tmp_path / 'out' / n).exists() for n in ('denoised.mrcs', 'denoised.star', 'summary.json'))
    assert denoise(star, model, tmp_path / 'out', '--resume') == 0
    assert not partial.exists()
    assert len(read(tmp_path / 'out')[0]) == 1000
