"""What engine tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def shared_data():
    """Folder of real maps and RELION's images beside the repository; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[3].parent / 'shared' / 'data'
    folder = Path(os.environ.get('CRYOEMGAN_SHARED_DATA', beside))
    if not folder.is_dir():
        pytest.skip('no shared data on this machine')
    return folder
