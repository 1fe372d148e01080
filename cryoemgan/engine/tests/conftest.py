"""What engine tests share."""

import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.view_clusters import directions
from cryoemgan.engine.tests import claw_templates


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


@pytest.fixture(scope='session')
def templates():
    """Projections of the claw, evenly spread, and their poses."""
    matrices = directions(claw_templates.SIZE)
    return claw_templates.project(0, matrices.numpy()), matrices


@pytest.fixture(scope='session')
def bank(templates):
    """Their TemplateLibrary."""
    return TemplateLibrary.from_images(*templates)


@pytest.fixture(scope='session')
def claw_particles():
    """Particles of the claw: (clean, noisy, s.d. of the noise, poses)."""
    matrices = random_matrices(claw_templates.COUNT, 5)
    clean = claw_templates.project(0, matrices)
    return clean, *claw_templates.noisy(clean, 0.5), matrices


@pytest.fixture(scope='session')
def made_once(tmp_path_factory):
    """made_once(name, make): a folder that ``make`` fills, once for all processes and files of a run of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base

    def folder(name, make):
        place, done = shared / name, shared / f'{name}.done'
        with FileLock(shared / f'{name}.lock'):
            if not done.exists():
                place.mkdir()
                make(place)
                done.touch()
        return place

    return folder
