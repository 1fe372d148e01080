"""What particles gain that no fold model knows, when they are compared with the references of two fold models at once:
error and time of the mean of two answers, of their mean by evidence, and of one library.

``python -m benchmarks.studies.joint_library SET SEED [--work WORK]``; posteriors only, no network, one thread.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.posterior.context import Context
from cryoemgan.engine.posterior.joint_library import joint_library
from cryoemgan.engine.posterior.library import PAD, TemplateLibrary
from cryoemgan.engine.posterior.map_prior import ImagePosterior, MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Search

from .. import score
from ..datasets import Dataset, make

HELD, CALIBRATED, CHUNK = 250, 80, 50


def references(data: Dataset, rows: np.ndarray) -> TemplateLibrary:
    """Library of references without CTF, centred, of these particles at the angles of their table."""
    table, truth = ParticleTable.read(data.particles), ParticleTable.read(data.clean)
    matrices = torch.as_tensor(table.rotations()[rows]).float()
    if not data.recipe.ctf:
        return TemplateLibrary.from_images(torch.from_numpy(truth.images().read(rows)), matrices)
    images, shown = torch.empty(len(rows), table.box, table.box), truth.ints('rlnClassNumber')[rows]
    for k, path in enumerate(sorted(data.folder.glob('volume_*.mrc')), 1):
        projector = FourierProjector(torch.from_numpy(read_map(path).data), PAD)
        for mine in torch.from_numpy(np.flatnonzero(shown == k)).split(256):
            images[mine] = projector.project(matrices[mine])
    return TemplateLibrary.from_images(images, matrices)


def prior(data: Dataset, bank: TemplateLibrary) -> MapPrior:
    """A prior that knows nothing of the noise yet."""
    sd = data.recipe.shifts
    options = MapPriorOptions('full' if data.recipe.ctf else 'none', float(np.ceil(2.8 * sd)), sd)
    return MapPrior(bank, 1.0, torch.ones(bank.plane.radius + 1), Search(contrast=0.05, temperature=2.5), options)


def ask(one: MapPrior, images: torch.Tensor, context: Context) -> ImagePosterior:
    """ImagePosterior on all of the images."""
    parts = [slice(k, k + CHUNK) for k in range(0, len(images), CHUNK)]
    found = [one(images[part], context.part(part)) for part in parts]
    return ImagePosterior(*(torch.cat([getattr(f, c.name) for f in found]) for c in fields(ImagePosterior)))


def study(data: Dataset) -> None:
    """Print a line for each way."""
    table, clean = ParticleTable.read(data.particles), ParticleTable.read(data.clean)
    order = np.random.default_rng(0).permutation(len(table))
    held, training = np.sort(order[:HELD]), np.sort(order[HELD:])
    truth, images = clean.images().read(held), torch.from_numpy(table.images().read(held))
    context = Context.of(table, held, table.box)
    mixed = np.random.default_rng(1).permutation(training)
    banks = [references(data, np.sort(half)) for half in np.array_split(mixed, 2)]
    start = time.process_time()
    one = prior(data, joint_library(banks))
    print(f'{len(one.bank)} references joined in {time.process_time() - start:.1f} CPU s')
    sample = training[np.linspace(0, len(training) - 1, CALIBRATED).astype(int)]
    noisy, known = torch.from_numpy(table.images().read(sample)), Context.of(table, sample, table.box)
    one.calibrate(noisy, known, 2)
    halves = [prior(data, bank) for bank in banks]
    for half in halves:
        half.gain, half.spectrum = one.gain, one.spectrum

    def show(name: str, found: torch.Tensor, seconds: float, before: float | None = None) -> float:
        error = score.error(found.numpy(), truth)
        gain = '' if before is None else f', {1 - error / before:+.1%} gained'
        print(f'{name:20s} error {error:.5f}, {1e3 * seconds / HELD:.1f} CPU ms a particle{gain}')
        return error

    start = time.process_time()
    first, second = (ask(half, images, context) for half in halves)
    both, start = time.process_time() - start, time.process_time()
    joint = ask(one, images, context)
    seconds = time.process_time() - start
    mean = show('mean of two', (first.mean + second.mean) / 2, both)
    weight = torch.sigmoid(first.evidence - second.evidence)[:, None, None]
    show('mean by evidence', weight * first.mean + (1 - weight) * second.mean, both, mean)
    show('one library', joint.mean, seconds, mean)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set')
    parser.add_argument('seed', type=int)
    parser.add_argument('--work', type=Path, default=Path('work'))
    given = parser.parse_args()
    torch.set_num_threads(1)
    study(make(given.set, given.seed, given.work))


if __name__ == '__main__':
    main()
