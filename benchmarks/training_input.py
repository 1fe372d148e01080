"""Does the disk slow training down? Pairs a second from windows read ahead, and from memory, in one run.

    python benchmarks/training_input.py --work WORK [--box 128] [--count 4000]

Writes random pairs, then takes batches of 20 and trains the default network on them (one thread, bfloat16 where
there is), alternating between a feed that holds the whole set and one that may hold an eighth of it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.devices import choose_precision
from cryoemgan.engine.feeding import Feed
from cryoemgan.engine.pairs import Pairs
from cryoemgan.engine.table import ParticleTable
from cryoemgan.engine.tests import toypairs

BATCH, STEPS, ROUNDS = 20, 40, 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--count', type=int, default=4000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    paths = [given.work / f'{n}.star' for n in ('particles', 'references')]
    if not all(p.exists() for p in paths):
        toypairs.pairs(given.work, given.count, given.box)
    pairs = Pairs(*(ParticleTable.read(p) for p in paths))
    pairs.measure()
    everything, all_bytes = np.arange(len(pairs)), 8 * len(pairs) * pairs.box**2
    feeds = {
        'memory': Feed(pairs, everything, 1, window_bytes=all_bytes),
        'windows': Feed(pairs, everything, 1, window_bytes=all_bytes // 8),
    }
    generator = networks.create('residual', pairs.box).generator
    optimiser = torch.optim.Adam(generator.parameters(), 1e-4)
    bfloat16 = choose_precision('auto', torch.device('cpu')) == 'bfloat16'

    def step(feed):
        noisy, clean = (torch.from_numpy(x)[:, None] for x in feed.next(BATCH)[1:])
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            output = generator(noisy)
        optimiser.zero_grad()
        (output.float() - clean).square().mean().backward()
        optimiser.step()

    wall = {name: [] for name in feeds}
    for _ in range(ROUNDS):
        for name, feed in feeds.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step(feed)
            wall[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in range(STEPS):
                feed.next(BATCH)
            alone = time.perf_counter() - start
            print(
                f'{name}: training {STEPS * BATCH / wall[name][-1]:.0f} pairs/s, feed alone '
                f'{STEPS * BATCH / alone:.0f} pairs/s'
            )
    print(f'windows / memory, fastest of {ROUNDS}: {min(wall["memory"]) / min(wall["windows"]):.2f}')


if __name__ == '__main__':
    main()
