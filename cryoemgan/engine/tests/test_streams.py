"""Stages of a stream overlap and keep the order; where memory runs out, batches shrink and nothing is lost."""

import threading
import time

import numpy as np
import pytest
import torch

from ..__main__ import run
from ..commands.project.references import Renderer
from ..data.stack_writer import ResumableStack
from ..data.stacks import StackReader
from ..data.table import ParticleTable
from ..inference.ensemble import Ensemble
from ..inference.model import Model
from ..settings.denoise import Denoise
from ..settings.project import Project
from ..streams import Portions, in_stages
from . import test_going_on

data = test_going_on.data


def test_results_come_in_order_and_stages_overlap():
    at_work, most = set(), []

    def stage(name):
        def work(item):
            at_work.add(name)
            most.append(len(at_work))
            time.sleep(0.01 * (item % 3))
            at_work.discard(name)
            return item + 1

        return work

    assert list(in_stages(range(20), stage('read'), stage('compute'), stage('write'))) == list(range(3, 23))
    assert max(most) > 1


def test_no_more_is_begun_than_is_asked_for():
    begun = []
    stream = in_stages(range(100), lambda x: begun.append(x) or x, ahead=3)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert len(begun) <= 5


def test_an_error_comes_where_it_belongs_and_ends_every_thread():
    def third(x):
        if x == 2:
            raise ValueError('the third')
        return x

    before, found = threading.active_count(), []
    with pytest.raises(ValueError, match='the third'):
        for x in in_stages(range(50), third, lambda x: x):
            found.append(x)
    assert found == [0, 1]
    assert threading.active_count() == before


def test_portions_halve_for_good_and_lose_nothing():
    said, sizes = [], []

    def work(rows):
        sizes.append(rows.stop - rows.start)
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError('simulated')
        return np.arange(rows.start, rows.stop)

    portions = Portions(said.append)
    for _ in range(2):
        assert np.concatenate(portions(work, 16)).tolist() == list(range(16))
    assert sizes == [16, 8, 4] + [2] * 16
    assert len(said) == 3
    with pytest.raises(torch.OutOfMemoryError):
        Portions()(lambda rows: work(slice(0, 9)), 1)
    with pytest.raises(ZeroDivisionError):
        portions(lambda rows: 1 // 0, 4)


def images(folder, data, command, batch_size=8):
    """Images that a command makes of the toys."""
    particles, volume, model = map(str, data)
    given = dict(output=str(folder), particles=particles, threads=1, batch_size=batch_size)
    if command == 'denoise':
        run('denoise', Denoise(model=model, cut='none', precision='float32', **given))
    else:
        run('project', Project(volume=volume, ctf='none', **given))
    (table,) = folder.glob('*.star')
    return ParticleTable.read(table).images().read(np.arange(24))


@pytest.mark.parametrize(('command', 'worker'), [('denoise', Model), ('project', Renderer)])
def test_a_command_that_runs_out_of_memory_goes_on_with_less(tmp_path, data, capsys, monkeypatch, command, worker):
    expected, begin = images(tmp_path / 'enough', data, command), worker.begin

    def begin_a_few(self, images, *rest, **more):
        # What comes before the stream takes what it gets.
        if len(images) > 3 and threading.current_thread() is not threading.main_thread():
            raise torch.OutOfMemoryError('simulated')
        return begin(self, images, *rest, **more)

    monkeypatch.setattr(worker, 'begin', begin_a_few)
    found = images(tmp_path / 'little', data, command)
    assert 'out of memory with 4 images at a time: going on with 2' in capsys.readouterr().out
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_reading_computing_and_writing_take_the_time_of_the_slowest(tmp_path, data, monkeypatch):
    """Each of them slowed down to the same pace: one after the other they would take three times as long."""
    spans = []

    def slow(owner, name, begun_before=False):
        work = getattr(owner, name)

        def slowly(self, *given):
            start = time.monotonic()
            found = work(self, *given)
            # Some are looked at before the stream.
            if begun_before and threading.current_thread() is threading.main_thread():
                return found
            time.sleep(0.08)
            spans.append((start, time.monotonic()))
            return found

        monkeypatch.setattr(owner, name, slowly)

    slow(StackReader, 'read', begun_before=True)
    slow(Ensemble, '_begun', begun_before=True)
    slow(ResumableStack, 'append')
    images(tmp_path / 'slow', data, 'denoise', batch_size=2)
    monkeypatch.undo()
    starts, ends = map(np.array, zip(*spans))
    assert len(spans) == 3 * 12
    assert ends.max() - starts.min() < 0.7 * (ends - starts).sum()
