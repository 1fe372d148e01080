"""``simulate``: clean and noisy particles of known conformation, pose and CTF.

Two passes, both batch by batch: projections (with CTF and shifts) go to clean.mrcs and give the signal's variance;
then noise is added to them. Nothing grows with the number of images but the columns of their table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .... import figures
from ... import costs
from ...data.sampling import chunks
from ...data.stack_writer import StackWriter
from ...data.stacks import StackReader
from ...data.table import ParticleTable
from ...errors import InputError
from ...geometry import euler_to_matrix
from ...imaging import simulation
from ...imaging.density import AtomicModel, check_size, density, read_models
from ...imaging.field_of_view import REFUSED, cut_off
from ...imaging.maps import Map, read_map, write_map
from ...imaging.phantom import Phantom, claw
from ...imaging.resample import plan_resampling
from ...job import Job
from ...settings.simulate import Simulate
from ...shapes import Floats, Images, Json, Matrices, Rows, Shifts, Volume
from .tables import random_ctf, write_tables

if TYPE_CHECKING:
    import torch

PHANTOM_PIXEL, DEFAULT_B = 4.0, 14.0

# What a conformation is made of, and what projects one: (rotations, shifts) -> images.
State: TypeAlias = Phantom | AtomicModel | Map
Projector: TypeAlias = Callable[[Matrices, Shifts], Images]


@dataclass
class SimulateInputs:
    """Checked input: the conformations (phantoms, atomic models or maps), pixel size, table of CTF parameters."""

    states: Sequence[State]
    pixel_size: float
    ctf_table: ParticleTable | None

    @property
    def conformations(self) -> int:
        """Number of conformations."""
        return len(self.states)


def load_inputs(settings: Simulate, job: Job) -> SimulateInputs:
    """Read the models or maps and check that they fit the box; InputError otherwise."""
    s = settings
    given = [name for name in ('model', 'volume', 'phantom') if getattr(s, name)]
    if len(given) != 1:
        raise InputError(
            'give one of --model, --volume and --phantom' + (f', not {" and ".join(given)}' if given else '')
        )
    if s.clip and s.scale != 'unit':
        raise InputError('--clip cuts grey values to [0, 1]: it needs --scale unit')
    if s.defocus_min > s.defocus_max:
        raise InputError(f'--defocus-min {s.defocus_min:g} is larger than --defocus-max {s.defocus_max:g}')
    states, pixel_size = _states(s, [job.input(p) for p in s.model + s.volume])
    maps = [state for state in states if isinstance(state, Map)]
    if maps:
        outside, said = cut_off(maps, s.box, pixel_size)
        if outside > REFUSED:
            raise InputError(f'--box: {said}')
        if said:
            job.warn(f'{said}; it is cut off')
    total = s.count * len(states)
    if sum(s.split) > total:
        raise InputError(
            f'--split: parts of {sum(s.split)} particles in all, but only {total} are simulated; '
            f'take --count {-(-sum(s.split) // len(states))}'
        )
    table = None
    if s.ctf_table:
        table = ParticleTable.read(job.input(s.ctf_table))
        table.ctf()
    if s.device != 'auto':
        _device(s)
    return SimulateInputs(states, pixel_size, table)


def _states(s: Simulate, paths: Sequence[Path]) -> tuple[Sequence[State], float]:
    if s.phantom:
        return claw(s.phantom), s.pixel_size or PHANTOM_PIXEL
    if s.model:
        if s.pixel_size is None:
            raise InputError('--pixel-size is missing: an atomic model has none')
        models = read_models(paths)
        for model in models:
            check_size(model, s.box, s.pixel_size)
        return models, s.pixel_size
    maps = [read_map(p) for p in paths]
    pixel_size = s.pixel_size or maps[0].pixel_size
    for m in maps:
        plan_resampling(m.box, m.pixel_size, s.box, pixel_size)
    return maps, pixel_size


def run(settings: Simulate, job: Job, inputs: SimulateInputs) -> Json:
    """Write volumes, clean and noisy stacks and their tables; returns what was measured on them."""
    s, total = settings, settings.count * inputs.conformations
    job.say(costs.of_stack(total, s.box, sets=2))
    columns = _draw_columns(s, inputs, total)
    if inputs.ctf_table is not None or s.ctf:
        columns['ctf'] = random_ctf(s, total, inputs.ctf_table)
    projectors = _projectors(s, job, inputs)
    variance = _write_clean(s, job, inputs, columns, projectors)
    sigma = np.sqrt((np.full(total, variance.mean()) if s.snr_per == 'set' else variance) / s.snr)
    measured = _write_noisy(s, job, inputs, columns, sigma)
    write_tables(s, job, inputs, columns, sigma)
    figures.gallery_page(
        job.output('gallery.html'), 'Simulated particles', 'Each as a microscope would show it, and the truth.',
        {'noisy': job.folder / 'noisy.star', 'clean': job.folder / 'clean.star'}, aligned=True,
    )  # fmt: skip
    return {
        'particles': total,
        'conformations': inputs.conformations,
        'pixel_size': inputs.pixel_size,
        'signal_variance': float(variance.mean()),
        'noise_sd': float(sigma.mean()),
        **measured,
    }


# What is drawn at random


def _draw_columns(s: Simulate, inputs: SimulateInputs, total: int) -> dict[str, Any]:
    """Everything a particle has but its pixels."""
    angles = simulation.random_angles(total, s.seed, s.view_spread)
    return {
        'angles': angles,
        'rotations': euler_to_matrix(*angles),
        'state': np.arange(total) % inputs.conformations,
        'shifts': simulation.stream(s.seed, simulation.SHIFTS).normal(0, 1, (total, 2)) * s.shift_sd,
        'half': simulation.half_sets(total, s.seed),
        'spoilt': (
            simulation.chosen(total, s.contaminate_fraction, s.seed)
            if s.contaminate != 'none'
            else np.zeros(total, bool)
        ),
    }


# Images


def _projectors(s: Simulate, job: Job, inputs: SimulateInputs) -> list[Projector]:
    """A function (rotations, shifts) -> images for each conformation; the volumes are written on the way."""
    projectors: list[Projector] = []
    volumes: list[tuple[Volume, float]] = []
    for number, state in enumerate(inputs.states, 1):
        if isinstance(state, Phantom):
            volume, pixel_size = state.volume(s.box), inputs.pixel_size
            projectors.append(partial(state.project, s.box))
        else:
            volume, pixel_size, scale = _volume(s, inputs, state)
            projectors.append(_slices(volume, s.interpolation, scale, _device(s)))
        write_map(job.output(f'volume_{number}.mrc'), volume, pixel_size)
        volumes.append((volume, pixel_size))
    if len(volumes) > 1:
        # What refining all conformations as one would give.
        write_map(job.output('consensus.mrc'), np.mean([v for v, _ in volumes], axis=0), volumes[0][1])
    return projectors


def _volume(s: Simulate, inputs: SimulateInputs, state: AtomicModel | Map) -> tuple[Volume, float, float]:
    """(density, its pixel size, pixel size of the images / this)."""
    if isinstance(state, AtomicModel):
        b_factor = DEFAULT_B * inputs.pixel_size**2 if s.b_factor is None else s.b_factor
        return density(state, s.box, inputs.pixel_size, b_factor), inputs.pixel_size, 1.0
    how = plan_resampling(state.box, state.pixel_size, s.box, inputs.pixel_size)
    return how.apply(state.data), how.pixel_size, how.residual


def _slices(volume: Volume, interpolation: str, scale: float, device: torch.device) -> Projector:
    from ...imaging.projection import FourierProjector

    projector = FourierProjector(volume, interpolation=interpolation, device=device)
    return lambda a, t: projector.project(a, t, scale).cpu().numpy()


def _device(s: Simulate) -> torch.device:
    # torch takes longer to import than a phantom to draw.
    from ...devices import choose_device

    return choose_device(s.device)


def _batches(total: int, size: int) -> Iterator[Rows]:
    return (np.arange(part.start, part.stop) for part in chunks(total, size))


def _write_clean(
    s: Simulate, job: Job, inputs: SimulateInputs, columns: dict[str, Any], projectors: Sequence[Projector]
) -> Floats:
    """Write clean.mrcs; variance of the signal (with CTF) in every image, float64[n]."""
    total = len(columns['state'])
    variance = np.empty(total)
    with (
        StackWriter(job.output('clean.mrcs'), total, s.box, inputs.pixel_size) as writer,
        job.progress(total, 'project') as bar,
    ):
        for rows in _batches(total, s.batch_size):
            images = np.empty((len(rows), s.box, s.box), np.float32)
            for state, project in enumerate(projectors):
                here = columns['state'][rows] == state
                if here.any():
                    images[here] = project(columns['rotations'][rows[here]], columns['shifts'][rows[here]])
            signal = _with_ctf(images, columns, rows, inputs.pixel_size)
            images = images if s.clean_ctf == 'none' else signal
            if s.scale == 'unit':
                from ...imaging.grey_scale import to_unit

                images, gain = to_unit(images)
                signal = signal * gain
            variance[rows] = signal.var((1, 2), dtype=np.float64)
            writer.append(images)
            bar.update(len(rows))
    return variance


def _with_ctf(images: Images, columns: dict[str, Any], rows: Rows, pixel_size: float) -> Images:
    if 'ctf' not in columns:
        return images
    import torch

    from ...imaging.ctf import apply_ctf, ctf_rfft

    box = images.shape[-1]
    ctf = ctf_rfft(box, pixel_size, {name: values[rows] for name, values in columns['ctf'].items()})
    return torch.fft.irfft2(apply_ctf(torch.fft.rfft2(torch.as_tensor(images)), ctf), s=(box, box)).numpy()


def _write_noisy(s: Simulate, job: Job, inputs: SimulateInputs, columns: dict[str, Any], sigma: Floats) -> Json:
    """Add noise to clean.mrcs -> noisy.mrcs (and spoilt references); the SNR as measured on the written images."""
    total = len(sigma)
    clean = StackReader([job.output('clean.mrcs')], np.zeros(total, int), np.arange(total))
    noise_power = 0.0
    with contextlib.ExitStack() as stack:
        open_stack = lambda name: stack.enter_context(  # noqa: E731
            StackWriter(job.output(name), total, s.box, inputs.pixel_size)
        )
        noisy = open_stack('noisy.mrcs')
        references = open_stack('references.mrcs') if s.contaminate in ('references', 'both') else None
        bar = stack.enter_context(job.progress(total, 'noise'))
        for rows in _batches(total, s.batch_size):
            truth = clean.read(rows)
            signal = _with_ctf(truth, columns, rows, inputs.pixel_size) if s.clean_ctf == 'none' else truth
            unit = simulation.unit_noise(rows, s.box, s.seed, s.noise == 'coloured')
            images = signal + sigma[rows, None, None].astype(np.float32) * unit
            if s.clip:
                images = images.clip(0, 1)
            noise_power += float(np.square(images - signal, dtype=np.float64).sum())
            spoilt = columns['spoilt'][rows]
            if s.contaminate in ('particles', 'both'):
                images[spoilt] = simulation.spoil(images[spoilt], rows[spoilt], s.seed, s.contaminate_kind)
            if references:
                truth[spoilt] = simulation.spoil(truth[spoilt], rows[spoilt] + total, s.seed, s.contaminate_kind)
                references.append(truth)
            noisy.append(images)
            bar.update(len(rows))
    return {'noise_variance': noise_power / (total * s.box**2), 'contaminated': int(columns['spoilt'].sum())}
