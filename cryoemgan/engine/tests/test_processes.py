"""Two processes train like one: batches, gradients and validation are shared, files are written once."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from . import toypairs
from .test_resume import OPTIONS, ROOT
from .test_train import rows, weights


@pytest.mark.parametrize('start', ['torchrun', 'alone'])
def test_two_processes_equal_one(tmp_path, start):
    particles, references = toypairs.pairs(tmp_path / 'data', count=60)
    # Adam's first steps are signs: at a high rate rounding of tiny gradients would grow.
    rates = {'learning_rate_generator': 1e-5, 'learning_rate_discriminator': 1e-5}
    data = {'particles': particles, 'references': references}
    options = {**OPTIONS, **rates, **data, 'iterations': 3, 'evaluations': 3}
    for count in (1, 2):
        command = [sys.executable]
        if count == 2 and start == 'torchrun':
            with socket.socket() as s:
                s.bind(('localhost', 0))
                port = s.getsockname()[1]
            command += ['-m', 'torch.distributed.run', '--nproc-per-node', '2', '--master-port', str(port), '--module']
        else:
            command += ['-m']
        words = [str(x) for k, v in options.items() for x in ('--' + k.replace('_', '-'), v)]
        command += ['cryoemgan.engine', 'train', '--output', str(tmp_path / f'{count}'), '--device', 'cpu', *words]
        if count == 2 and start == 'alone':
            command += ['--devices', '2']
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / f'{n}' / 'summary.json').read_text()) for n in (1, 2))
    assert (one['processes'], two['processes']) == (1, 2)
    assert two['best']['mse'] == pytest.approx(one['best']['mse'], rel=1e-4)
    for a, b in zip(rows(tmp_path / '1'), rows(tmp_path / '2'), strict=True):
        for name in ('mse', 'ssim', 'd_real', 'reconstruction', 'score_fake', 'gradient_generator'):
            assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-3, abs=1e-5), name
    for x, y in zip(weights(tmp_path / '1').values(), weights(tmp_path / '2').values()):
        assert torch.allclose(x, y, atol=1e-4)
