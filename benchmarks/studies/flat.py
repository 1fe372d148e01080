"""What grows with the number of particles, and what must not: seconds of guided preparation, memory of feeding.

    python -m benchmarks.studies.flat --work WORK --count N

One process a count. Stacks are sparse files of 32 px, tables are real. *Preparing*: the map is asked about 1,000
particles, spread over the set, by a library of 200 templates, and about the empty images; the table is read for all.
*Feeding*: 200 batches of 96 pairs by windows of 4,096. *Denoising*: 20 batches of 64 from the end of the set, by a
network of next to no width. Memory: resident, beyond what it was when the tables were open.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import torch
from tqdm import tqdm

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.inference import boxes
from cryoemgan.engine.inference.ensemble import Ensemble
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.routing import route
from cryoemgan.engine.posterior.guided_pairs import GuidedPairs
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import MapPrior
from cryoemgan.engine.tests import toypairs
from cryoemgan.engine.training.loading import PairLoader
from cryoemgan.engine.training.pair_scale import PairScale
from cryoemgan.engine.training.pairs import ReferencePairs

from .denoise_memory import make_model

BOX, ASKED, TEMPLATES = 32, 1000, 200
CTF = {'rlnVoltage': 300.0, 'rlnSphericalAberration': 2.7, 'rlnAmplitudeContrast': 0.1, 'rlnDefocusAngle': 0.0}


def table(folder: Path, name: str, count: int) -> ParticleTable:
    """A table of images in one sparse stack, with poses and CTF."""
    with mrcfile.new_mmap(folder / f'{name}.mrcs', shape=(count, BOX, BOX), mrc_mode=2, overwrite=True) as mrc:
        mrc.set_image_stack()
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        'rlnImageName': [f'{i + 1:06d}@{name}.mrcs' for i in range(count)],
        'rlnImageOriginalName': [f'{i + 1:06d}@raw.mrcs' for i in range(count)],
        'rlnOpticsGroup': np.ones(count, int),
        **{f'rlnAngle{k}': rng.uniform(0, 180, count) for k in ('Rot', 'Tilt', 'Psi')},
        **{f'rlnDefocus{k}': rng.uniform(1e4, 2e4, count) for k in 'UV'},
        **{k: np.full(count, v) for k, v in CTF.items()},
    }
    optics = {'rlnOpticsGroup': [1], 'rlnImagePixelSize': np.array([2.0]), 'rlnImageSize': [BOX]}
    ParticleTable.create(folder / f'{name}.star', columns, optics).write(folder / f'{name}.star')
    return ParticleTable.read(folder / f'{name}.star')


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e6


class Noise(ReferencePairs):
    """Pairs whose particles are noise: a sparse stack holds none."""

    def raw(self, positions: Any) -> Any:
        images = np.random.default_rng(int(positions[0]) if len(positions) else 0).standard_normal(
            (len(positions), BOX, BOX), dtype=np.float32
        )
        return images, images


def prepared(pairs: Any, folder: Path) -> dict[str, float]:
    """CPU seconds of guided preparation."""
    bank = TemplateLibrary.from_images(torch.from_numpy(toypairs.blobs(TEMPLATES, BOX, 0)[0]))
    prior = MapPrior(bank, 0.1, torch.ones(bank.plane.radius + 1))
    wanted = np.linspace(0, len(pairs) - 1, ASKED).astype(int)
    guided = GuidedPairs(pairs, prior, folder / 'opinions.npy', 1, wanted)
    start = time.process_time()
    guided.context(wanted[:1])
    once = time.process_time() - start
    job = SimpleNamespace(progress=lambda total, title: tqdm(total=total, disable=True))
    alone = SimpleNamespace(
        is_global_zero=True, world_size=1, global_rank=0, device=torch.device('cpu'), barrier=lambda: None,
        all_reduce=lambda x, reduce_op: x,
    )  # fmt: skip
    start = time.process_time()
    guided.prepare(job, alone)
    each = (time.process_time() - start) / len(guided.wanted)
    return {'ms to read the table, a particle': 1000 * once / len(pairs), 'ms to ask, a particle': 1000 * each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--count', type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    pairs = Noise(*(table(given.work, name, given.count) for name in ('particles', 'references')))
    pairs.scale = PairScale(0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, None, None)
    found: dict[str, float] = {'particles': given.count}
    before = resident()
    loader = PairLoader(pairs, np.arange(given.count), 1, 96, window_bytes=2**25)
    for _ in range(200):
        loader.next()
    found['MB of feeding'] = resident() - before
    before = resident()
    model = Model.load(make_model(given.work, BOX, 2))
    plan = boxes.choose_boxes(pairs.particles, model, 'input', 64)
    ensemble = Ensemble(model, plan, 'float32', route(model, pairs.particles), table=pairs.particles)
    for _ in ensemble.stream(pairs.particles.images(), range(given.count - 20 * 64, given.count, 64)):
        pass
    found['MB of denoising'] = resident() - before
    found |= prepared(pairs, given.work)
    print(json.dumps({k: round(v, 4) for k, v in found.items()}))


if __name__ == '__main__':
    main()
