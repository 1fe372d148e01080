"""What engine tests share."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope='session')
def shared_data():
    """Folder of real maps and RELION's images beside the repository; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[3].parent / 'shared' / 'data'
    folder = Path(os.environ.get('CRYOEMGAN_SHARED_DATA', beside))
    if not folder.is_dir():
        pytest.skip('no shared data on this machine')
    return folder


@pytest.fixture(scope='module')
def one_thread():
    """Tiny networks on two spinning threads of a busy machine take fifty times longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
