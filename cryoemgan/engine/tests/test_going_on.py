"""A stack goes on where it was: killed anywhere, damaged anywhere, it ends with the bytes of an unbroken run."""

import json
import os

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data import stack_writer
from cryoemgan.engine.data.stack_writer import ResumableStack, StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import WorkError
from cryoemgan.engine.inference.model_writer import save_model

from . import test_project
from .blobs import Blobs
from .test_model import card, trained

COUNT, BOX = 23, 8
IMAGES = np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)).astype(np.float32)
VALUES = np.random.default_rng(1).normal(size=(COUNT, 2))


@pytest.fixture(autouse=True)
def every_batch(monkeypatch):
    monkeypatch.setattr(stack_writer, 'FLUSH_SECONDS', -1.0)


def without_time(path):
    """Bytes of a file; of MRC without the labels of the header, which hold the time."""
    data = path.read_bytes()
    return data[:224] + data[1024:] if path.suffix in ('.mrc', '.mrcs') else data


def write(path, until=COUNT, resume=False, count=COUNT, left_out=0):
    """Write images in batches of 4 up to ``until``; (where it began, what was found of all)."""
    with ResumableStack(path, count, BOX, 2.0, columns=2, left_out=left_out, resume=resume) as stack:
        begin = stack.written
        for start in range(begin, count, 4):
            if start >= until:
                raise KeyboardInterrupt
            part = slice(start, min(start + 4, count))
            stack.append(IMAGES[part], VALUES[part])
    return begin, stack.values


def interrupted(path, until, **how):
    with pytest.raises(KeyboardInterrupt):
        write(path, until, **how)
    assert not path.exists()


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp('unbroken') / 's.mrcs'
    with StackWriter(path, COUNT, BOX, 2.0) as stack:
        for start in range(0, COUNT, 4):
            stack.append(IMAGES[start : start + 4])
    return without_time(path)


def test_goes_on_where_it_was(tmp_path, unbroken):
    path = tmp_path / 's.mrcs'
    interrupted(path, 8)
    interrupted(path, 16, resume=True)
    begin, values = write(path, resume=True)
    assert begin == 16
    assert without_time(path) == unbroken
    np.testing.assert_array_equal(values, VALUES)
    # Killed before the table was written: nothing is left to do.
    begin, values = write(path, resume=True)
    assert begin == COUNT
    assert without_time(path) == unbroken
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize('seed', range(12))
def test_damage_only_costs_time(tmp_path, unbroken, seed):
    """A flipped bit, a cut or nothing at all, in the stack or its journal."""
    rng, path = np.random.default_rng(seed), tmp_path / 's.mrcs'
    interrupted(path, 16)
    victim = path.with_name(path.name + ('.partial', '.journal')[seed % 2])
    data = bytearray(victim.read_bytes())
    kind = ('flip', 'cut', 'empty')[seed // 2 % 3]
    if kind == 'flip':
        # Once in the header.
        data[rng.integers(224 if seed == 6 else len(data))] ^= 1 << rng.integers(8)
    victim.write_bytes({'flip': data, 'cut': data[: rng.integers(len(data))], 'empty': b''}[kind])
    _, values = write(path, resume=True)
    assert without_time(path) == unbroken
    np.testing.assert_array_equal(values, VALUES)


def test_others_stack_is_not_gone_on_with(tmp_path):
    path = tmp_path / 's.mrcs'
    interrupted(path, 8, left_out=1)
    # The images so far may be those of later rows now.
    assert write(path, resume=True, left_out=2)[0] == 0
    path = tmp_path / 't.mrcs'
    interrupted(path, 8)
    assert write(path, resume=True, count=COUNT - 2, left_out=2)[0] == 8
    assert os.path.getsize(path) == 1024 + 4 * BOX**2 * (COUNT - 2)


def test_result_that_is_not_finite_is_refused_by_name(tmp_path):
    bad = IMAGES.copy()
    bad[17, 3, 3] = np.inf
    with (
        pytest.raises(WorkError, match=r'particle 17.*not a number'),
        StackWriter(tmp_path / 's.mrcs', COUNT, BOX, 2.0, lambda row: f'particle {row}') as stack,
    ):
        for start in range(0, COUNT, 5):
            stack.append(bad[start : start + 5])
    assert list(tmp_path.iterdir()) == []


def test_table_refuses_what_is_not_finite(tmp_path):
    table = ParticleTable.create(tmp_path / 't.star', {'rlnImageName': ['1@a.mrcs', '2@a.mrcs']})
    with pytest.raises(WorkError, match=r'row 2 \(2@a.mrcs\): its _cryoemganFit is nan'):
        table.set('cryoemganFit', np.array([1.0, np.nan]))


# Whole commands


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """(particles with angles, map, model)."""
    folder = tmp_path_factory.mktemp('data')
    found = Blobs.random(test_project.BOX, count=12, radius=0.2, seed=3)
    blobs = Blobs(found.centres * test_project.PIXEL, found.sigmas * test_project.PIXEL * 1.5, found.heights)
    star = test_project.write_particles(folder, blobs)
    volume = test_project.write_map(folder / 'map.mrc', blobs.volume(test_project.BOX, test_project.PIXEL))
    box = test_project.BOX
    described = {**card(box), 'pixel_size': test_project.PIXEL}
    save_model(
        folder / 'model',
        described,
        {'all': trained(box)},
        {'all': ['3@raw.mrcs']},
    )
    return star, volume, folder / 'model'


def options(command, data):
    star, volume, model = map(str, data)
    return [
        command, '--particles', star, '--threads', '1', '--batch-size', '5',
        *{'project': ['--volume', volume, '--ctf', 'none'], 'filter': ['--method', 'wiener'],
          'denoise': ['--model', model, '--precision', 'float32']}[command],
    ]  # fmt: skip


def content(folder):
    """{name: bytes} of the results."""
    results = [p for p in folder.iterdir() if p.name not in ('summary.json', 'settings.json')]
    return {p.name: without_time(p) for p in results}


@pytest.mark.parametrize('command', ['project', 'denoise', 'filter'])
def test_commands_go_on_to_equal_bytes(tmp_path, data, monkeypatch, command, one_thread):
    assert main([*options(command, data), '--output', str(tmp_path / 'whole')]) == 0
    append, left = ResumableStack.append, [2]

    def dying(self, images, values):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        append(self, images, values)

    monkeypatch.setattr(ResumableStack, 'append', dying)
    assert main([*options(command, data), '--output', str(tmp_path / 'o')]) == 1
    left[0] = 10**6
    assert main([*options(command, data), '--output', str(tmp_path / 'o'), '--resume']) == 0
    # Two batches were there already.
    assert 10**6 - left[0] == -(-24 // 5) - 2
    whole, found = content(tmp_path / 'whole'), content(tmp_path / 'o')
    assert whole.keys() == found.keys()
    for name in whole:
        assert whole[name] == found[name], name


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_bad_image_is_left_out_by_name(tmp_path, capsys, bad, one_thread):
    images = np.random.default_rng(0).normal(2, 3, (23, 16, 16)).astype(np.float32)
    images[7, 3, 3] = bad
    mrcfile.write(tmp_path / 'raw.mrcs', images, voxel_size=3)
    columns = {'rlnImageName': [f'{i + 1:06d}@raw.mrcs' for i in range(23)], 'rlnPixelSize': np.full(23, 3.0)}
    star = tmp_path / 'p.star'
    ParticleTable.create(star, columns).write(star)
    command = ['filter', '--particles', str(star), '--method', 'nlm', '--threads', '1', '--batch-size', '4',
               '--output', str(tmp_path / 'o')]  # fmt: skip
    assert main(command) == 2
    assert '000008@raw.mrcs' in capsys.readouterr().err
    assert main([*command, '--resume', '--bad-images', 'skip']) == 0
    summary = json.loads((tmp_path / 'o/summary.json').read_text())
    assert summary['particles'] == 22
    assert len(summary['left_out']) == 1
    assert '000008@raw.mrcs' in summary['left_out'][0]
    table = ParticleTable.read(tmp_path / 'o/denoised.star')
    assert len(table) == 22
    assert '000008@raw.mrcs' not in table.strings('rlnImageOriginalName')
    # The same as if the particle had never been in the table.
    without = ParticleTable.read(star)
    rows = [r for r, n in enumerate(without.strings('rlnImageName')) if n != '000008@raw.mrcs']
    without.kept(rows).write(star.with_name('w.star'))
    command[2], command[-1] = str(star.with_name('w.star')), str(tmp_path / 'w')
    assert main(command) == 0
    assert without_time(tmp_path / 'w/denoised.mrcs') == without_time(tmp_path / 'o/denoised.mrcs')
    assert not list((tmp_path / 'o').glob('*.journal'))


def test_stack_of_an_unfinished_run_is_refused(tmp_path, capsys, data, one_thread):
    assert main([*options('project', data), '--output', str(tmp_path / 'r')]) == 0
    (tmp_path / 'r/summary.json').unlink()
    compare = ['evaluate', '--references', str(tmp_path / 'r/references.star'), '--particles', f'p={data[0]}']
    assert main([*compare, '--output', str(tmp_path / 'e')]) == 2
    assert 'has not come to its end' in capsys.readouterr().err
