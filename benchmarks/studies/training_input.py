"""Does the disk slow training down? ReferencePairs a second from windows read ahead, and from memory, in one run.

    python -m benchmarks.studies.training_input --work WORK [--box 128] [--count 4000] [--steps 40] [--rounds 3]

Writes random pairs, then takes batches of 20 and trains the default network on them (one thread, bfloat16 where
there is), in turns from a feed that holds the whole set, from one that may hold an eighth of it, and from the same with
the files dropped from the page cache after every window: each byte then comes from the disk again, as it does for a
stack larger than memory (bytes really read are counted). WORK must be on a disk.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.devices import choose_precision
from cryoemgan.engine.tests import toypairs
from cryoemgan.engine.training.loading import PairLoader
from cryoemgan.engine.training.pairs import ReferencePairs

BATCH = 20


class ColdPairs:
    """ReferencePairs whose files leave the page cache after every read."""

    def __init__(self, pairs, paths):
        self._pairs, self._paths, self.box = pairs, paths, pairs.box
        self.drop()

    def drop(self):
        for path in self._paths:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def read(self, positions):
        try:
            return self._pairs.read(positions)
        finally:
            self.drop()


def bytes_from_disk():
    """Bytes that this process made the disk read so far."""
    return int(Path('/proc/self/io').read_text().split('\nread_bytes: ')[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--count', type=int, default=4000)
    parser.add_argument('--steps', type=int, default=40)
    parser.add_argument('--rounds', type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    paths = [given.work / f'{n}.star' for n in ('particles', 'references')]
    if not all(p.exists() for p in paths):
        toypairs.pairs(given.work, given.count, given.box)
    pairs = ReferencePairs(*(ParticleTable.read(p) for p in paths))
    pairs.measure()
    everything, all_bytes = np.arange(len(pairs)), 8 * len(pairs) * pairs.box**2
    feeds = {
        'memory': PairLoader(pairs, everything, 1, window_bytes=all_bytes),
        'windows': PairLoader(pairs, everything, 1, window_bytes=all_bytes // 8),
        'disk': PairLoader(
            ColdPairs(pairs, [p.with_suffix('.mrcs') for p in paths]), everything, 1, window_bytes=all_bytes // 8
        ),
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
    for _ in range(given.rounds):
        for name, feed in feeds.items():
            start = time.perf_counter()
            for _ in range(given.steps):
                step(feed)
            wall[name].append(time.perf_counter() - start)
            start, read = time.perf_counter(), bytes_from_disk()
            for _ in range(len(pairs) // BATCH):
                feed.next(BATCH)
            alone, read = time.perf_counter() - start, bytes_from_disk() - read
            print(f'{name}: training {given.steps * BATCH / wall[name][-1]:.0f} pairs/s; feed alone, an epoch: '
                  f'{len(pairs) / alone:.0f} pairs/s, {read / all_bytes:.2f} of the set read from disk',
                  flush=True)  # fmt: skip
    for name in ('windows', 'disk'):
        print(f'{name} / memory, fastest of {given.rounds}: {min(wall["memory"]) / min(wall[name]):.2f}')
    print('load', ' '.join(f'{v:.0f}' for v in os.getloadavg()))


if __name__ == '__main__':
    main()
