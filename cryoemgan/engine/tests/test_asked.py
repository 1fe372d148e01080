"""What a map prior says is taken up after a kill: the same bytes as of a run that nobody disturbed."""

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data import stack_writer
from cryoemgan.engine.posterior import guided_pairs
from cryoemgan.engine.posterior.asked import Asked
from cryoemgan.engine.posterior.guided_pairs import GuidedPairs

from . import toypairs

COUNT, BOX = 23, 4
ANSWERS = np.random.default_rng(0).normal(size=(COUNT, 2, BOX, BOX)).astype(np.float16)
VALUES = np.random.default_rng(1).normal(size=(COUNT, 3))


@pytest.fixture(autouse=True)
def every_batch(monkeypatch):
    monkeypatch.setattr(stack_writer, 'FLUSH_SECONDS', -1.0)


def ask(path, until=COUNT, identity='a', resume=False):
    """Where it began, and what was found of all."""
    with Asked(path, COUNT, BOX, 3, identity, resume) as asked:
        begin = asked.done
        while asked.done < COUNT:
            if asked.done >= until:
                raise KeyboardInterrupt
            rows = np.arange(asked.done, min(asked.done + 4, COUNT))
            asked.add(rows, ANSWERS[rows], VALUES[rows])
    return begin, asked.values


def test_goes_on_where_it_was(tmp_path):
    ask(whole := tmp_path / 'w.npy')
    np.testing.assert_array_equal(np.load(whole), ANSWERS)
    path = tmp_path / 'o.npy'
    for until, resume in ((8, False), (16, True)):
        with pytest.raises(KeyboardInterrupt):
            ask(path, until, resume=resume)
    begin, values = ask(path, resume=True)
    assert begin == 16
    np.testing.assert_array_equal(values, VALUES)
    assert path.read_bytes() == whole.read_bytes()
    assert ask(path, resume=True)[0] == COUNT
    assert ask(path, identity='other', resume=True)[0] == 0, 'answers to other questions'
    assert ask(path)[0] == 0


@pytest.mark.parametrize('seed', range(9))
def test_damage_only_costs_time(tmp_path, seed):
    path, rng = tmp_path / 'o.npy', np.random.default_rng(seed)
    with pytest.raises(KeyboardInterrupt):
        ask(path, 16)
    victim = path if seed % 2 else path.with_name('o.npy.journal')
    data = bytearray(victim.read_bytes())
    data[rng.integers(128 if seed == 3 else len(data))] ^= 1 << rng.integers(8)
    victim.write_bytes([data, data[: rng.integers(len(data))], b''][seed // 2 % 3])
    np.testing.assert_array_equal(ask(path, resume=True)[1], VALUES)
    np.testing.assert_array_equal(np.load(path), ANSWERS)


def test_a_guided_training_that_is_stopped_while_it_asks(tmp_path, monkeypatch, capsys, one_thread):
    particles, references = toypairs.pairs(tmp_path / 'd', count=40, box=32)
    command = ['train', '--particles', str(particles), '--references', str(references), '--network', 'guided',
               '--bank-size', '20', '--candidates', '8', '--cross-fit', 'none', '--iterations', '2', '--evaluations',
               '1', '--batch-size', '4', '--threads', '1', '--precision', 'float32']  # fmt: skip
    monkeypatch.setitem(guided_pairs.CHUNK, 'cpu', 8)
    assert main([*command, '--output', str(tmp_path / 'w')]) == 0
    opinions_of, left = GuidedPairs._opinions_of, [3]

    def dying(self, rows, portions):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return opinions_of(self, rows, portions)

    monkeypatch.setattr(GuidedPairs, '_opinions_of', dying)
    assert main([*command, '--output', str(tmp_path / 'o')]) == 1
    left[0] = 10**6
    capsys.readouterr()
    assert main([*command, '--output', str(tmp_path / 'o'), '--resume']) == 0
    said = capsys.readouterr().out
    assert 'template library and calibration are made again' in said
    assert '24 of 48 images had been compared with the map: going on' in said
    assert 10**6 - left[0] == 3
    # The answers themselves go when the training has finished; what was found of each is kept.
    one, other = ((tmp_path / name / 'guide.safetensors').read_bytes() for name in 'ow')
    assert one == other
    assert not list(tmp_path.rglob('*.journal'))
