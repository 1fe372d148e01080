"""A run's folder: refused, resumed, replaced; complete only with its summary."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from cryoemgan.engine import __main__ as cli
from cryoemgan.engine.errors import InputError, WorkError
from cryoemgan.engine.job import Job, atomic
from cryoemgan.engine.settings import Denoise


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


def test_failed_run_leaves_no_summary_even_where_one_was(settings, verb, tmp_path):
    cli.run('denoise', settings)

    def fail(s, j, p):
        raise WorkError('broken')

    verb.run = fail
    settings.resume = True
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


def test_filled_folder_is_refused_resumed_or_replaced(settings, verb, tmp_path):
    cli.run('denoise', settings)
    (tmp_path / 'out/extra').write_text('x')
    with pytest.raises(InputError, match='not empty'):
        cli.run('denoise', settings)
    settings.resume = True
    cli.run('denoise', settings)
    assert (tmp_path / 'out/extra').exists()
    settings.resume, settings.overwrite = False, True
    cli.run('denoise', settings)
    assert not (tmp_path / 'out/extra').exists()


def test_two_runs_do_not_write_to_one_folder(settings, verb, tmp_path):
    """A second start with --overwrite emptied the stack that the first was adding noise to: images without signal."""

    def work(s, j, p):
        (j.folder / 'half').write_text('x')
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
    [(InputError('bad row'), 2), (WorkError('diverged'), 1), (OSError(28, 'No space left on device', 'x.mrcs'), 1)],
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


def test_orphan_ends_when_its_protocol_is_killed(tmp_path):
    """Scipion's Stop kills the protocol; a program that goes on would write into a folder nobody watches."""
    parent = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    code = 'from cryoemgan.engine.job import watch_parent; watch_parent(); import time; time.sleep(60)'
    child = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'CRYOEMGAN_PARENT': str(parent.pid)})
    time.sleep(1)
    assert child.poll() is None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert child.wait(timeout=20) == 143


def test_inputs_are_recorded_by_digest(settings, tmp_path):
    (tmp_path / 'p.star').write_text('abc')
    job = Job('denoise', settings)
    job.input(tmp_path / 'p.star')
    assert job.inputs[0]['sha256'].startswith('ba7816bf')
