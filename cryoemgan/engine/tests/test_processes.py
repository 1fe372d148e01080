"""Two processes train like one: batches, gradients and validation are shared, files are written once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cryoemgan.engine.__main__ import main

from . import test_going_on, toypairs
from .test_going_on import content
from .test_resume import OPTIONS, ROOT
from .test_train import rows, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]
data = test_going_on.data

# Adam's first steps are signs: at a high rate rounding of tiny gradients would grow.
OPTIONS = {**OPTIONS, 'learning_rate_generator': 1e-5, 'learning_rate_discriminator': 1e-5, 'iterations': 3,
           'evaluations': 3}  # fmt: skip


def train(folder, options, processes, start='alone'):
    """One run, by this process or from a shell by two; gives its summary."""
    words = [str(x) for k, v in options.items() for x in ('--' + k.replace('_', '-'), v)]
    words = ['train', '--output', str(folder), '--device', 'cpu', *words]
    if processes == 1:
        assert main(words) == 0
        return json.loads((folder / 'summary.json').read_text())
    command = [sys.executable, '-m']
    if start == 'torchrun':
        with socket.socket() as s:
            s.bind(('localhost', 0))
            port = s.getsockname()[1]
        command += ['torch.distributed.run', '--nproc-per-node', '2', '--master-port', str(port), '--module']
    command += ['cryoemgan.engine', *words]
    if start == 'alone':
        command += ['--devices', '2']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('checking pairs') <= 1
    return json.loads((folder / 'summary.json').read_text())


def assert_equal(one, two, columns):
    """Metrics and weights of two runs are the same within rounding."""
    for a, b in zip(rows(one), rows(two), strict=True):
        for name in columns:
            # Before the first step there are no losses.
            assert bool(a[name]) == bool(b[name]), name
            assert float(b[name] or 0) == pytest.approx(float(a[name] or 0), rel=1e-3, abs=1e-5), name
    for x, y in zip(weights(one).values(), weights(two).values()):
        assert torch.allclose(x, y, atol=1e-4)


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    """(options, folder, summary) of a training by one process."""
    folder = tmp_path_factory.mktemp('one')
    particles, references = toypairs.pairs(folder / 'data', count=60)
    options = {**OPTIONS, 'particles': particles, 'references': references}
    return options, folder / '1', train(folder / '1', options, 1)


@pytest.mark.parametrize('start', ['torchrun', 'alone'])
def test_two_processes_equal_one(tmp_path, one, start):
    options, folder, alone = one
    two = train(tmp_path / '2', options, 2, start)
    assert (alone['processes'], two['processes']) == (1, 2)
    assert two['best']['mse'] == pytest.approx(alone['best']['mse'], rel=1e-4)
    columns = 'mse', 'ssim', 'd_real', 'reconstruction', 'score_fake', 'gradient_generator'
    assert_equal(folder, tmp_path / '2', columns)


def test_two_processes_share_the_questions_to_the_bank(tmp_path):
    particles, references = toypairs.pairs(tmp_path / 'data', count=60, noise=0.5)
    options = {**OPTIONS, 'particles': particles, 'references': references, 'network': 'guided', 'gan': 'none'}
    one, two = (train(tmp_path / f'{n}', options, n) for n in (1, 2))
    assert two['best']['mse'] == pytest.approx(one['best']['mse'], rel=1e-3)
    a, b = (load_file(tmp_path / f'{n}' / 'guide.safetensors') for n in (1, 2))
    # Nobody knows the poses, hence no disagreement with them.
    assert a['scores'].nan_to_num().abs().max() > 0.5
    torch.testing.assert_close(b['present'], a['present'], rtol=0, atol=0.01)
    torch.testing.assert_close(b['scores'], a['scores'], rtol=0.01, atol=0.01, equal_nan=True)
    assert_equal(tmp_path / '1', tmp_path / '2', ('mse', 'ssim', 'reconstruction', 'gradient_generator'))


def run_command(arguments, processes, **popen):
    """A command started from a shell, not waited for."""
    words = [sys.executable, '-m', 'cryoemgan.engine', *map(str, arguments), '--device', 'cpu', '--threads', '1']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [*words, '--devices', str(processes)], env=environment, text=True, start_new_session=True, **popen
    )


@pytest.mark.parametrize('command', ['denoise', 'project'])
def test_two_processes_write_what_one_does(tmp_path, data, command):
    """In order, and every image once, also when one process has a batch less."""
    particles, volume, model = data
    more = {'denoise': ['--model', model, '--precision', 'float32'], 'project': ['--volume', volume, '--ctf', 'none']}
    for n in (1, 2):
        options = [command, '--particles', particles, '--batch-size', 5, '--output', tmp_path / str(n), *more[command]]
        assert (
            main([*map(str, options), '--device', 'cpu', '--threads', '1'])
            if n == 1
            else run_command(options, n).wait(300)
        ) == 0
    a, b = (content(tmp_path / str(n)) for n in (1, 2))
    assert a.keys() == b.keys()
    assert {name for name in a if a[name] != b[name]} == set()
    assert json.loads((tmp_path / '2' / 'summary.json').read_text())['processes'] == 2


def test_a_killed_process_ends_the_run_in_one_sentence_and_another_number_goes_on(tmp_path):
    particles, references = toypairs.pairs(tmp_path / 'data', count=60)
    options = {**OPTIONS, 'particles': particles, 'references': references, 'iterations': 40, 'evaluations': 20}
    words = [str(x) for k, v in options.items() if k != 'threads' for x in ('--' + k.replace('_', '-'), v)]
    train_it = ['train', '--output', tmp_path / 't', *words]
    run = run_command(train_it, 2, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    for _ in range(1200):
        if (tmp_path / 't' / 'checkpoints' / 'last.pt').exists() or run.poll() is not None:
            break
        time.sleep(0.1)
    (child,) = Path(f'/proc/{run.pid}/task/{run.pid}/children').read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1, said[-3000:]
    assert said.count('cryoemgan: ') == 1
    assert 'cryoemgan: another process of this run has ended' in said
    assert '--resume' in said
    assert not (tmp_path / 't' / 'summary.json').exists()
    assert run_command([*train_it, '--resume'], 1).wait(300) == 0
    found = json.loads((tmp_path / 't' / 'summary.json').read_text())
    assert (found['processes'], found['iterations']) == (1, 40)
