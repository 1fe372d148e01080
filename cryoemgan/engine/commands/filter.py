"""``filter``: particles through a classical denoiser; the same output as ``denoise``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ... import figures
from .. import classical, costs
from ..classical.base import Batch, Method, corner_noise, transfer
from ..data.image_state import CtfState, particles_shown_as
from ..data.particles import open_particles
from ..data.sampling import chunks
from ..data.stack_writer import ResumableStack
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging.spectra import filtered
from ..job import Job
from ..settings.filter import AS_PARTICLES, Filter
from ..shapes import CtfParameters, Floats, Images, Json, Rows

STACK, TABLE, LEARNT = 'denoised.mrcs', 'denoised.star', 'learnt.npz'
KNOW_THE_CTF = ('cwf', 'wiener')


@dataclass
class FilterInputs:
    """Checked input. method: of an earlier run when it has learnt already. ctf: parameters, float64 [n] each, or None
    when the particles have none."""

    table: ParticleTable
    method: classical.Method
    pixel_size: float
    ctf: CtfParameters | None
    held: CtfState


def load_inputs(settings: Filter, job: Job) -> FilterInputs:
    """FilterInputs; InputError for anything that cannot be filtered."""
    table = open_particles(job, settings.particles)
    if table.box % 2 or table.box < 16:
        raise InputError(f'{table.path}: images of {table.box} px; the methods need an even box of 16 px or more')
    if settings.method == 'cwf' and len(table) < 2 and not settings.learnt:
        raise InputError(f'{table.path}: one particle; a covariance needs hundreds. Take --method bm3d or nlm')
    held = particles_shown_as(table, CtfState.UNKNOWN if settings.ctf == AS_PARTICLES else settings.ctf)
    ctf = table.ctf() if table.has('rlnDefocusU') and held is not CtfState.NONE else None
    if ctf is not None and held is CtfState.PREMULTIPLIED and settings.method in KNOW_THE_CTF:
        raise InputError(
            f'{table.path}: the particles were multiplied by their CTF, and their noise with it, which '
            f'{settings.method} takes to be white: take the particles as they were extracted, or --method bm3d or nlm'
        )
    if settings.ctf not in (AS_PARTICLES, 'none', held):
        job.warn(f'{table.path}: the particles hold the CTF as "{held}", and so will the result, not as --ctf says')
    if settings.ctf == 'none' and ctf is not None and settings.method not in KNOW_THE_CTF:
        raise InputError(f'--ctf none: {settings.method} knows nothing of the CTF; take --method cwf or wiener')
    method = classical.create(settings.method, table.box)
    if settings.learnt:
        if not method.learns:
            raise InputError(f'--learnt: {settings.method} learns nothing')
        classical.restore(method, settings.method, job.input(settings.learnt))
    return FilterInputs(table, method, table.pixel_size, ctf, held)


def run(settings: Filter, job: Job, inputs: FilterInputs) -> Json:
    """Learn if the method does, then write denoised.mrcs and denoised.star."""
    table = inputs.table
    job.say(costs.of_stack(len(table), table.box))
    read = _Reader(settings, inputs)
    method = inputs.method
    start = time.process_time()
    if method.learns and not settings.learnt:
        rows = _sample(len(table), settings)
        job.say(f'learning from {len(rows)} particles')
        method.fit(lambda: (read(part) for part in _parts(rows, settings.batch_size)))
        classical.save(method, settings.method, job.output(LEARNT))
    learned = time.process_time()
    with (
        ResumableStack(
            job.output(STACK),
            len(table),
            table.box,
            inputs.pixel_size,
            table.describe,
            columns=1,
            left_out=len(job.left_out),
            resume=settings.resume,
        ) as stack,
        job.progress(len(table), settings.method, stack.written) as bar,
    ):
        before = stack.written
        for rows in _parts(np.arange(before, len(table)), settings.batch_size):
            batch = read(rows)
            stack.append(_with_ctf(method, method.denoise(batch), batch, settings), batch.noise_sd[:, None])
            bar.update(len(rows))
    done = time.process_time()
    noise = stack.values[:, 0]
    _warn_constant(job, noise)
    kept = _ctf_kept(settings, inputs)
    output = table.derive(STACK)
    output.set_provenance(verb='filter', method=settings.method, ctf=kept)
    output.write(job.output(TABLE))
    figures.gallery_page(
        job.output('gallery.html'), f'Particles filtered by {settings.method}', 'No network and no map went in.',
        {'noisy': table, 'filtered': job.folder / TABLE}, aligned=True,
    )  # fmt: skip
    return {
        'particles': len(table), 'box': table.box, 'pixel_size': inputs.pixel_size, 'method': settings.method,
        'ctf': kept, 'noise_sd': {'median': float(np.median(noise)), 'min': float(noise.min()),
                                  'max': float(noise.max())},
        'learning_cpu_seconds': round(learned - start, 3),
        'cpu_seconds_per_image': (done - learned) / max(1, len(table) - before),
    }  # fmt: skip


class _Reader:
    """Rows of the table as a ``Batch``."""

    def __init__(self, settings: Filter, inputs: FilterInputs) -> None:
        self._images, self._settings, self._prepared = inputs.table.images(), settings, inputs
        self._ctf = inputs.ctf if settings.method in KNOW_THE_CTF else None

    def __call__(self, rows: Rows) -> Batch:
        images = self._images.read(rows)
        given = self._settings.noise_sd
        noise = np.full(len(rows), given) if given else corner_noise(images)[1]
        # A constant image has no noise; zero would divide by zero.
        noise = np.maximum(noise, 1e-6 * max(float(np.abs(images).max()), 1e-30))
        if self._ctf is None:
            return Batch(images, noise)
        ctf = {name: values[rows] for name, values in self._ctf.items()}
        known = transfer(images.shape[1], self._prepared.pixel_size, ctf, self._prepared.held.value)
        return Batch(images, noise, *known)


def _sample(count: int, settings: Filter) -> Rows:
    rng = np.random.default_rng(settings.seed)
    return np.sort(rng.permutation(count)[: settings.learn_from])


def _parts(rows: Rows, size: int) -> list[Rows]:
    return [rows[part] for part in chunks(len(rows), size)]


def _with_ctf(method: Method, estimate: Images, batch: Batch, settings: Filter) -> Images:
    """The estimate with the CTF that the settings want on it."""
    if not method.uses_ctf or batch.transfer is None or settings.ctf == 'none':
        return estimate
    return filtered(estimate, batch.transfer)


def _ctf_kept(settings: Filter, inputs: FilterInputs) -> str:
    return 'none' if inputs.ctf is None or settings.ctf == 'none' else inputs.held.value


def _warn_constant(job: Job, noise: Floats) -> None:
    constant = int((noise <= 1e-6 * np.median(noise)).sum())
    if constant:
        job.warn(
            f'{constant} particles are constant outside the inscribed circle (masked, or empty): their noise '
            'level could not be measured and they were left as they are; give --noise-sd'
        )
