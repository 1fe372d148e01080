"""A run killed at any moment and resumed ends bit for bit like the unbroken one; damaged or other input is refused."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ..__main__ import run
from ..errors import InputError, Interrupted
from ..settings.train import Train
from ..signals import Stop
from ..training import checkpoints
from ..training.step import Training
from . import toypairs
from .test_train import rows, weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
# Everything that has a state: a GAN with two optimisers, averaging, schedule, augmentation, batches across epochs.
OPTIONS = dict(
    cross_fit='none',
    gan='beta',
    iterations=12,
    evaluations=6,
    batch_size=8,
    threads=1,
    precision='float32',
    generator_steps=2,
    shift=2,
)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    particles, references = toypairs.pairs(tmp_path_factory.mktemp('data'), count=60)
    return dict(particles=str(particles), references=str(references))


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('unbroken') / 'o'
    train(folder, data)
    return folder


def train(folder, data, **options):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run('train', Train(output=str(folder), **{**OPTIONS, **data, **options}))
    finally:
        torch.set_num_threads(before)


def command(folder, data):
    """The same run from a shell."""
    options = {**OPTIONS, **data, 'output': folder}.items()
    words = [x for k, v in options for x in ('--' + k.replace('_', '-'), str(v))]
    return [sys.executable, '-m', 'cryoemgan.engine', 'train', *words]


def killed(folder, data, evaluations):
    """Start a run in another process and kill it (SIGKILL) after so many evaluations."""
    process = subprocess.Popen(command(folder, data), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    metrics, deadline = folder / 'metrics.csv', time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) > evaluations:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, 'the run ended before it was killed'


@pytest.mark.parametrize('evaluations', [1, 4])
def test_killed_and_resumed_equals_unbroken(tmp_path, data, unbroken, evaluations):
    folder = tmp_path / 'o'
    killed(folder, data, evaluations)
    assert not (folder / 'summary.json').exists()
    train(folder, data, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(folder).values(), weights(unbroken).values()))
    a, b = (checkpoints.load(f / 'checkpoints') for f in (folder, unbroken))
    for side in ('generator', 'discriminator', 'average'):
        assert all(torch.equal(x, b[side][k]) for k, x in a[side].items())
    for row in (one := rows(folder)) + (other := rows(unbroken)):
        del row['seconds']
    assert one == other


def test_the_end_of_a_queues_time_saves_the_state(tmp_path, data, unbroken):
    """SIGTERM: the iteration ends, a checkpoint is written, and one sentence says how to go on."""
    folder = tmp_path / 'o'
    process = subprocess.Popen(command(folder, data), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    metrics, deadline = folder / 'metrics.csv', time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 1
    found = re.match(r'cryoemgan: stopped after iteration (\d+), the state is saved.*--resume goes on', said)
    assert checkpoints.load(folder / 'checkpoints')['iteration'] == int(found[1])
    train(folder, data, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(folder).values(), weights(unbroken).values()))


@pytest.mark.parametrize('iteration', [4, 5, 12])
def test_a_signal_at_any_iteration_loses_no_evaluation(tmp_path, data, unbroken, monkeypatch, iteration):
    """Evaluations are due after iterations 2, 4, ..., 12: one that the signal came before is made up for."""
    iterate, listening, stops = Training.iterate, Stop.listening, []

    def remembered(self):
        stops.append(self)
        return listening(self)

    def signalled(self, progress):
        iterate(self, progress)
        stops[-1].asked |= self.iteration == iteration

    with monkeypatch.context() as patch:
        patch.setattr(Stop, 'listening', remembered)
        patch.setattr(Training, 'iterate', signalled)
        with pytest.raises(Interrupted, match=f'after iteration {iteration}'):
            train(tmp_path / 'o', data)
    train(tmp_path / 'o', data, resume=True)
    for row in (one := rows(tmp_path / 'o')) + (other := rows(unbroken)):
        del row['seconds']
    assert one == other


def test_full_disk_is_told_in_one_sentence(tmp_path, data):
    """torch has an error of its own for it. A limit on the size of files stands for the full disk."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))

    process = subprocess.run(
        command(tmp_path / 'o', data), env=ENVIRONMENT, preexec_fn=limited, capture_output=True, text=True, check=False
    )
    last = process.stderr.strip().splitlines()[-1]
    assert process.returncode == 1
    assert 'Traceback' not in process.stderr
    assert last.startswith(f'cryoemgan: {tmp_path / "o/checkpoints"}')
    assert 'disk full' in last
    assert not (tmp_path / 'o/summary.json').exists()
    assert not list((tmp_path / 'o').rglob('*.partial'))


def test_resume_only_makes_longer(tmp_path, data):
    folder = tmp_path / 'o'
    train(folder, data, iterations=4, evaluations=2)
    with pytest.raises(InputError, match='batch-size was 8 .* is 6 now'):
        train(folder, data, iterations=8, evaluations=2, batch_size=6, resume=True)
    particles, references = toypairs.pairs(tmp_path / 'other', count=60, seed=4)
    with pytest.raises(InputError, match='grey-values'):
        train(folder, dict(particles=str(particles), references=str(references)), evaluations=2, resume=True)
    found = train(folder, data, iterations=8, evaluations=2, resume=True)
    assert found['iterations'] == 8
    assert [int(r['iteration']) for r in rows(folder)] == [0, 2, 4, 8]


def damaged(data, rng):
    """A file with one bit flipped, cut, or empty."""
    kind = rng.integers(4)
    if kind == 2:
        return data[: rng.integers(1, len(data))]
    if kind == 3:
        return b''
    data = bytearray(data)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def test_damaged_checkpoint_is_never_taken_for_another(tmp_path):
    rng, states = np.random.default_rng(0), [{'x': torch.randn(50), 'iteration': k} for k in (1, 2)]
    for state in states:
        checkpoints.save(tmp_path, state)
    last, previous = (tmp_path / n for n in (checkpoints.LAST, checkpoints.PREVIOUS))
    whole, before = last.read_bytes(), previous.read_bytes()
    for _ in range(200):
        last.write_bytes(damaged(whole, rng))
        told = []
        found = checkpoints.load(tmp_path, told.append)
        # Damage of the mark that the checksum begins with is harmless.
        assert found['iteration'] == 1 or torch.equal(found['x'], states[1]['x'])
        assert bool(told) == (found['iteration'] == 1)
        assert torch.equal(found['x'], states[found['iteration'] - 1]['x'])
    previous.write_bytes(before[:500])
    last.write_bytes(b'')
    with pytest.raises(InputError, match='last.pt is not a readable checkpoint.*previous.pt is not.*--overwrite'):
        checkpoints.load(tmp_path)


def test_a_run_goes_back_one_checkpoint_and_mends_its_metrics(tmp_path, data, unbroken, capsys):
    folder = tmp_path / 'o'
    shutil.copytree(unbroken, folder)
    (folder / 'summary.json').unlink()
    last, metrics = folder / 'checkpoints' / checkpoints.LAST, folder / 'metrics.csv'
    last.write_bytes(last.read_bytes()[:-1000])
    metrics.write_bytes(b'\xff' + metrics.read_bytes()[5:-7])
    train(folder, data, resume=True)
    assert 'last.pt is not a readable checkpoint' in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(weights(folder).values(), weights(unbroken).values()))
    for row in (one := rows(folder)) + (other := rows(unbroken)):
        del row['seconds']
    assert one == other


def test_checkpoint_that_would_execute_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ('touch ' + str(tmp_path / 'executed'),)

    torch.save({'format': checkpoints.FORMAT, 'x': Evil()}, tmp_path / checkpoints.LAST)
    with pytest.raises(InputError, match='not a readable checkpoint'):
        checkpoints.load(tmp_path)
    assert not (tmp_path / 'executed').exists()


def test_out_of_memory_halves_the_batch(tmp_path, data, monkeypatch):
    from ..training.step import Training

    iterate = Training.iterate

    def full(self, progress):
        if self.batches.size > 4 and self.iteration >= 3:
            raise torch.OutOfMemoryError('simulated')
        iterate(self, progress)

    monkeypatch.setattr(Training, 'iterate', full)
    found = train(tmp_path / 'o', data, iterations=6, evaluations=3)
    assert found['batch_size'] == 4
    assert found['iterations'] == 6
    assert [int(r['iteration']) for r in rows(tmp_path / 'o')] == [0, 2, 4, 6]
