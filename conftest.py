"""Environment for pytest on a pip-installed Scipion: set before anything imports pyworkflow, which reads it once."""

import os
import sys
import tempfile

ROOT = os.environ.setdefault('SCIPION_HOME', os.path.join(tempfile.gettempdir(), f'cryoemgan-scipion-{os.getuid()}'))
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
