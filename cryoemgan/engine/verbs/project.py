"""``project``: the refined map at every particle's angles and shifts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import agreement, maps, resample
from ..ctf import apply_ctf, ctf_rfft
from ..devices import choose_device
from ..errors import InputError
from ..projection import FourierProjector
from ..stacks import StackWriter
from ..table import ParticleTable

STACK, TABLE = 'references.mrcs', 'references.star'


@dataclass
class Prepared:
    """Checked input of a run; arrays have a row a particle."""

    table: ParticleTable
    volume: maps.Map
    mask: np.ndarray | None
    plan: resample.Plan
    matrices: np.ndarray
    shifts: np.ndarray
    pixel_sizes: np.ndarray
    ctf: dict | None
    device: torch.device


def check(settings, job):
    """Every check of input; nothing is written. Returns Prepared."""
    table = ParticleTable.read(job.input(settings.particles))
    volume = maps.read_map(job.input(settings.volume), settings.volume_pixel_size)
    mask = maps.read_mask(job.input(settings.mask), volume) if settings.mask else None
    _check_lowpass(settings, volume)
    matrices = table.rotations()
    _check_projection_angles(table, matrices)
    box = settings.box or table.box
    pixel_sizes = table.pixel_sizes * table.box / box
    if pixel_sizes.max() > 1.1 * pixel_sizes.min():
        raise InputError(
            f'{table.path}: pixel sizes from {table.pixel_sizes.min():g} to {table.pixel_sizes.max():g} A: '
            'more than 10 percent apart; project one optics group at a time'
        )
    plan = resample.plan(volume.box, volume.pixel_size, box, float(np.median(pixel_sizes)))
    # Shifts in px of the references, whose box may differ.
    shifts = table.shifts() * box / table.box
    ctf = table.ctf() if settings.ctf != 'none' or table.has('rlnDefocusU') else None
    return Prepared(table, volume, mask, plan, matrices, shifts, pixel_sizes, ctf, choose_device(settings.device))


def _check_lowpass(settings, volume):
    if settings.lowpass and settings.lowpass <= 2 * volume.pixel_size:
        raise InputError(
            f'--lowpass: {settings.lowpass:g} A is beyond what the map holds (Nyquist of '
            f'{volume.pixel_size:g} A/px is {2 * volume.pixel_size:g} A): leave it out, or give the '
            'resolution of the refinement'
        )


def _check_projection_angles(table, matrices):
    """2D alignment writes rot = tilt = 0: every particle would be seen along the map's z axis."""
    if len(table) > 2 and (matrices[:, 2, 2] > 1 - 1e-9).all():
        raise InputError(
            f'{table.path}: every _rlnAngleTilt is 0: these are particles of a 2D alignment; use the '
            'particles that came out of a 3D refinement'
        )


def run(settings, job, prepared):
    """Project, batch by batch; returns the summary's fields."""
    renderer = _Renderer(settings, prepared)
    found = _compare(settings, job, prepared, renderer)
    count, p = len(prepared.table), prepared
    pixel_size = float(np.median(p.pixel_sizes))
    writer = StackWriter(job.output(STACK), count, p.plan.box, pixel_size)
    with writer, job.progress(count, 'projecting') as bar:
        for start in range(0, count, settings.batch_size):
            rows = np.arange(start, min(start + settings.batch_size, count))
            writer.append(renderer(rows, settings.ctf))
            bar.update(len(rows))
    references = p.table.derive(STACK, box=p.plan.box, pixel_size=pixel_size)
    references.set_provenance(**_provenance(settings, p))
    references.write(job.output(TABLE))
    return {
        'particles': count,
        'box': p.plan.box,
        'pixel_size': pixel_size,
        'ctf': settings.ctf,
        'map_resampled_box': p.plan.resampled,
        'map_resampled_pixel_size': p.plan.pixel_size,
        'correlation': found.as_dict(),
    }


class _Renderer:
    """References of given particles."""

    def __init__(self, settings, prepared):
        self._p, self._device = prepared, prepared.device
        if settings.threads:
            torch.set_num_threads(settings.threads)
        data = _filtered(settings, prepared)
        pad = settings.pad or (2.5 if prepared.plan.box <= 256 else 2.0)
        self._projector = FourierProjector(data, pad, settings.interpolation, self._device)
        scale = prepared.pixel_sizes / prepared.plan.pixel_size
        self._scale = None if np.abs(scale - 1).max() < 1e-5 else scale

    def __call__(self, rows, mode):
        """float32[n, box, box], with the CTF as ``mode`` says."""
        p = self._p
        scale = None if self._scale is None else self._scale[rows]
        spectrum = self._projector.project_rfft(p.matrices[rows], p.shifts[rows], scale)
        if mode != 'none':
            params = {name: values[rows] for name, values in p.ctf.items()}
            spectrum = apply_ctf(spectrum, ctf_rfft(p.plan.box, p.pixel_sizes[rows], params, self._device), mode)
        return torch.fft.irfft2(spectrum, s=(p.plan.box, p.plan.box)).cpu().numpy()


def _filtered(settings, prepared):
    """The map as it is projected: low-passed, masked, resampled, in units of line integrals of the input's voxels."""
    volume = prepared.volume
    data = volume.data
    if settings.lowpass:
        data = maps.lowpass(data, volume.pixel_size, settings.lowpass)
    if prepared.mask is not None:
        data = data * prepared.mask
    if settings.invert:
        data = -data
    return prepared.plan.apply(data) * (prepared.plan.pixel_size / volume.pixel_size)


def _compare(settings, job, prepared, renderer):
    """Agreement of the references with the particles on a sample; warns of what must not pass unseen."""
    table = prepared.table
    rows = agreement.sample_rows(len(table), max(table.box, prepared.plan.box))
    # Bare references are compared through the CTF that the particles have.
    mode = 'full' if settings.ctf == 'none' and prepared.ctf else settings.ctf
    batches = np.array_split(rows, -(-len(rows) // settings.batch_size))
    references = np.concatenate([renderer(batch, mode) for batch in batches])
    particles = resample.resample(table.images().read(rows), prepared.plan.box)
    found = agreement.measure(references, particles, float(np.median(prepared.pixel_sizes)), settings.seed)
    job.say(
        f'correlation with the particles: {found.mean:.3f} (s.d. {found.sd:.3f}, {found.count} particles, '
        f"{found.resolution:.0f} A); with another particle's reference: {found.shuffled_mean:.3f}"
    )
    constant = int((np.ptp(particles, axis=(1, 2)) == 0).sum())
    if constant:
        job.warn(f'{constant} of {len(rows)} sampled particles are constant images: leave them out.')
    if found.inverted:
        job.warn(
            f'INVERTED CONTRAST: references and particles correlate negatively ({found.mean:.3f}). Particles are '
            'black where the map is positive (or the other way round). Project again with --invert, or invert '
            'the particles; a network trained on these would learn the negative.'
        )
    elif found.absent:
        job.warn(
            f'Particles agree with their own references hardly better than with others ({found.mean:.3f} against '
            f'{found.shuffled_mean:.3f}). Angles, shifts, pixel size, CTF or the hand of the map do not belong to '
            'these particles: take particles and map of the same refinement. (Particles that look alike from '
            'everywhere at this resolution, such as apoferritin, may be right nevertheless.)'
        )
    return found


def _provenance(settings, prepared):
    """What was done, for the output table."""
    digest = hashlib.sha256(Path(settings.volume).read_bytes()).hexdigest()
    return {
        'verb': 'project',
        'ctf': settings.ctf,
        'volume': Path(settings.volume).name,
        'volume_sha256': digest,
        'volume_pixel_size': prepared.volume.pixel_size,
        'mask': Path(settings.mask).name if settings.mask else 'none',
        'lowpass': settings.lowpass or 'none',
        'interpolation': settings.interpolation,
        'inverted': 'yes' if settings.invert else 'no',
    }
