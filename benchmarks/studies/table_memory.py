"""Memory of the commands on large tables: bytes a row beyond a small table, on sparse stacks of tiny images.

    python -m benchmarks.studies.table_memory --count 300000 --folder /scratch

The table has 25 columns and optics groups as RELION's refinement writes them. Every command runs on a table of a
fifteenth of the rows, too: what is reported is the difference, a row, and the peak itself.
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mrcfile
import numpy as np

from benchmarks.studies.denoise_memory import make_model
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.tests.blobs import Blobs

BOX, PIXEL, PER_MICROGRAPH = 32, 2.0, 200
SHARE = 15


def columns(count, stack):
    """25 columns of RELION's refinement; stack: file of the images."""
    rng = np.random.default_rng(0)
    micrograph = np.arange(count) // PER_MICROGRAPH
    u = rng.uniform(8000, 25000, count // PER_MICROGRAPH + 1)[micrograph] + rng.normal(0, 100, count)
    numbers = {
        'rlnCoordinateX': rng.uniform(100, 5600, count), 'rlnCoordinateY': rng.uniform(100, 3900, count),
        'rlnAutopickFigureOfMerit': rng.uniform(0, 2, count), 'rlnAnglePsi': rng.uniform(-180, 180, count),
        'rlnAngleRot': rng.uniform(-180, 180, count), 'rlnAngleTilt': np.rad2deg(np.arccos(rng.uniform(-1, 1, count))),
        'rlnDefocusU': u, 'rlnDefocusV': u - 200, 'rlnDefocusAngle': rng.uniform(0, 180, count),
        'rlnCtfFigureOfMerit': rng.uniform(0, 0.3, count), 'rlnCtfMaxResolution': rng.uniform(3, 8, count),
        'rlnOriginXAngst': rng.normal(0, 4, count), 'rlnOriginYAngst': rng.normal(0, 4, count),
        'rlnNormCorrection': rng.normal(1, 0.1, count), 'rlnLogLikeliContribution': rng.normal(1e5, 1e3, count),
        'rlnMaxValueProbDistribution': rng.uniform(0, 1, count), 'rlnPhaseShift': np.zeros(count),
        'rlnCtfBfactor': np.zeros(count), 'rlnCtfScalefactor': np.ones(count),
    }  # fmt: skip
    whole = {
        'rlnOpticsGroup': np.ones(count, int), 'rlnClassNumber': np.ones(count, int), 'rlnGroupNumber': micrograph + 1,
        'rlnNrOfSignificantSamples': rng.integers(1, 500, count), 'rlnRandomSubset': rng.integers(1, 3, count),
    }  # fmt: skip
    names = (f'{i + 1:06d}@{stack}' for i in range(count))
    movies = (f'MotionCorr/job002/Movies/20170629_{m:05d}_frameImage.mrc' for m in micrograph)
    return {'rlnImageName': names, 'rlnMicrographName': movies, **numbers, **whole}


def make(folder, count):
    """A set of ``count`` particles, the same as references, and a map."""
    folder.mkdir()
    optics = {'rlnOpticsGroup': [1], 'rlnOpticsGroupName': ['opticsGroup1'], 'rlnAmplitudeContrast': [0.1],
              'rlnSphericalAberration': [1.4], 'rlnVoltage': [200.0], 'rlnImagePixelSize': [PIXEL],
              'rlnImageSize': [BOX], 'rlnImageDimensionality': [2]}  # fmt: skip
    for name in ('particles', 'references'):
        # No block of the file is on the disk until it is written.
        with mrcfile.new_mmap(folder / f'{name}.mrcs', shape=(count, BOX, BOX), mrc_mode=2) as mrc:
            mrc.set_image_stack()
            mrc.voxel_size = PIXEL
            mrc.data[0, 0, 0] = 1
        table = ParticleTable.create(folder / 'p.star', columns(count, f'{name}.mrcs'), optics)
        if name == 'references':
            table.set('rlnImageOriginalName', (f'{i + 1:06d}@particles.mrcs' for i in range(count)))
            table.set('cryoemganCorrelation', np.random.default_rng(1).uniform(0, 1, count))
        table.write(folder / f'{name}.star')
    mrcfile.write(folder / 'map.mrc', Blobs.random(BOX).volume(BOX).astype(np.float32), voxel_size=PIXEL)
    make_model(folder, BOX, 2)


def commands(folder):
    """{name: arguments}."""
    particles, references = str(folder / 'particles.star'), str(folder / 'references.star')
    return {
        'originals': ['originals', '--particles', references, '--source', particles],
        'select': ['select', '--particles', references, '--source', particles, '--correlation', '10%'],
        'evaluate': [
            'evaluate',
            '--references',
            references,
            '--particles',
            f'noisy={particles}',
            '--batch-size',
            '256',
        ],
        'project': ['project', '--particles', particles, '--volume', str(folder / 'map.mrc'), '--batch-size', '256'],
        'denoise': ['denoise', '--particles', particles, '--model', str(folder / 'model'), '--batch-size', '256'],
    }


def peak(arguments, output):
    """(peak memory in bytes, CPU seconds) of a command."""
    command = [sys.executable, '-m', 'cryoemgan.engine', *arguments, '--output', str(output), '--threads', '1']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{arguments[0]} ended with status {status}: {said[-500:]}')
    shutil.rmtree(output)
    return usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=300_000)
    parser.add_argument('--only', nargs='*', help='commands to run; default all')
    parser.add_argument('--folder', help="where to work; default the system's temporary folder")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        few = given.count // SHARE
        for name, count in (('few', few), ('many', given.count)):
            # Elsewhere: a process hands the most that it ever held on to those that it starts.
            maker = multiprocessing.get_context('spawn').Process(target=make, args=(folder / name, count))
            maker.start()
            maker.join()
        size = (folder / 'many/particles.star').stat().st_size / given.count
        print(f'{given.count} rows of {size:.0f} bytes', flush=True)
        print('| command | peak memory MB | bytes a row | CPU s |\n|---|---|---|---|', flush=True)
        for name, arguments in commands(folder / 'many').items():
            if given.only and name not in given.only:
                continue
            small, _ = peak(commands(folder / 'few')[name], folder / 'out')
            large, seconds = peak(arguments, folder / 'out')
            row = (large - small) / (given.count - few)
            print(f'| {name} | {large / 1e6:.0f} | {row:.0f} | {seconds:.0f} |', flush=True)


if __name__ == '__main__':
    main()
