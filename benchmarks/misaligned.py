"""What badly aligned pairs cost, and what leaving them out gains: ``python benchmarks/misaligned.py FOLDER``.

900 toy particles (32 px, three blobs), 30 % of the references moved by 2 to 5 px; 150 iterations, one network; error
against the truth of 200 other particles, as a part of its variance, two seeds. About 100 CPU seconds.
"""

import sys
from pathlib import Path

import numpy as np

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import pair_agreement
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.tests import toypairs

COUNT, TEST, BOX, NOISE = 900, 200, 32, 1.5


def main():
    folder = Path(sys.argv[1])
    for seed in (0, 1):
        rng = np.random.default_rng(50 + seed)
        clean, _ = toypairs.blobs(COUNT + TEST, BOX, seed)
        truth = toypairs.GAIN * clean + toypairs.OFFSET
        noisy = (truth + NOISE * rng.standard_normal(clean.shape)).astype(np.float32)
        references = clean[:COUNT].copy()
        for i in rng.choice(COUNT, COUNT * 3 // 10, replace=False):
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(2, 5)
            move = round(length * np.sin(angle)), round(length * np.cos(angle))
            references[i] = np.roll(references[i], move, (0, 1))
        names = [f'{i + 1:06d}@m.mrcs' for i in range(COUNT)]
        particles = toypairs.write(folder / 'particles.star', noisy[:COUNT], names)
        path = toypairs.write(folder / 'references.star', references, names)
        table = ParticleTable.read(path)
        found = pair_agreement.correlations(references, noisy[:COUNT], toypairs.PIXEL_SIZE)
        table.set('cryoemganCorrelation', found)
        table.write(path)
        for limit in (0.0, 4.0, 2.0):
            output = folder / f'{seed}_{limit:g}'
            settings = Train(
                output=str(output), particles=str(particles), references=str(path), iterations=150, evaluations=1,
                batch_size=20, threads=1, cross_fit='none', overwrite=True, min_agreement=limit, seed=seed,
            )  # fmt: skip
            made = run('train', settings)
            difference = Model.load(output / 'model').denoise(noisy[COUNT:]) - truth[COUNT:]
            difference -= difference.mean((1, 2), keepdims=True)
            error = np.square(difference).mean() / truth[COUNT:].var((1, 2)).mean()
            print(f'seed {seed} limit {limit:g}: error {error:.4f}, {made["training_pairs"]} pairs', flush=True)


if __name__ == '__main__':
    main()
