"""What a training run asks of the machine."""

import ctypes
import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric

from ..precision import Autocast

# Pages that the system had to clear (4 kB each) while 16 MB in blocks of 4 MB were filled and freed ten times.
CLEARED = """
import resource, sys
import numpy as np
from cryoemgan.engine.devices import keep_freed_memory
if sys.argv[1] == 'keep':
    keep_freed_memory()
def step():
    for block in [np.empty(2**22, np.uint8) for _ in range(4)]:
        block.fill(1)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='no glibc')
def test_freed_memory_is_used_again_without_the_system_clearing_it():
    kept, given_back = (
        int(subprocess.run([sys.executable, '-c', CLEARED, how], check=True, capture_output=True, text=True).stdout)
        for how in ('keep', 'not')
    )
    assert kept < 1000 < 10000 < given_back


def test_networks_compute_in_bfloat16_and_are_given_float32():
    """Rounded to 8 bits, targets and CTFs would be wrong before any loss sees them."""
    seen = []

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            seen.append((x.dtype, (x @ self.weight).dtype))
            return x.sum()

    fabric = Fabric(accelerator='cpu', devices=1, plugins=[Autocast('bf16-mixed', 'cpu')])
    fabric.setup_module(Module())(torch.ones(2, 4))
    assert seen == [(torch.float32, torch.bfloat16)]
