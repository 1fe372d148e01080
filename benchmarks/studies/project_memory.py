"""Memory and rate of ``project`` on a large set: 200,000 particles of 128 px, made here, on a sparse stack.

    python -m benchmarks.studies.project_memory --count 200000 --folder /scratch

The particles are holes in a sparse file and cost no disk; the references are written (13 GB for the default) and
deleted. Reports peak memory, the rate over the first and last fifth, and the rate of writing the output against a
plain sequential write of the same bytes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import mrcfile
import numpy as np

from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.tests.blobs import Blobs

PIXEL = 2.0


def make_input(folder, count, box):
    """Map, sparse stack and STAR file with angles, shifts and CTF."""
    rng = np.random.default_rng(0)
    with mrcfile.new(folder / 'map.mrc', data=Blobs.random(box).volume(box).astype(np.float32)) as mrc:
        mrc.voxel_size = PIXEL
    # mrcfile maps a new file of the final size: no block of it is on the disk until written.
    with mrcfile.new_mmap(folder / 'particles.mrcs', shape=(count, box, box), mrc_mode=2) as mrc:
        mrc.set_image_stack()
        mrc.voxel_size = PIXEL
    u = rng.uniform(8000, 25000, count)
    columns = {
        'rlnImageName': [f'{i + 1:06d}@particles.mrcs' for i in range(count)],
        'rlnAngleRot': rng.uniform(-180, 180, count),
        'rlnAngleTilt': np.rad2deg(np.arccos(rng.uniform(-1, 1, count))),
        'rlnAnglePsi': rng.uniform(-180, 180, count),
        'rlnOriginXAngst': rng.normal(0, 4, count),
        'rlnOriginYAngst': rng.normal(0, 4, count),
        'rlnDefocusU': u,
        'rlnDefocusV': u - 200,
        'rlnDefocusAngle': rng.uniform(0, 180, count),
        'rlnOpticsGroup': np.ones(count, int),
    }
    optics = {
        'rlnOpticsGroup': np.array([1]),
        'rlnImagePixelSize': np.array([PIXEL]),
        'rlnImageSize': np.array([box]),
        'rlnVoltage': np.array([300.0]),
        'rlnSphericalAberration': np.array([2.7]),
        'rlnAmplitudeContrast': np.array([0.1]),
    }
    ParticleTable.create(folder / 'p.star', columns, optics).write(folder / 'p.star')


def watch(path, image_bytes, samples, done):
    """Sample (seconds, images written) of the growing stack."""
    start = time.perf_counter()
    while not done.wait(0.2):
        for candidate in (path.with_name(path.name + '.partial'), path):
            if candidate.exists():
                # The file is sparse: what counts is what has been written.
                samples.append((time.perf_counter() - start, 512 * candidate.stat().st_blocks / image_bytes))
                break


def rates(samples):
    """(rate over the first fifth of the images, over the last), images a second."""
    seconds, images = np.array(samples).T
    last = images.max()
    begin = np.searchsorted(images, [0.02 * last, 0.2 * last])
    end = np.searchsorted(images, [0.8 * last, 0.98 * last])
    return tuple((images[b] - images[a]) / (seconds[b] - seconds[a]) for a, b in (begin, end))


def write_rates(folder, count, box, chunk=64):
    """Bytes a second of a plain sequential write and of StackWriter, same bytes, both flushed to the disk."""
    images = np.random.default_rng(0).normal(size=(chunk, box, box)).astype(np.float32)
    total = count // chunk * chunk
    found = {}
    for name in ('plain', 'StackWriter', 'plain', 'StackWriter'):
        path = folder / 'written.mrcs'
        start = time.perf_counter()
        if name == 'plain':
            with open(path, 'wb') as file:
                for _ in range(total // chunk):
                    file.write(images.data)
        else:
            with StackWriter(path, total, box, PIXEL) as writer:
                for _ in range(total // chunk):
                    writer.append(images)
        with open(path, 'rb+') as file:
            os.fsync(file.fileno())
        speed = total * images[0].nbytes / (time.perf_counter() - start)
        found[name] = max(found.get(name, 0), speed)
        path.unlink()
    return found['plain'], found['StackWriter']


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=200_000)
    parser.add_argument('--box', type=int, default=128)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--folder', help="where to work; default the system's temporary folder")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        measure(folder, given)
    finally:
        shutil.rmtree(folder)


def measure(folder, given):
    make_input(folder, given.count, given.box)
    command = [
        sys.executable,
        '-m',
        'cryoemgan.engine',
        'project',
        '--particles',
        folder / 'p.star',
        '--volume',
        folder / 'map.mrc',
        '--output',
        folder / 'out',
        '--threads',
        str(given.threads),
    ]
    samples, done = [], threading.Event()
    image_bytes = 4 * given.box**2
    watcher = threading.Thread(target=watch, args=(folder / 'out' / 'references.mrcs', image_bytes, samples, done))
    watcher.start()
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f'project ended with status {status}')
    first, last = rates(samples)
    (folder / 'out' / 'references.mrcs').unlink()
    plain, writer = write_rates(folder, min(given.count, 50_000), given.box)
    print(
        f'{given.count} particles of {given.box} px, {given.threads} thread(s): {wall:.0f} s wall, '
        f'{usage.ru_utime + usage.ru_stime:.0f} s CPU, peak memory {usage.ru_maxrss / 2**20:.2f} GiB'
    )
    print(
        f'rate: first fifth {first:.0f} images/s, last fifth {last:.0f} ({last / first:.2f}); whole run '
        f'{given.count / wall:.0f} images/s = {given.count * image_bytes / wall / 1e6:.0f} MB/s'
    )
    print(f'writing: plain {plain / 1e6:.0f} MB/s, StackWriter {writer / 1e6:.0f} MB/s ({writer / plain:.2f})')
    print(f'load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores')


if __name__ == '__main__':
    main()
