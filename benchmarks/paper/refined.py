"""Table 3's experiment on a refined data set: training on projections of a map that RELION made from the particles."""

import shutil
import time

import numpy as np

from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.metrics import image_metrics

# Particles that no network sees, and the seed that draws them.
TEST, SEED = 300, 0


def refined(runner, work, place, source):
    """Result of one row. source: folder of relion_refined. The error is measured against the noise-free truth (which
    serves for nothing else) and against the projections of the map, the only measure that the paper had."""
    particles = source / 'run_data.star'
    folder = runner.folder / 'data' / 'refined'
    projected = folder / 'references.star'
    runner.verb('project', folder, '--particles', particles, '--volume', source / 'run_class001.mrc')
    table = ParticleTable.read(particles)
    order = np.random.default_rng(SEED).permutation(len(table))
    train = _written(table.subset(np.sort(order[TEST:])), place / 'training.star')
    test = _written(table.subset(np.sort(order[:TEST])), place / 'test.star')
    more = {}
    if work.options == ('noisy',):
        star = test.path
    elif work.options == ('projection',):
        star = projected
    elif work.options == ('cwf',):
        found = runner.verb('filter', place / 'denoise', '--particles', particles, '--method', 'cwf')
        star = place / 'denoise' / 'denoised.star'
        more = {'seconds_per_image': found['cpu_seconds_per_image'], 'training_seconds': found['learning_cpu_seconds']}
    else:
        more = runner.train(work, place, train.path, projected)
        start = time.process_time()
        runner.denoise(place / 'train' / 'model', test.path, place / 'denoise')
        more['seconds_per_image'] = (time.process_time() - start) / TEST
        star = place / 'denoise' / 'denoised.star'
    result = _measure(place, test, ParticleTable.read(star), ParticleTable.read(projected), source)
    shutil.rmtree(place / 'denoise', ignore_errors=True)
    return {**result, **more}


def _written(table, path):
    table.write(path)
    return table


def _measure(place, test, found, projections, source):
    truth_table = ParticleTable.read(source / 'truth.star')
    stack = StackReader([source / 'truth_clean_ctf.mrcs'], np.zeros(len(truth_table), int), np.arange(len(truth_table)))
    rows, truth_rows = match(test, truth_table)
    truth = stack.read(truth_rows)
    images, references, noisy = (_of(test, rows, t) for t in (found, projections, test))
    scores = image_metrics.compare(images, truth, float(np.ptp(truth)))
    against = image_metrics.compare(images, references, float(np.ptp(references)))
    unit = truth.var((1, 2), dtype=np.float64).mean()
    np.savez(place / 'scores.npz', images=images[:8], truth=truth[:8], noisy=noisy[:8], references=references[:8])
    return {
        'error': float(scores['mse_affine'].mean() / unit),
        'psnr_affine': float(scores['psnr_affine'].mean()),
        'ssim_affine': float(scores['ssim_affine'].mean()),
        'error_to_projections': float(against['mse_affine'].mean() / references.var((1, 2), dtype=np.float64).mean()),
    }


def _of(test, rows, table):
    """Images of a table for given rows of another."""
    mine, other = match(test, table)
    return table.images().read(_lookup(mine, other)[rows])


def _lookup(keys, values):
    """int64 array a with a[keys] = values."""
    found = np.full(keys.max() + 1, -1)
    found[keys] = values
    return found
