"""The tests of the protocols run in a Scipion without pytest, by its own runner and by unittest."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyworkflow.apps import pw_run_tests

FOLDER = Path(__file__).parent
# Those of whole runs, which a user of Scipion may want to repeat.
PLAIN = ('family', 'guided_workflow', 'messages', 'report_workflow', 'selection', 'stop', 'streaming', 'workflow')


@pytest.fixture
def without_pytest(tmp_path):
    """Environment in which pytest cannot be imported, and projects lie in a folder of their own."""
    (tmp_path / 'pytest.py').write_text('raise ImportError("this Scipion has no pytest")\n')
    path = [str(tmp_path), str(FOLDER.parents[1]), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path)), 'SCIPION_USER_DATA': str(tmp_path / 'ud')}


@pytest.mark.parametrize('name', PLAIN)
def test_no_test_of_a_workflow_needs_pytest(name):
    nodes = ast.walk(ast.parse((FOLDER / f'test_{name}.py').read_text(encoding='utf-8')))
    found = [n for n in nodes if isinstance(n, ast.Import) and any(a.name == 'pytest' for a in n.names)]
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize(
    'command',
    [
        [pw_run_tests.__file__, 'cryoemgan.tests.test_messages.TestMessages.test_nothing_wrong', '--run'],
        ['-m', 'unittest', 'cryoemgan.tests.test_messages.TestMessages.test_nothing_wrong'],
    ],
    ids=['scipion', 'unittest'],
)
def test_runners_of_others(command, without_pytest):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *command], env=without_pytest, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert 'test_nothing_wrong' in said or 'Ran 1 test' in said
    assert 'FAILED' not in said
