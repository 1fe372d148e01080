"""A finished result that is not what its run wrote is told: made again by --resume, refused by whoever reads it."""

import json
import shutil

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import CHECKSUM
from cryoemgan.engine.finished import damage

from . import toypairs
from .test_going_on import content, data, options  # noqa: F401
from .test_resume import damaged

SHORT = ['--iterations', '6', '--evaluations', '3', '--batch-size', '4', '--network', 'residual', '--threads', '1']


@pytest.fixture(scope='module')
def whole(tmp_path_factory, data):  # noqa: F811
    """A finished result of each command, in the way it was asked for."""
    folder, found = tmp_path_factory.mktemp('whole'), {}
    for command in ('project', 'denoise'):
        found[command] = options(command, data), folder / command
    star = folder / 'denoise/denoised.star'
    found['originals'] = ['originals', '--particles', str(star), '--source', str(data[0])], folder / 'originals'
    pairs = ['--particles', str(data[0]), '--references', str(folder / 'project/references.star')]
    found['train'] = (
        ['train', *pairs, '--gan', 'none', '--cross-fit', 'folds', '--folds', '2', *SHORT],
        folder / 'train',
    )
    for command, out in found.values():
        assert main([*command, '--output', str(out)]) == 0
    return found


def files_of(folder):
    """Files whose damage is to be told: everything but what says whose folder it is."""
    return sorted(p for p in folder.rglob('*') if p.is_file() and p.name != 'settings.json')


def results(folder):
    """{name: bytes} of what is compared; of a training its table without the seconds."""
    if not (folder / 'model').exists():
        return content(folder)
    return [line.split(',')[:3] + line.split(',')[4:] for line in (folder / 'metrics.csv').read_text().splitlines()]


@pytest.mark.parametrize('command', ['project', 'denoise', 'originals', 'train'])
@pytest.mark.parametrize('seed', range(4))
def test_resume_makes_a_damaged_result_again(tmp_path, whole, capsys, command, seed, one_thread):
    arguments, folder = whole[command]
    out = shutil.copytree(folder, tmp_path / 'o')
    expected = results(out)
    rng, files = np.random.default_rng(seed), files_of(out)
    path = files[rng.integers(len(files))] if seed else next(p for p in files if p.suffix in ('.star', '.safetensors'))
    path.write_bytes(damaged(path.read_bytes(), rng)) if seed != 1 else path.unlink()
    capsys.readouterr()
    assert main([*arguments, '--output', str(out), '--resume']) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert path.name == 'summary.json' or (path.name in said and 'it is made again' in said)
    assert results(out) == expected
    assert main([*arguments, '--output', str(out), '--resume']) == 0
    assert 'nothing is left to do' in capsys.readouterr().out
    if command == 'train':
        star = ['denoise', '--particles', arguments[2], '--model', str(out / 'model'), '--output', str(tmp_path / 'd')]
        assert main(star) == 0


@pytest.mark.parametrize('name', ['references.star', 'references.mrcs', 'summary.json'])
def test_what_is_not_as_it_was_written_is_not_read(tmp_path, whole, capsys, name, one_thread):
    _, folder = whole['project']
    out, rng = shutil.copytree(folder, tmp_path / 'o'), np.random.default_rng(2)
    spoilt = bytearray((out / name).read_bytes())
    spoilt[rng.integers(1024, len(spoilt))] ^= 1
    (out / name).write_bytes(spoilt)
    command = ['evaluate', '--references', str(out / 'references.star'), '--particles',
               f'p={whole["denoise"][1] / "denoised.star"}', '--output', str(tmp_path / 'e')]  # fmt: skip
    assert main(command) == 2
    said = capsys.readouterr().err
    assert name in said
    assert '--resume' in said
    assert not (tmp_path / 'e').exists()


def test_a_table_changed_by_hand_needs_another_name(tmp_path, whole, capsys, one_thread):
    _, folder = whole['denoise']
    out = shutil.copytree(folder, tmp_path / 'o')
    table = ParticleTable.read(out / 'denoised.star')
    source = whole['originals'][0][-1]
    for name, status in (('denoised.star', 2), ('mine.star', 0)):
        table.kept(np.arange(5)).write(out / name)
        command = ['originals', '--particles', str(out / name), '--source', source, '--output', str(tmp_path / name)]
        assert main(command) == status
    assert 'belongs under another name' in capsys.readouterr().err


def test_results_of_earlier_versions_are_believed(tmp_path, whole, capsys, one_thread):
    """They say nothing of their files."""
    arguments, folder = whole['originals']
    out = shutil.copytree(folder, tmp_path / 'o')
    for name in ('summary.json', 'settings.json'):
        known = json.loads((out / name).read_text())
        del known[CHECKSUM]
        known.pop('files', None)
        (out / name).write_text(json.dumps(known))
    assert main([*arguments, '--output', str(out), '--resume']) == 0
    assert 'nothing is left to do' in capsys.readouterr().out


def test_damaged_settings_are_nobodys(tmp_path, whole, capsys, one_thread):
    arguments, folder = whole['originals']
    out = shutil.copytree(folder, tmp_path / 'o')
    text = (out / 'settings.json').read_text()
    (out / 'settings.json').write_text(text.replace('"seed": 1', '"seed": 0'))
    assert main([*arguments, '--output', str(out), '--resume', '--seed', '0']) == 2
    assert 'settings.json is damaged' in capsys.readouterr().err


def test_overwriting_a_guided_training_leaves_others_files(tmp_path, one_thread):
    particles, references = toypairs.pairs(tmp_path / 'd', count=24, box=32)
    command = ['train', '--particles', str(particles), '--references', str(references), '--network', 'guided',
               '--bank-size', '20', '--candidates', '8', '--cross-fit', 'none', '--iterations', '2', '--evaluations',
               '1', '--batch-size', '4', '--threads', '1', '--output', str(tmp_path / 'o')]  # fmt: skip
    assert main(command) == 0
    (tmp_path / 'o/notes.txt').write_text('mine')
    assert main([*command, '--overwrite']) == 0
    assert (tmp_path / 'o/notes.txt').read_text() == 'mine'
    assert (tmp_path / 'o/summary.json').is_file()


def test_a_damaged_step_is_damage_of_the_whole(tmp_path, whole):
    """What ``report`` has made is the results of its steps."""
    shutil.copytree(whole['originals'][1], tmp_path / '1_originals')
    summary = {'steps': [{'folder': '1_originals'}]}
    assert damage([tmp_path], summary) is None
    (tmp_path / '1_originals/originals.star').unlink()
    assert '1_originals' in damage([tmp_path], summary)
