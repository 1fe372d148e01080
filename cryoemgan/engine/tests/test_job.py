"""A run's folder: refused, resumed, replaced; complete only with its summary."""

import dataclasses
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from cryoemgan.engine import __main__ as cli
from cryoemgan.engine.errors import InputError, Interrupted, WorkError
from cryoemgan.engine.files import atomic
from cryoemgan.engine.job import Job
from cryoemgan.engine.settings import Denoise, Train


@pytest.fixture
def settings(tmp_path):
    return Denoise(output=str(tmp_path / 'out'))


@pytest.fixture
def verb(monkeypatch):
    """A verb whose work is given by the test."""
    module = SimpleNamespace(load_inputs=lambda s, j: None, run=lambda s, j, p: {'answer': 42})
    monkeypatch.setattr(cli.importlib, 'import_module', lambda *a: module)
    return module


def test_summary_is_written_last_and_says_what_was_run(settings, verb, tmp_path):
    verb.run = lambda s, j, p: {'seen': (j.folder / 'summary.json').exists()}
    cli.run('denoise', settings)
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert summary['seen'] is False
    assert summary['settings']['batch_size'] == settings.batch_size
    assert summary['peak_memory_bytes'] > 1e6
    assert {'wall_seconds', 'cpu_seconds', 'inputs', 'outputs', 'warnings', 'version'} <= set(summary)


def test_failed_run_leaves_no_summary(settings, verb, tmp_path):
    def fail(s, j, p):
        raise WorkError('broken')

    verb.run = fail
    with pytest.raises(WorkError):
        cli.run('denoise', settings)
    assert not (tmp_path / 'out/summary.json').exists()


def test_wrong_input_touches_nothing(settings, verb, tmp_path):
    def refuse(s, j):
        raise InputError('no')

    verb.load_inputs = refuse
    with pytest.raises(InputError):
        cli.run('denoise', settings)
    assert not (tmp_path / 'out').exists()


def test_filled_folder_is_refused_or_resumed(settings, verb, tmp_path):
    cli.run('denoise', settings)
    with pytest.raises(InputError, match='not empty'):
        cli.run('denoise', settings)
    settings.resume = True
    verb.run = lambda s, j, p: pytest.fail('a finished run was done again')
    assert cli.run('denoise', settings)['answer'] == 42


def test_a_finished_training_may_go_on(verb, tmp_path):
    table = str(tmp_path / 'particles.star')
    (tmp_path / 'particles.star').touch()
    settings = Train(output=str(tmp_path / 'out'), particles=table, references=table, iterations=10)
    cli.run('train', settings)
    settings.resume, settings.iterations = True, 20
    verb.run = lambda s, j, p: {'iterations': s.iterations}
    assert cli.run('train', settings)['iterations'] == 20
    settings.cross_fit = 'none'
    with pytest.raises(InputError, match='cross-fit'):
        cli.run('train', settings)


def work_that_writes(text, name='result'):
    def work(s, j, p):
        j.output(name).write_text(text)
        return {}

    return work


def test_replacing_leaves_the_old_result_whole_until_the_new_one_is(settings, verb, tmp_path):
    out = tmp_path / 'out'
    verb.run = work_that_writes('old', 'first')
    cli.run('denoise', settings)
    (out / 'notes.txt').write_text('mine')
    settings.overwrite = True

    def killed(s, j, p):
        j.output('second').write_text('half')
        raise KeyboardInterrupt

    verb.run = killed
    with pytest.raises(KeyboardInterrupt):
        cli.run('denoise', settings)
    assert (out / 'first').read_text() == 'old'
    assert json.loads((out / 'summary.json').read_text())['outputs'] == ['first']
    verb.run = work_that_writes('new', 'second')
    cli.run('denoise', settings)
    assert {p.name for p in out.iterdir()} == {'second', 'notes.txt', 'settings.json', 'summary.json'}


def test_resume_finishes_a_replacement_killed_half_way(settings, verb, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    verb.run = work_that_writes('old', 'first')
    cli.run('denoise', settings)
    settings.overwrite, verb.run = True, work_that_writes('new', 'second')
    real, left = os.replace, [3]

    def dying(a, b):
        if '.unfinished' in str(a) and not str(a).endswith('.partial'):
            left[0] -= 1
            if left[0] < 2:
                raise KeyboardInterrupt
        return real(a, b)

    monkeypatch.setattr(os, 'replace', dying)
    with pytest.raises(KeyboardInterrupt):
        cli.run('denoise', settings)
    assert not (out / 'summary.json').exists()
    monkeypatch.undo()
    settings.overwrite, settings.resume = False, True
    monkeypatch.setattr(cli.importlib, 'import_module', lambda *a: verb)
    cli.run('denoise', settings)
    assert json.loads((out / 'summary.json').read_text())['outputs'] == ['second']
    assert {p.name for p in out.iterdir()} == {'second', 'settings.json', 'summary.json'}


@pytest.mark.parametrize('name', ['precision', 'cut'])
def test_resume_with_other_settings_is_refused_by_name(settings, verb, tmp_path, name):
    cli.run('denoise', settings)
    (tmp_path / 'out/summary.json').unlink()
    settings.resume = True
    setattr(settings, name, 'bfloat16' if name == 'precision' else '12')
    with pytest.raises(InputError, match=name.replace('_', '-')):
        cli.run('denoise', settings)
    # The images at a time are the machine's.
    resumed = dataclasses.replace(settings, precision='auto', cut='auto', batch_size=7)
    cli.run('denoise', resumed)


@pytest.mark.parametrize('size', [1000, 65 * 2**20])
def test_resume_after_the_input_changed_is_refused(settings, verb, tmp_path, size):
    source = tmp_path / 'p.star'
    with open(source, 'wb') as f:
        f.truncate(size)
    verb.load_inputs = lambda s, j: j.input(source)
    cli.run('denoise', settings)
    (tmp_path / 'out/summary.json').unlink()
    settings.resume = True
    # Moved: still the same.
    source = source.rename(tmp_path / 'moved.star')
    cli.run('denoise', settings)
    (tmp_path / 'out/summary.json').unlink()
    with open(source, 'r+b') as f:
        f.seek(size - 10)
        f.write(b'other')
    with pytest.raises(InputError, match=r'moved.star has changed'):
        cli.run('denoise', settings)


def test_overwrite_does_not_replace_its_own_input(settings, verb, tmp_path):
    verb.run = work_that_writes('x', 'table.star')
    cli.run('denoise', settings)
    settings.overwrite = True
    verb.load_inputs = lambda s, j: j.input(tmp_path / 'out/table.star')
    with pytest.raises(InputError, match='is read by this run'):
        cli.run('denoise', settings)
    assert (tmp_path / 'out/table.star').read_text() == 'x'


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), np.float32('nan'), np.array([1.0, np.inf])])
def test_summary_is_finite_or_not_there(settings, verb, tmp_path, bad):
    verb.run = lambda s, j, p: {'found': {'scale': bad}}
    with pytest.raises(WorkError, match='found.scale'):
        cli.run('denoise', settings)
    assert not (tmp_path / 'out/summary.json').exists()


def test_pipes_and_devices_are_refused_before_they_hang(settings, tmp_path):
    os.mkfifo(tmp_path / 'p.star')
    for path in (tmp_path / 'p.star', '/dev/zero'):
        with pytest.raises(InputError, match='not a file on disk'):
            Job('denoise', settings).input(path)


def test_two_runs_do_not_write_to_one_folder(settings, verb, tmp_path):
    """A second start with --overwrite emptied the stack that the first was adding noise to: images without signal."""

    def work(s, j, p):
        j.output('half').write_text('x')
        second = dataclasses.replace(s, overwrite=True)
        with pytest.raises(InputError, match='another run is writing'):
            cli.run('denoise', second)
        assert (j.folder / 'half').exists()
        return {}

    verb.run = work
    cli.run('denoise', settings)
    # The first is over, however it ended.
    verb.run = lambda s, j, p: {}
    settings.overwrite = True
    cli.run('denoise', settings)
    assert not (tmp_path / 'out/half').exists()


def test_overwrite_does_not_empty_a_folder_of_others(settings, verb, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/thesis.tex').write_text('x')
    settings.overwrite = True
    with pytest.raises(InputError, match='nothing in it is touched'):
        cli.run('denoise', settings)
    (tmp_path / 'out/settings.json').write_text(json.dumps({'verb': 'train'}))
    with pytest.raises(InputError, match='was not written by "denoise"'):
        cli.run('denoise', settings)
    assert (tmp_path / 'out/thesis.tex').exists()


def test_atomic_leaves_nothing_behind_on_error(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / 'a') as partial:
        partial.write_text('half')
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (InputError('bad row'), 2),
        (WorkError('diverged'), 1),
        (Interrupted('stopped by SIGTERM'), 1),
        (KeyboardInterrupt(), 1),
        (OSError(28, 'No space left on device', 'x.mrcs'), 1),
        (PermissionError(13, 'Permission denied', 'p.star'), 2),
        (np.linalg.LinAlgError('Singular matrix'), 1),
        (MemoryError(), 1),
        (ZeroDivisionError('float\ndivision'), 1),
    ],
)
def test_exit_status_and_one_message(verb, tmp_path, capsys, error, status):
    def fail(s, j, p):
        raise error

    verb.run = fail
    (tmp_path / 'p.star').touch()
    argv = [
        'denoise',
        '--particles',
        str(tmp_path / 'p.star'),
        '--model',
        str(tmp_path),
        '--output',
        str(tmp_path / 'o'),
    ]
    assert cli.main(argv) == status
    text = capsys.readouterr().err.strip()
    assert text.startswith('cryoemgan: ')
    assert '\n' not in text


def test_inputs_are_recorded_by_digest(settings, tmp_path):
    (tmp_path / 'p.star').write_text('abc')
    job = Job('denoise', settings)
    job.input(tmp_path / 'p.star')
    assert job.inputs[0]['sha256'].startswith('ba7816bf')
