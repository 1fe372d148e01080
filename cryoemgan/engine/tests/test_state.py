"""State on disk that is not what was written is told and made again, never believed."""

import json

import numpy as np
import pytest

from cryoemgan.engine.files import CHECKSUM, file_digest, read_state, write_state
from cryoemgan.engine.posterior import dataset

from .test_resume import damaged


def test_state_is_what_was_written_or_nothing(tmp_path):
    path, rng = tmp_path / 's.json', np.random.default_rng(0)
    content = {'gain': 1.25, 'names': ['a', 'ü'], 'nested': {'none': None}}
    write_state(path, content)
    assert read_state(path) == content
    whole = path.read_bytes()
    for _ in range(300):
        path.write_bytes(damaged(whole, rng))
        assert read_state(path) in (None, content)
    path.write_text(json.dumps(content))
    assert read_state(path) is None, f'believed without {CHECKSUM}'


@pytest.mark.parametrize('name', [dataset.DONE, dataset.BANK, dataset.OPINIONS])
def test_damaged_posterior_is_computed_again(tmp_path, name):
    rng, told = np.random.default_rng(1), []
    for k, file in enumerate((dataset.BANK, dataset.OPINIONS)):
        (tmp_path / file).write_bytes(rng.bytes(1000 + k))
    digests = {n: file_digest(tmp_path / n) for n in (dataset.BANK, dataset.OPINIONS)}
    write_state(tmp_path / dataset.DONE, {'identity': 'x', 'guide': {'gain': 2.0}, 'sha256': digests})

    class Job:
        warn = say = staticmethod(told.append)

    assert dataset._kept(tmp_path, 'x', Job) == ({'gain': 2.0}, True)
    assert dataset._kept(tmp_path, 'other', Job) is None
    assert not told
    path = tmp_path / name
    path.write_bytes(damaged(path.read_bytes(), rng))
    assert dataset._kept(tmp_path, 'x', Job) is None
    assert str(path) in told[0]
    path.unlink()
    # A finished training keeps no opinions, and what its guide had learnt.
    left = ({'gain': 2.0}, False) if name == dataset.OPINIONS else None
    assert dataset._kept(tmp_path, 'x', Job) == left
