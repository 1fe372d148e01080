"""The tests of the protocols run in a Scipion without pytest, by its own runner and by unittest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyworkflow.apps import pw_run_tests

FOLDER = Path(__file__).parent
# The others look into the code; a user of Scipion has no reason to run them.
WITH_PYTEST = ('convert', 'convert_optics', 'plugin', 'without_pytest', 'wizards')


@pytest.fixture
def without_pytest(tmp_path):
    """Environment in which pytest cannot be imported, and projects lie in a folder of their own."""
    (tmp_path / 'pytest.py').write_text('raise ImportError("this Scipion has no pytest")\n')
    path = [str(tmp_path), str(FOLDER.parents[1]), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path)), 'SCIPION_USER_DATA': str(tmp_path / 'ud')}


def test_tests_of_forms_templates_and_workflows_need_no_pytest(without_pytest):
    """As Scipion loads them: all are imported, and hold tests that unittest finds."""
    names = sorted(p.stem for p in FOLDER.glob('test_*.py'))
    plain = [n for n in names if n.removeprefix('test_') not in WITH_PYTEST]
    assert len(plain) > 8
    code = (
        'import sys, unittest\n'
        'loader = unittest.TestLoader()\n'
        'for name in sys.argv[1:]:\n'
        '    assert loader.loadTestsFromName(f"cryoemgan.tests.{name}").countTestCases(), name\n'
        'assert not loader.errors, loader.errors\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *plain], env=without_pytest, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


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
