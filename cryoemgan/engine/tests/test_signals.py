"""Programs that are told to end, or left alone: by signals, a protocol that was killed, a reader that went away."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cryoemgan.engine.finished import is_whole


def test_orphan_ends_when_its_protocol_is_killed(tmp_path):
    """Scipion's Stop kills the protocol; a program that goes on would write into a folder nobody watches."""
    parent = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    code = 'from cryoemgan.engine.signals import watch_parent; watch_parent(); import time; time.sleep(60)'
    child = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'CRYOEMGAN_PARENT': str(parent.pid)})
    time.sleep(1)
    assert child.poll() is None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert child.wait(timeout=20) == 143


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize('moment', ['loading', 'run'])
def test_a_signal_ends_a_run_with_one_sentence(tmp_path, number, moment):
    code = (
        'import sys, time\n'
        'from cryoemgan.engine import __main__ as cli\n'
        'from types import SimpleNamespace\n'
        'def work(*_):\n'
        "    print('working', flush=True)\n"
        '    time.sleep(60)\n'
        'module = SimpleNamespace(load_inputs=lambda *_: None, run=work)\n'
        f"cli.importlib.import_module = work if '{moment}' == 'loading' else lambda *_: module\n"
        f"sys.exit(cli.main(['simulate', '--phantom', '1', '--output', {str(tmp_path / 'o')!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, '-u', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == 'working'
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith(f'cryoemgan: stopped by {number.name}')
    assert 'Traceback' not in said


def test_nobody_reading_does_not_end_a_run(tmp_path):
    """`cryoemgan ... | head -1`."""
    command = f'{sys.executable} -m cryoemgan.engine simulate --phantom 1 --count 4 --box 16 --output {tmp_path / "o"}'
    subprocess.run(f'{command} 2>&1 | true', shell=True, check=True)
    assert (tmp_path / 'o/summary.json').exists()
    # Without any stream the first file of results would be the standard output.
    subprocess.run(f'{command} --overwrite <&- >&- 2>&-', shell=True, check=True)
    assert is_whole(tmp_path / 'o')
