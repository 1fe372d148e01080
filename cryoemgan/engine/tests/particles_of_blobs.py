"""Particles that are line integrals of blobs, and `project` run on them."""

import json

import mrcfile
import numpy as np

from cryoemgan.engine import geometry
from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.tests.blobs import Blobs

BOX, PIXEL = 32, 3.0


def blobs_of(count, radius, seed, width):
    """Random Blobs in A; radius: of the ball they lie in, in boxes; width: factor of their size."""
    found = Blobs.random(BOX, count=count, radius=radius, seed=seed)
    return Blobs(found.centres * PIXEL, found.sigmas * PIXEL * width, found.heights)


def write_map(path, data, pixel_size=PIXEL):
    with mrcfile.new(path, data=np.asarray(data, np.float32), overwrite=True) as mrc:
        mrc.set_volume()
        mrc.voxel_size = pixel_size
    return path


def write_particles(folder, blobs, count=24, noise=0.5, sign=1, two_groups=False, **columns):
    """A STAR file without CTF whose particles are line integrals of the blobs with noise; returns its path."""
    rng = np.random.default_rng(0)
    angles = dict(zip(('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'), rng.uniform(5, 175, (3, count)).round(3)))
    sizes = np.where(np.arange(count) % 2, PIXEL * 1.02, PIXEL) if two_groups else np.full(count, PIXEL)
    shifts = rng.uniform(-2, 2, (count, 2)).round(3)
    matrices = geometry.euler_to_matrix(*angles.values())
    images = np.concatenate(
        [blobs.projections(BOX, matrices[i : i + 1], shifts[i : i + 1], sizes[i]) for i in range(count)]
    )
    images = sign * images + noise * images.std() * rng.normal(size=images.shape)
    with StackWriter(folder / 'particles.mrcs', count, BOX, PIXEL) as writer:
        writer.append(images)
    table = {
        'rlnImageName': [f'{i + 1:06d}@particles.mrcs' for i in range(count)],
        **angles,
        'rlnOriginXAngst': shifts[:, 0] * sizes,
        'rlnOriginYAngst': shifts[:, 1] * sizes,
        'rlnOpticsGroup': (sizes > PIXEL).astype(int) + 1,
        **columns,
    }
    optics = {
        'rlnOpticsGroup': np.array([1, 2]),
        'rlnImagePixelSize': np.array([PIXEL, PIXEL * 1.02]),
        'rlnImageSize': np.array([BOX, BOX]),
    }
    ParticleTable.create(folder / 'p.star', {k: v for k, v in table.items() if v is not None}, optics).write(
        folder / 'p.star'
    )
    return folder / 'p.star'


def project(folder, particles, volume, *options):
    """(exit status, summary or None, images or None) of a run."""
    out = folder / 'out'
    status = main(
        [
            'project',
            '--particles',
            str(particles),
            '--volume',
            str(volume),
            '--output',
            str(out),
            '--threads',
            '1',
            *map(str, options),
        ]
    )
    if status:
        return status, None, None
    table = ParticleTable.read(out / 'references.star')
    return status, json.loads((out / 'summary.json').read_text()), table.images().read(np.arange(len(table)))


def truth(table, blobs, box, pixel_sizes):
    """Noise-free images of the blobs for a table, in sums over map voxels."""
    shifts = table.shifts() * (table.pixel_sizes / pixel_sizes)[:, None]
    rotations = table.rotations()
    return (
        np.concatenate(
            [
                blobs.projections(box, rotations[i : i + 1], shifts[i : i + 1], size)
                for i, size in enumerate(pixel_sizes)
            ]
        )
        / PIXEL
    )
