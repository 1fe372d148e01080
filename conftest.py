"""Environment for pytest on a pip-installed Scipion: set before anything imports pyworkflow, which reads it once."""

import atexit
import os
import shutil
import sys
import tempfile

import pytest

if 'SCIPION_HOME' not in os.environ:
    # A folder for each run: two runs at once would share the projects' databases.
    os.environ['SCIPION_HOME'] = tempfile.mkdtemp(prefix='cryoemgan-scipion-')
    atexit.register(shutil.rmtree, os.environ['SCIPION_HOME'], ignore_errors=True)
ROOT = os.environ['SCIPION_HOME']
for _name, _value in dict(
    SCIPION_USER_DATA=os.path.join(ROOT, 'userdata'),
    SCIPION_DOMAIN='pwem',
    SCIPION_PYTHON=sys.executable,
    SCIPION_NOTIFY='False',
    SCIPION_TEST_NOSYNC='True',
    VIRTUAL_ENV=sys.prefix,
    MPLBACKEND='Agg',
    OMP_NUM_THREADS='1',
).items():
    os.environ.setdefault(_name, _value)
_hosts = os.environ.setdefault('SCIPION_HOSTS', os.path.join(ROOT, 'config', 'hosts.conf'))
if not os.path.exists(_hosts):
    os.makedirs(os.path.dirname(_hosts), exist_ok=True)
    with open(_hosts, 'w', encoding='utf-8') as _f:
        _f.write('[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d --map-by node %_(COMMAND)s\n')


def pytest_collection_modifyitems(items):
    """What is not slow is fast: ``-m fast`` leaves out trainings and Scipion's projects. Files with slow tests come
    first: a long one that began last would keep one process busy while the other idles."""
    long = set()
    for item in items:
        if item.get_closest_marker('slow') is None:
            item.add_marker(pytest.mark.fast)
        else:
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)
