"""Projections: ours against xmippLib.FourierProjector, in one run on one thread, and against closed forms.

    python -m benchmarks.studies.projector --boxes 64 128 256 --markdown benchmarks/results/projector.md

Error: relative to the exact line integrals of 400 Gaussian blobs, over 24 views. Speed: process CPU seconds (wall for
several threads); the two programs take turns, the best turn counts, and ratios are to be trusted, not seconds.
"""

import argparse
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import numpy as np
import torch
import xmippLib

from cryoemgan.engine import geometry
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.tests.blobs import Blobs, relative_error

VIEWS, TURNS = 24, 3
CASES = (('linear', 2.0), ('linear', 2.5), ('cubic', 2.0), ('cubic', 2.5))


class Xmipp:
    """xmippLib's projector with the call of ours."""

    def __init__(self, volume, degree):
        image = xmippLib.Image()
        image.setData(np.ascontiguousarray(volume, np.float64))
        self._projector, self._out = xmippLib.FourierProjector(image, 2.0, 0.5, degree), xmippLib.Image()
        # Without a data type xmippLib ends with a segmentation fault.
        self._out.setDataType(xmippLib.DT_DOUBLE)

    def project(self, matrices):
        images = []
        for angles in np.stack(geometry.matrix_to_euler(matrices), axis=1):
            self._projector.projectVolume(self._out, *map(float, angles))
            images.append(np.array(self._out.getData()))
        return np.array(images)


def rate(project, matrices, clock=time.process_time):
    """Projections a second, the first call not counted."""
    start = clock()
    project(matrices)
    return len(matrices) / (clock() - start)


def compare(box, radius):
    """Rows (box, radius, method, error, rate, error ratio, rate ratio) for one phantom."""
    blobs = Blobs.random(box, radius=radius)
    volume, matrices = blobs.volume(box), geometry.random_matrices(VIEWS, seed=1)
    truth = blobs.projections(box, matrices)
    peers = {'linear': Xmipp(volume, 1), 'cubic': Xmipp(volume, 3)}
    ours = {case: FourierProjector(volume, case[1], case[0]) for case in CASES}
    everyone = {**peers, **ours}
    errors = {name: relative_error(p.project(matrices), truth) for name, p in everyone.items()}
    rates = {
        name: max(rates)
        for name, rates in zip(
            everyone, zip(*([rate(p.project, matrices) for p in everyone.values()] for _ in range(TURNS)))
        )
    }
    rows = [(box, radius, f'xmippLib {kind}, pad 2', errors[kind], rates[kind], 1, 1) for kind in peers]
    rows += [
        (
            box,
            radius,
            f'ours {kind}, pad {pad:g}',
            errors[kind, pad],
            rates[kind, pad],
            errors[kind, pad] / errors[kind],
            rates[kind, pad] / rates[kind],
        )
        for kind, pad in CASES
    ]
    return rows


def scaling(box, threads):
    """Wall-clock projections a second of linear interpolation at 1 and at more threads, best of several turns."""
    projector = FourierProjector(Blobs.random(box, 50).volume(box), 2.5)
    matrices = geometry.random_matrices(64, seed=2)
    best = dict.fromkeys((1, threads), 0.0)
    for _ in range(2 * TURNS):
        for n in best:
            torch.set_num_threads(n)
            best[n] = max(best[n], rate(projector.project, matrices, time.perf_counter))
    torch.set_num_threads(1)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--boxes', type=int, nargs='+', default=[128])
    parser.add_argument('--radii', type=float, nargs='+', default=[0.25, 0.35], help='of the phantom, in boxes')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--markdown', help='also append the tables to this file')
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        '| box | radius / box | method | error | projections / s | error / xmippLib | speed / xmippLib |',
        '|---|---|---|---|---|---|---|',
    ]
    for box in given.boxes:
        for radius in given.radii:
            lines += [
                f'| {b} | {r:g} | {method} | {error:.2e} | {speed:.0f} | {er:.2f} | {sr:.2f} |'
                for b, r, method, error, speed, er, sr in compare(box, radius)
            ]
    box = min(given.boxes, key=lambda b: abs(b - 128))
    best = scaling(box, given.threads)
    lines += [
        '',
        f'{box} px, linear, pad 2.5, wall clock: {best[1]:.0f} projections / s on 1 thread, '
        f'{best[given.threads]:.0f} on {given.threads}: {best[given.threads] / best[1]:.2f} times.',
    ]
    lines += ['', f'Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.', '']
    print('\n'.join(lines))
    if given.markdown:
        with open(given.markdown, 'a', encoding='utf-8') as file:
            file.write('\n'.join(lines))


if __name__ == '__main__':
    main()
