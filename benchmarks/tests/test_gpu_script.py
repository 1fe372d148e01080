"""What benchmarks/gpu.sh runs, on a computer without a GPU."""

import json

import pytest

from benchmarks.studies import gpu


def test_a_little_of_it_runs_anywhere(tmp_path):
    gpu.main(['--small', '--json', str(tmp_path / 'gpu.json')])
    found = json.loads((tmp_path / 'gpu.json').read_text())
    assert [r['network'] for r in found['rows']] == ['equivariant', 'residual', 'paper128']
    assert all(r['pairs/s'] == pytest.approx(r['steps/s'] * r['batch']) and r['denoised/s'] > 0 for r in found['rows'])
