"""Small sets of pairs for tests of training: three Gaussian blobs in random places, and white noise."""

import numpy as np

from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable

GAIN, OFFSET, PIXEL_SIZE = 2.0, 5.0, 3.0


def blobs(count, box, seed, off_centre=0.22):
    """float32 [count, box, box]: noise-free images with values 0 to about 1.5, and their blob centres (y, x)."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-off_centre * box, off_centre * box, (count, 3, 2))
    return draw(centres, box), centres


def draw(centres, box):
    """Images of blobs at ``centres`` [n, k, 2] (y, x), px from the origin at box // 2; heights 1, 0.7, 0.4."""
    grid = np.arange(box) - box // 2
    images = 0
    for k, height in enumerate((1.0, 0.7, 0.4)[: centres.shape[1]]):
        y, x = (grid[None, :] - centres[:, k, i, None] for i in (0, 1))
        images = images + height * np.exp(-(y[:, :, None] ** 2 + x[:, None, :] ** 2) / (2 * (0.08 * box) ** 2))
    return images.astype(np.float32)


def write(path, images, names=None, pixel_size=PIXEL_SIZE):
    """A stack and its STAR table; ``names`` become _rlnImageOriginalName, the identity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = path.with_suffix('.mrcs')
    with StackWriter(stack, len(images), images.shape[-1], pixel_size) as w:
        w.append(images)
    columns = {
        'rlnImageName': [f'{i + 1:06d}@{stack.name}' for i in range(len(images))],
        'rlnOpticsGroup': [1] * len(images),
    }
    if names is not None:
        columns['rlnImageOriginalName'] = list(names)
    optics = {
        'rlnOpticsGroupName': ['g'],
        'rlnOpticsGroup': [1],
        'rlnImagePixelSize': [pixel_size],
        'rlnImageSize': [images.shape[-1]],
    }
    ParticleTable.create(path, columns, optics).write(path)
    return path


def pairs(folder, count=120, box=32, seed=0, noise=1.0, order=None, gain=GAIN):
    """particles.star and references.star of the same particles; references in ``order`` (default the particles')."""
    clean, _ = blobs(count, box, seed)
    noisy = gain * clean + OFFSET + noise * np.random.default_rng(seed + 1).standard_normal(clean.shape)
    names = [f'{i + 1:06d}@mic.mrcs' for i in range(count)]
    order = np.arange(count) if order is None else order
    return (
        write(folder / 'particles.star', noisy.astype(np.float32), names),
        write(folder / 'references.star', clean[order], [names[i] for i in order]),
    )
