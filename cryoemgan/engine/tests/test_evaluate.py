"""The verb ``evaluate``: its promises, its numbers, its refusals."""

import csv
import json

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.commands.evaluate import Running
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.metrics import image_metrics
from cryoemgan.engine.settings import Evaluate

BOX, COUNT = 24, 30


def write_set(folder, name, images, originals=None, pixel_size=3.0, **provenance):
    """A STAR file and its stack; originals: image names that identify the particles."""
    box = images.shape[-1]
    with StackWriter(folder / f'{name}.mrcs', len(images), box, pixel_size) as writer:
        writer.append(images)
    columns = {
        'rlnImageName': [f'{i + 1:06d}@{name}.mrcs' for i in range(len(images))],
        'rlnOpticsGroup': [1] * len(images),
    }
    if originals:
        columns['rlnImageOriginalName'] = originals
    table = ParticleTable.create(
        folder / f'{name}.star',
        columns,
        {'rlnOpticsGroup': [1], 'rlnImagePixelSize': [pixel_size], 'rlnImageSize': [box]},
    )
    if provenance:
        table.set_provenance(**provenance)
    table.write(folder / f'{name}.star')
    return folder / f'{name}.star'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """References in another row order than the particles, noisy and 'denoised' sets of them."""
    folder = tmp_path_factory.mktemp('evaluate')
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, BOX)
    centre = rng.uniform(-0.5, 0.5, (COUNT, 2, 1, 1))
    clean = np.exp(-8 * ((axis - centre[:, 0]) ** 2 + (axis[:, None] - centre[:, 1]) ** 2)).astype(np.float32)
    noisy = (clean + rng.normal(0, 0.3, clean.shape)).astype(np.float32)
    better = (2 * (clean + rng.normal(0, 0.05, clean.shape)) - 1).astype(np.float32)
    order = rng.permutation(COUNT)
    originals = [f'{i + 1:06d}@noisy.mrcs' for i in range(COUNT)]
    paths = dict(
        folder=folder,
        clean=clean,
        noisy_images=noisy,
        better_images=better,
        noisy=write_set(folder, 'noisy', noisy),
        better=write_set(folder, 'better', better, originals),
        references=write_set(folder, 'references', clean[order], [originals[i] for i in order]),
    )
    return paths


def evaluate(tmp_path, references, *particles, **options):
    settings = Evaluate(
        output=str(tmp_path / 'out'), references=str(references), particles=[str(p) for p in particles], **options
    )
    settings.validate()
    run('evaluate', settings)
    return json.loads((tmp_path / 'out' / 'summary.json').read_text())


@pytest.fixture(scope='module')
def both(data, tmp_path_factory):
    """Folder and summary of a run over two sets."""
    folder = tmp_path_factory.mktemp('both')
    return folder / 'out', evaluate(
        folder, data['references'], f'raw={data["noisy"]}', f'net={data["better"]}', batch_size=7
    )


def test_numbers_of_a_shuffled_set_are_those_of_its_pairs(data, both):
    summary = both[1]
    assert list(summary['methods']) == ['raw', 'net']
    assert summary['data_range'] == pytest.approx(np.ptp(data['clean']), rel=1e-6)
    for name, images in (('raw', data['noisy_images']), ('net', data['better_images'])):
        expected, got = image_metrics.compare(images, data['clean'], summary['data_range']), summary['methods'][name]
        for metric in image_metrics.NAMES:
            for values, found in (
                (expected[metric], got[metric]),
                (expected[metric + '_affine'], got['affine'][metric]),
            ):
                assert found['mean'] == pytest.approx(values.mean(), rel=1e-6)
                assert found['sd'] == pytest.approx(values.std(), rel=1e-5)
        assert got['psnr_of_mean_mse'] == pytest.approx(
            image_metrics.psnr(expected['mse'].mean(), summary['data_range'])
        )
    assert summary['methods']['raw']['mse']['mean'] == pytest.approx(0.09, rel=0.03)
    # The images are 2 (clean + noise) - 1; the best gain is below 1/2 by the share of noise in their variance.
    share = image_metrics.compare(data['better_images'], data['clean'], 1.0)['ncc'] ** 2
    assert summary['methods']['net']['affine']['gain']['mean'] == pytest.approx(share.mean() / 2, rel=0.01)


def test_table_has_a_row_a_particle_and_method(data, both):
    with open(both[0] / 'metrics.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * COUNT
    expected = image_metrics.compare(data['noisy_images'], data['clean'], np.ptp(data['clean']))['ncc']
    for row in rows:
        if row['method'] == 'raw':
            number = int(row['particle'].split('@')[0])
            assert float(row['ncc']) == pytest.approx(expected[number - 1], rel=1e-4)


def test_pictures_and_frc(both):
    folder, summary = both
    for name in ('gallery.png', 'metrics.png', 'frc.png'):
        assert (folder / name).read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    assert set(summary['outputs']) == {
        'metrics.csv',
        'frc.csv',
        'gallery.html',
        'gallery.png',
        'metrics.png',
        'frc.png',
    }
    raw, net = summary['methods']['raw'], summary['methods']['net']
    assert 6.0 <= net['frc_0.5'] < raw['frc_0.5'] < 72
    assert net['frc_0.143'] <= net['frc_0.5']


def test_perfect_set_reaches_nyquist(data, tmp_path):
    perfect = evaluate(tmp_path, data['references'], f'same={data["references"]}')['methods']['same']
    assert perfect['frc_0.5'] == pytest.approx(6.0)
    assert (perfect['mse']['mean'], perfect['ssim']['mean']) == pytest.approx((0, 1), abs=1e-6)


def test_only_shared_particles_are_compared_and_said_so(data, tmp_path):
    part = write_set(tmp_path, 'part', data['better_images'][[5, 3]], ['6@noisy.mrcs', '4@noisy.mrcs'])
    summary = evaluate(tmp_path, data['references'], f'raw={data["noisy"]}', f'part={part}')
    expected = image_metrics.compare(data['noisy_images'][[3, 5]], data['clean'][[3, 5]], summary['data_range'])
    assert summary['particles'] == 2
    assert summary['methods']['raw']['mse']['mean'] == pytest.approx(expected['mse'].mean(), rel=1e-5)
    assert any('2 of its 30' in w for w in summary['warnings'])


def test_warnings_about_contrast_scale_ctf_and_leakage(data, tmp_path):
    names = [f'{i + 1}@noisy.mrcs' for i in range(COUNT)]
    black = write_set(tmp_path, 'black', -data['better_images'], names, leakage='12', ctf='full')
    references = write_set(tmp_path, 'references', data['clean'], names, ctf='none')
    warnings = '\n'.join(evaluate(tmp_path, references, f'black={black}', f'net={data["better"]}')['warnings'])
    assert 'black: inverted contrast' in warnings
    assert 'black: 12 particles were denoised by a model that was trained on them' in warnings
    assert 'the CTF treated as "full"' in warnings
    assert 'net: its grey scale is not that of the references' in warnings


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(box=20), '20 px.*24 px'),
        (dict(pixel_size=3.3), '3.3 A/px.*3 A/px'),
        (dict(originals=['1@other.mrcs'] * COUNT), 'share no particle'),
    ],
)
def test_refuses_what_cannot_be_compared(data, tmp_path, change, message):
    images = data['noisy_images'][:, : change.pop('box', BOX), : change.pop('box', BOX)]
    images = images[:, : min(images.shape[1:]), : min(images.shape[1:])]
    change.setdefault('originals', [f'{i + 1}@noisy.mrcs' for i in range(COUNT)])
    bad = write_set(tmp_path, 'bad', images, **change)
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path, data['references'], f'bad={bad}')
    assert not (tmp_path / 'out').exists()


def test_refuses_unusable_names_and_flat_references(data, tmp_path):
    for names in (['a', 'a'], ['reference']):
        with pytest.raises(InputError, match='is empty or taken'):
            evaluate(tmp_path, data['references'], *(f'{n}={data["noisy"]}' for n in names))
    flat = write_set(
        tmp_path, 'flat', np.ones((3, BOX, BOX), np.float32), ['1@noisy.mrcs', '2@noisy.mrcs', '3@noisy.mrcs']
    )
    with pytest.raises(InputError, match='every reference has the grey value 1'):
        evaluate(tmp_path, flat, f'raw={data["noisy"]}')


def test_nan_in_an_image_names_the_particle_and_leaves_no_table(data, tmp_path, capsys):
    images = data['noisy_images'].copy()
    bad = write_set(tmp_path, 'bad', images, [f'{i + 1}@noisy.mrcs' for i in range(COUNT)])
    with mrcfile.open(tmp_path / 'bad.mrcs', 'r+') as mrc:
        mrc.data[4, 3, 3] = np.nan
    status = main(
        [
            'evaluate',
            '--output',
            str(tmp_path / 'out'),
            '--references',
            str(data['references']),
            '--particles',
            f'bad={bad}',
            '--threads',
            '1',
        ]
    )
    assert status == 2
    assert '000005@bad.mrcs' in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'metrics.csv').exists()
    assert not (tmp_path / 'out' / 'summary.json').exists()


def test_running_statistics_do_not_cancel():
    values = np.random.default_rng(4).normal(1e8, 1e-2, (1000, 3))
    running = Running()
    for part in np.array_split(values, 13):
        running.add(part)
    assert running.mean == pytest.approx(values.mean(0), rel=1e-15)
    assert running.sd == pytest.approx(values.std(0), rel=1e-4)
