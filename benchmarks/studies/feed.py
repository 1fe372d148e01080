"""What the host does for a training step: pairs a second that it delivers, and seconds a step beside the device's work.

    python -m benchmarks.studies.feed --work WORK [--boxes 64 128] [--count 4000] [--json FILE]

One thread, seconds of CPU. *Host part*: what lies on disk is gathered, as the reading thread does it, and the random
numbers of a batch are drawn; all else runs on the device. *Prepared here*: the same with everything that a device
would do done by this processor. *Share of two*: CPU seconds of preparing batches in one of two processes, over those
of a process alone. *Step*: seconds of a step of the preset ``recommended`` with two pairs of 32 px and a network of
the same layers with next to no width: what is left is Python and the launching of operations. (On torch's meta device,
whose tensors have no numbers, operations themselves are written in Python, a hundred times slower than a launch.)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cryoemgan.engine import networks
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.steerable import FourierPlane
from cryoemgan.engine.posterior.guided_pairs import GuidedPairs
from cryoemgan.engine.posterior.map_prior import MapPrior
from cryoemgan.engine.settings.adversary import Adversary
from cryoemgan.engine.settings.optimisation import Optimisation
from cryoemgan.engine.settings.pairs import Augmentation, SelfSupervision
from cryoemgan.engine.settings.train import preset_values
from cryoemgan.engine.shapes import Rows
from cryoemgan.engine.tests import toypairs
from cryoemgan.engine.training.batches import Batches, Dice
from cryoemgan.engine.training.fresh_pairs import FreshPairs
from cryoemgan.engine.training.loading import PINNED_PAIRS
from cryoemgan.engine.training.noisy_pairs import NoisyPairs
from cryoemgan.engine.training.pairs import ReferencePairs
from cryoemgan.engine.training.shares import Share
from cryoemgan.engine.training.step import Training

CPU = torch.device('cpu')


class Dispatched(TorchDispatchMode):
    """Counts the operations that torch dispatches, views among them."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.views = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.all += 1
        self.views += function.is_view
        return function(*args, **(kwargs or {}))


class OneProcess:
    """Stands for Lightning Fabric with one process."""

    world_size, global_rank, device = 1, 0, CPU

    def setup_module(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def autocast(self) -> Any:
        return nullcontext()


def open_set(folder: Path, count: int, box: int) -> ReferencePairs:
    """Random pairs with a CTF, written once."""
    paths = [folder / f'{box}' / f'{n}.star' for n in ('particles', 'references')]
    if not all(p.exists() for p in paths):
        toypairs.pairs(paths[0].parent, count, box)
        _add_ctf(paths[0], count)
        references = ParticleTable.read(paths[1])
        references.set_provenance(verb='project', ctf='none')
        references.write(paths[1])
    pairs = ReferencePairs(*(ParticleTable.read(p) for p in paths))
    pairs.fit_grey_scale()
    return pairs


def _add_ctf(path: Path, count: int) -> None:
    table = ParticleTable.read(path)
    defocus = np.linspace(8000, 25000, count)
    values = {'rlnDefocusU': defocus, 'rlnDefocusV': defocus, 'rlnDefocusAngle': 0 * defocus}
    constants = {'rlnVoltage': 300.0, 'rlnSphericalAberration': 2.7, 'rlnAmplitudeContrast': 0.1}
    for name, column in {**values, **{k: np.full(count, v) for k, v in constants.items()}}.items():
        table.set(name, column)
    table.write(path)


def rate(work: Callable[[], int], seconds: float = 3.0) -> float:
    """Pairs a CPU second of ``work``, which gives the number of pairs that it did."""
    work()
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        done += work()
    return done / (time.process_time() - start)


def parts_of(values: dict[str, Any]) -> Callable[[type], Any]:
    """Groups of settings from one dictionary of them."""
    return lambda cls: cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})


def host_part(pairs: Any, how: Augmentation, positions: Rows, fresh: FreshPairs | None = None) -> float:
    """Pairs a second of gathering and of drawing random numbers. fresh: source of the pairs, of these references."""
    size, state = 96, {'at': 0, 'number': 0}

    def work() -> int:
        chosen = positions[np.arange(state['at'], state['at'] + PINNED_PAIRS) % len(positions)]
        state['at'] += PINNED_PAIRS
        pairs.gather(np.sort(chosen))
        for _ in range(PINNED_PAIRS // size):
            Dice.throw(1, state['number'], size, np.arange(size), how, CPU)
            if fresh is not None:
                fresh._ctf_rows(state['number'], size, np.arange(size), chosen[:size])
            state['number'] += 1
        return PINNED_PAIRS

    return rate(work)


def guided(pairs: ReferencePairs, folder: Path) -> GuidedPairs:
    """The pairs with opinions of nobody: what lies on disk is as large, and as much is computed."""
    prior = MapPrior(SimpleNamespace(background=0.0, plane=FourierPlane(pairs.box)), 1.0, torch.ones(pairs.box // 2))
    found = GuidedPairs(pairs, prior, folder / f'{pairs.box}' / 'opinions.npy', 1, np.arange(len(pairs)))
    count = len(found.wanted)
    np.save(found.path, np.zeros((count, 2, pairs.box, pairs.box), np.float16))
    found.recall({'present': torch.ones(count), 'scores': torch.zeros(count, 5)})
    return found


def prepared(
    pairs: Any,
    positions: Rows,
    fresh: FreshPairs | None,
    how: Augmentation,
    fraction: float,
    share: Share,
    seconds: float,
) -> float:
    """Pairs a second that this processor prepares to the end."""
    size = 96
    batches = Batches(
        pairs,
        positions,
        fresh,
        how,
        fraction,
        parts_of(preset_values('recommended'))(SelfSupervision),
        1,
        size,
        share,
        CPU,
    )

    def work() -> int:
        batches.next(0.2)
        return size

    return rate(work, seconds)


def step(pairs: ReferencePairs, iterations: int = 50) -> tuple[float, Dispatched]:
    """Host seconds a step of the preset ``recommended`` without its arithmetic, and what it dispatches."""
    part = parts_of(preset_values('recommended'))
    pairs.show_ctf()
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1)
    batches = Batches(
        pairs, np.arange(len(pairs)), fresh, part(Augmentation), 0.0, SelfSupervision(), 1, 2, Share(0, 1, 2), CPU
    )
    shape = dict(zip(('particles_hold', 'references_hold'), pairs.image_model), rank=16, width=4)
    pair = networks.create('equivariant', pairs.box, **{**networks.options('equivariant', 'none'), **shape})
    training = Training(pair, batches, part(Optimisation), part(Adversary), 1, OneProcess())  # type: ignore[arg-type]
    training.iterate(0.0)
    start = time.process_time()
    for k in range(iterations):
        training.iterate(k / iterations)
    seconds = (time.process_time() - start) / iterations
    with Dispatched() as dispatched:
        training.iterate(0.5)
    return seconds, dispatched


def measure(folder: Path, box: int, count: int, seconds: float) -> dict[str, float]:
    """All figures of a box."""
    pairs = open_set(folder, count, box)
    how = parts_of(preset_values('recommended'))(Augmentation)
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 1)
    alone = NoisyPairs(pairs.particles)
    alone._set_scale(0.0, 1.0, 1.0, 1.0, None, None)
    alone.gains = np.ones(box // 2 + 1)
    with_map, still = guided(pairs, folder), replace(how, noise_curriculum=0.0, exchange_noise=0.0)
    every, with_empty = np.arange(count), np.append(np.arange(count), with_map.empty)
    one, two = (prepared(pairs, every, fresh, how, 0.0, Share(0, n, 2), seconds) for n in (1, 2))
    whole = Share(0, 1, 2)
    return {
        'host part, references (pairs/s)': host_part(pairs, how, every),
        'host part, guided (pairs/s)': host_part(with_map, still, with_empty),
        'host part, self (pairs/s)': host_part(alone, still, every),
        'host part, fresh (pairs/s)': host_part(pairs, how, every, fresh),
        'prepared here, references (pairs/s)': one,
        'prepared here, guided (pairs/s)': prepared(with_map, with_empty, None, still, 0.0, whole, seconds),
        'prepared here, self (pairs/s)': prepared(alone, every, None, still, 0.0, whole, seconds),
        'prepared here, fresh (pairs/s)': prepared(pairs, every, fresh, how, 1.0, whole, seconds),
        'CPU seconds of one of two processes over those of one': one / two,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--boxes', type=int, nargs='+', default=[64, 128])
    parser.add_argument('--count', type=int, default=4000)
    parser.add_argument('--seconds', type=float, default=3.0)
    parser.add_argument('--json', type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {box: measure(given.work, box, given.count, given.seconds) for box in given.boxes}
    for name in found[given.boxes[0]]:
        print(f'{name}: ' + ', '.join(f'{box} px {found[box][name]:,.4g}' for box in given.boxes), flush=True)
    seconds, dispatched = step(open_set(given.work, 200, 32))
    print(f'host seconds a step: {seconds:.4f}; operations: {dispatched.all}, of which views: {dispatched.views}')
    if given.json:
        given.json.write_text(json.dumps({**found, 'host seconds a step': seconds}, indent=1))


if __name__ == '__main__':
    main()
