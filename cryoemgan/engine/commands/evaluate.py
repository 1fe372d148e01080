"""``evaluate``: compare any number of particle sets with references, particle by particle.

Sets are matched to the references by identity and read batch by batch. All of them are compared on the particles that
every set has: means over different particles cannot be compared.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ... import figures
from ...figures.gallery import particle_labels
from ..data.image_state import CtfState
from ..data.matching import match
from ..data.particles import open_particles
from ..data.sampling import chunks, evenly_spread
from ..data.table import ParticleTable
from ..errors import InputError
from ..files import atomic
from ..imaging import rings
from ..job import Job
from ..metrics import frc, image_metrics
from ..settings.evaluate import Evaluate
from ..shapes import AnyPath, Floats, Json, Rows

COLUMNS = [*image_metrics.NAMES, *(f'{name}_affine' for name in image_metrics.NAMES), 'gain', 'offset']
# Title of the references in the gallery.
REFERENCE = 'reference'
THRESHOLDS = {'frc_0.5': 0.5, 'frc_0.143': 0.143}
# Smallest pixel-size difference that moves the last ring by a tenth of a ring in a 64 px box.
PIXEL_TOLERANCE = 0.003


@dataclass
class EvaluateInputs:
    """What is compared: references, sets by name, and the rows of each that hold the same particles."""

    references: ParticleTable
    reference_rows: Rows
    sets: dict[str, ParticleTable]
    rows: dict[str, Rows]


class Running:
    """Mean and s.d. of a stream of batches [n, ...] (Chan et al. 1983: stable, unlike a sum of squares)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean, self._squares = np.zeros(()), np.zeros(())

    def add(self, values: Floats) -> None:
        """Take in a batch [n, ...]."""
        n, mean = len(values), values.mean(0)
        total = self.count + n
        self._squares = self._squares + ((values - mean) ** 2).sum(0) + (mean - self.mean) ** 2 * self.count * n / total
        self.mean = self.mean + (mean - self.mean) * n / total
        self.count = total

    @property
    def sd(self) -> Floats:
        """Standard deviation of what was seen."""
        return np.sqrt(self._squares / self.count)


def load_inputs(settings: Evaluate, job: Job) -> EvaluateInputs:
    """Read and match all tables; InputError for mismatches. Nothing is written."""
    references = open_particles(job, settings.references)
    sets = {name: open_particles(job, path) for name, path in _named(settings.particles).items()}
    for name, table in sets.items():
        _check_scale(references, name, table)
        _warn_about_origin(job, references, name, table)
    return EvaluateInputs(references, *_shared(job, references, sets))


def run(settings: Evaluate, job: Job, inputs: EvaluateInputs) -> Json:
    """Compare, write metrics.csv, frc.csv and pictures; returns the summary of every method."""
    data_range = settings.data_range or _data_range(job, inputs, settings.batch_size)
    stats, curves = _compare_all(settings, job, inputs, data_range)
    box, pixel_size = inputs.references.box, inputs.references.pixel_size
    _write_frc(job.output('frc.csv'), curves, box, pixel_size)
    results = {
        name: _method_summary(stats[name], curves[name].mean, data_range, pixel_size, box) for name in inputs.sets
    }
    for name, result in results.items():
        _warn_about_scale(job, name, result, stats[name])
    job.say(_as_text(results, data_range))
    _draw(settings, job, inputs)
    return {
        'particles': len(inputs.reference_rows),
        'data_range': data_range,
        'ssim_window': 'Gaussian, sigma 1.5 px',
        'frc_without_crossing': 'Nyquist when it stays above the threshold, null when it is never above',
        'methods': results,
    }


# Checks


def _named(arguments: Iterable[str]) -> dict[str, str]:
    """{name: path} of NAME=FILE arguments; a bare FILE is called by its stem."""
    named = {}
    for argument in arguments:
        name, _, path = argument.partition('=')
        if not path or Path(argument).exists():
            name, path = Path(argument).stem, argument
        if not name or name == REFERENCE or name in named:
            raise InputError(f'--particles {argument}: the name {name!r} is empty or taken; write OTHER=FILE.star')
        named[name] = path
    return named


def _check_scale(references: ParticleTable, name: str, table: ParticleTable) -> None:
    if table.box != references.box:
        raise InputError(
            f'{table.path} ({name}) has images of {table.box} px, {references.path} of {references.box} '
            'px: resampling would change what is measured. Make references with project --box '
            f'{table.box}, or denoise with --output-box input'
        )
    if references.box < 2 * image_metrics.SSIM_RADIUS + 1:
        raise InputError(
            f'{references.path}: images of {references.box} px are smaller than the window of SSIM '
            f'({2 * image_metrics.SSIM_RADIUS + 1} px)'
        )
    ratio = table.pixel_size / references.pixel_size
    if abs(ratio - 1) > PIXEL_TOLERANCE:
        raise InputError(
            f'{table.path} ({name}) has {table.pixel_size:.4g} A/px, {references.path} '
            f'{references.pixel_size:.4g} A/px: not the same images. Correct the pixel size in one of the '
            'tables if it is wrong, or resample'
        )


def _warn_about_origin(job: Job, references: ParticleTable, name: str, table: ParticleTable) -> None:
    leakage = table.provenance.get('leakage')
    if leakage not in (None, '0'):
        job.warn(f'{name}: {leakage} particles were denoised by a model that was trained on them')
    ctf, expected = table.ctf_state, references.ctf_state
    if ctf is not expected and CtfState.UNKNOWN not in (ctf, expected):
        job.warn(
            f'{name}: its images have the CTF treated as "{ctf}", the references as "{expected}": part of the '
            'difference is the CTF, not noise'
        )


def _shared(
    job: Job, references: ParticleTable, sets: dict[str, ParticleTable]
) -> tuple[Rows, dict[str, ParticleTable], dict[str, Rows]]:
    """(rows of the references, sets, {name: rows}) of the particles that every set has."""
    matched = {name: match(references, table) for name, table in sets.items()}
    common = np.arange(len(references))
    for mine, _ in matched.values():
        common = np.intersect1d(common, mine)
    if not len(common):
        raise InputError(
            'no particle is in every set: '
            + ', '.join(
                f'{name} shares {len(mine)} of {len(references)} with the references'
                for name, (mine, _) in matched.items()
            )
        )
    rows = {}
    for name, (mine, theirs) in matched.items():
        order = np.argsort(mine)
        rows[name] = theirs[order[np.searchsorted(mine, common, sorter=order)]]
        if len(common) < len(sets[name]):
            job.warn(
                f'{name}: {len(common)} of its {len(sets[name])} particles are in the references and in every '
                'other set; only these are compared'
            )
    return common, sets, rows


# Work


def _data_range(job: Job, inputs: EvaluateInputs, size: int) -> float:
    images, rows = inputs.references.images(), inputs.reference_rows
    low, high = np.inf, -np.inf
    with job.progress(len(rows), 'grey range') as bar:
        for part in chunks(len(rows), size):
            batch = images.read(rows[part])
            low, high = min(low, float(batch.min())), max(high, float(batch.max()))
            bar.update(len(batch))
    if low == high:
        raise InputError(
            f'{inputs.references.path}: every reference has the grey value {low:g}; are these the images you meant?'
        )
    return high - low


def _compare_all(
    settings: Evaluate, job: Job, inputs: EvaluateInputs, data_range: float
) -> tuple[dict[str, Running], dict[str, Running]]:
    """Write metrics.csv batch by batch; ({name: Running of COLUMNS and slope}, {name: Running of FRC curves})."""
    stats, curves = ({name: Running() for name in inputs.sets} for _ in range(2))
    labels, total = particle_labels(inputs.references, inputs.reference_rows), len(inputs.reference_rows)
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(atomic(job.output('metrics.csv')))
        writer = csv.writer(stack.enter_context(open(target, 'w', newline='', encoding='utf-8')))
        writer.writerow(['particle', 'method', *COLUMNS])
        bar = stack.enter_context(job.progress(total, 'compare'))
        for part in chunks(total, settings.batch_size):
            rows = inputs.reference_rows[part]
            references, named = inputs.references.images().read(rows), list(islice(labels, len(rows)))
            for name, table in inputs.sets.items():
                images = table.images().read(inputs.rows[name][part])
                values = image_metrics.compare(images, references, data_range)
                block = np.stack([values[c] for c in COLUMNS], axis=1)
                writer.writerows([label, name, *(f'{v:.6g}' for v in line)] for label, line in zip(named, block))
                stats[name].add(block)
                curves[name].add(frc.ring_correlation(images, references))
            bar.update(len(rows))
    return stats, curves


def _write_frc(path: AnyPath, curves: Mapping[str, Running], box: int, pixel_size: float) -> None:
    frequency = rings.frequencies(box, pixel_size)
    with atomic(path) as partial, open(partial, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['method', 'ring', 'frequency', 'frc', 'sd', 'fourier_pixels'])
        for name, curve in curves.items():
            for ring, size in enumerate(rings.ring_sizes(box)):
                writer.writerow(
                    [name, ring, f'{frequency[ring]:.6g}', f'{curve.mean[ring]:.6g}', f'{curve.sd[ring]:.6g}', size]
                )


def _method_summary(stats: Running, curve: Floats, data_range: float, pixel_size: float, box: int) -> Json:
    """Means and s.d. of a method as the summary promises them."""
    of = {c: {'mean': float(stats.mean[i]), 'sd': float(stats.sd[i])} for i, c in enumerate(COLUMNS)}
    groups: list[dict[str, Any]] = [{n: of[n + suffix] for n in image_metrics.NAMES} for suffix in ('', '_affine')]
    raw, affine = groups
    for group in groups:
        # The mean of PSNR is not the PSNR of the mean: papers print either.
        group['psnr_of_mean_mse'] = float(image_metrics.psnr(group['mse']['mean'], data_range))
    return {
        **raw,
        'affine': {**affine, 'gain': of['gain'], 'offset': of['offset']},
        **{name: frc.resolution(curve, value, pixel_size, box) for name, value in THRESHOLDS.items()},
    }


def _warn_about_scale(job: Job, name: str, result: Json, stats: Running) -> None:
    ncc, standard_error = result['ncc']['mean'], result['ncc']['sd'] / np.sqrt(stats.count)
    if ncc < -max(4 * standard_error, 0.02):
        job.warn(
            f'{name}: inverted contrast: the mean correlation with the references is {ncc:.2f}. Invert one of '
            'the two sets (white protein belongs with white protein)'
        )
    elif result['mse']['mean'] > 4 * result['affine']['mse']['mean'] and abs(ncc) > 0.5:
        job.warn(
            f'{name}: its grey scale is not that of the references (MSE {result["mse"]["mean"]:.3g} raw, '
            f'{result["affine"]["mse"]["mean"]:.3g} after an affine fit): read the affine numbers'
        )


# Reports


def _as_text(results: Mapping[str, Json], data_range: float) -> str:
    """The table printed at the end."""
    width = max(6, *(len(name) for name in results))
    head = f'{"":{width}}  {"MSE":>10} {"PSNR":>7} {"SSIM":>6} {"NCC":>6} | {"affine MSE":>10} {"PSNR":>7} {"SSIM":>6}'
    lines = [
        f'PSNR and SSIM with data range {data_range:.4g}; FRC in Angstrom',
        head + f' | {"FRC 0.5":>8} {"0.143":>6}',
    ]
    for name, r in results.items():
        a, cut = r['affine'], ['-' if r[k] is None else f'{r[k]:.1f}' for k in THRESHOLDS]
        lines.append(
            f'{name:{width}}  {r["mse"]["mean"]:10.3e} {r["psnr"]["mean"]:7.2f} {r["ssim"]["mean"]:6.3f} '
            f'{r["ncc"]["mean"]:6.3f} | {a["mse"]["mean"]:10.3e} {a["psnr"]["mean"]:7.2f} '
            f'{a["ssim"]["mean"]:6.3f} | {cut[0]:>8} {cut[1]:>6}'
        )
    return '\n'.join(lines)


def _draw(settings: Evaluate, job: Job, inputs: EvaluateInputs) -> None:
    figures.save(figures.distributions(job.output('metrics.csv')), job.output('metrics.png'))
    figures.save(figures.frc_curves(job.output('frc.csv')), job.output('frc.png'))
    gallery = figures.Gallery({**inputs.sets, REFERENCE: inputs.references}, metrics=job.output('metrics.csv'))
    shown = evenly_spread(len(gallery), settings.pictures)
    figures.save(gallery.particles(shown), job.output('gallery.png'))
    figures.gallery_page(
        job.output('gallery.html'), 'Evaluation', 'The same particles in every set, and what they were compared with.',
        {**inputs.sets, REFERENCE: inputs.references},
    )  # fmt: skip
