"""Whether the references of a run belong to their particles: their agreement, and what else may be true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...data import optics
from ...data.image_state import CtfState
from ...data.quantities import PIXEL
from ...data.sampling import evenly_spread
from ...imaging import resample
from ...imaging.ctf import ctf_rfft, seen
from ...job import Job
from ...metrics import pair_agreement
from ...settings.project import Project
from ...shapes import Images, Rows, Tensor
from ...trust import pair_check
from ...trust.geometry_hypotheses import GIVEN, SAME_SIZE, STATES, Hypothesis, hypotheses
from . import states
from .references import Renderer

if TYPE_CHECKING:
    from . import ProjectInputs

# Pixels of the compared particles together, at most, unless that leaves too few: a dozen views are drawn of each.
PIXELS, LEAST = 2**22, 40


class Templates:
    """Draws templates of some particles for `pair_check`."""

    def __init__(self, p: ProjectInputs, renderer: Renderer, rows: Rows, mode: str, batch_size: int) -> None:
        self._p, self._renderer, self._rows, self._mode, self._size = p, renderer, rows, mode, batch_size
        self._ctf = {name: values[rows] for name, values in p.ctf.items()} if p.ctf else None

    def bare(self, hypothesis: Hypothesis) -> Tensor:
        """As of `pair_check.Templates`."""
        parts = np.array_split(np.arange(len(self._rows)), -(-len(self._rows) // self._size))
        return torch.cat([
            self._renderer.spectra(
                self._rows[k], hypothesis.matrices[k], np.zeros((len(k), 2)), hypothesis.scale * hypothesis.pixel
            )
            for k in parts
        ])  # fmt: skip

    def transfer(self, hypothesis: Hypothesis) -> Tensor | float:
        """As of `pair_check.Templates`."""
        mode = str(hypothesis.ctf or self._mode)
        if self._ctf is None or mode == 'none':
            return 1.0
        params = {**self._ctf, 'phase_shift': self._ctf['phase_shift'] + hypothesis.phase}
        sizes = self._p.pixel_sizes[self._rows] * hypothesis.pixel
        return seen(ctf_rfft(self._p.plan.box, sizes, params, self._p.device), mode)

    def beyond_first_zero(self) -> Tensor | None:
        """As of `pair_check.Templates`."""
        if self._ctf is None:
            return None
        box, c = self._p.plan.box, self._ctf
        defocus = (c['defocus_u'] + c['defocus_v']) / 2
        start = np.arcsin(np.clip(c['amplitude_contrast'], -1, 1)) + np.deg2rad(c['phase_shift'])
        # Without Cs, which counts only farther out. Where there is no such zero, nothing is beyond it.
        squared = (np.pi - start) / (np.pi * optics.electron_wavelength(c['voltage']) * np.maximum(defocus, 1e-6))
        zero = np.sqrt(np.where((squared > 0) & (defocus > 0), squared, np.inf))
        frequency = np.hypot(np.fft.rfftfreq(box), np.fft.fftfreq(box)[:, None])
        sizes = self._p.pixel_sizes[self._rows]
        return torch.from_numpy(frequency > (zero * sizes)[:, None, None]).to(self._p.device)


@dataclass(frozen=True)
class Sample:
    """Some particles and their references float32 [n, box, box] in the particles' CTF state, and their rows."""

    rows: Rows
    references: Images
    particles: Images

    @classmethod
    def of(cls, settings: Project, p: ProjectInputs, renderer: Renderer, mode: CtfState) -> Sample:
        """Spread over the set."""
        rows = pair_agreement.sample_rows(len(p.table), max(p.table.box, p.plan.box))
        particles = resample.resample(p.table.images().read(rows), p.plan.box)
        return cls(rows, _references(settings, renderer, rows, mode), particles)


def compare(
    settings: Project, job: Job, p: ProjectInputs, renderer: Renderer, mode: CtfState, sample: Sample
) -> tuple[pair_agreement.Agreement, pair_check.Verdict]:
    """(Agreement of the references with a Sample of particles, Verdict on the pairs); warns of what must not pass
    unseen. mode: CTF state of the particles."""
    table, pixel_size = p.table, float(np.median(p.pixel_sizes))
    rows, particles = sample.rows, sample.particles
    found = pair_agreement.measure_agreement(sample.references, particles, pixel_size, settings.seed)
    job.say(
        f'correlation with the particles: {found.mean:.3f} (s.d. {found.sd:.3f}, {found.count} particles, '
        f"{found.resolution:.0f} A); with another particle's reference: {found.shuffled_mean:.3f}"
    )
    few = evenly_spread(len(rows), min(pair_check.SAMPLE, max(LEAST, PIXELS // p.plan.box**2)))
    some = rows[few]
    header = table.images().header_pixel_size
    other = PIXEL.possible(np.array([header])).all() and abs(header / table.pixel_sizes[0] - 1) >= SAME_SIZE
    said = header * table.box / p.plan.box if other else None
    # Refinements write maps with the box and the pixels of their particles.
    shared = p.maps[0].pixel_size * table.box / p.plan.box if p.maps[0].box == table.box else None
    matrices, shifts = p.matrices[some], p.shifts[some]
    verdict = pair_check.examine(
        particles[few],
        Templates(p, renderer, some, mode, settings.batch_size),
        Hypothesis(GIVEN, matrices, shifts),
        hypotheses(matrices, shifts, str(mode), bool(p.ctf), pixel_size, said, shared)
        | states.other_magnification(table, some, shifts),
    )
    if p.wanted is CtfState.NONE and verdict.best == STATES[CtfState.NONE]:
        job.say('the particles show no CTF, whatever their table says: bare references are right for them')
        verdict = replace(verdict, best=GIVEN, certain=False)
    _warn(job, found, verdict, int((np.ptp(particles, axis=(1, 2)) == 0).sum()))
    return found, verdict


def _references(settings: Project, renderer: Renderer, rows: Rows, mode: str) -> Images:
    batches = np.array_split(rows, -(-len(rows) // settings.batch_size))
    return np.concatenate([renderer.images(renderer.spectra(b), b, mode) for b in batches])


def _warn(job: Job, found: pair_agreement.Agreement, verdict: pair_check.Verdict, constant: int) -> None:
    if constant:
        job.warn(f'{constant} of {found.count} sampled particles are constant images: leave them out.')
    if verdict.best == pair_check.INVERTED or (found.inverted and verdict.best == GIVEN):
        job.warn(
            f'INVERTED CONTRAST: references and particles correlate negatively ({found.mean:.3f}). Particles are '
            'black where the map is positive (or the other way round). Project again with --invert, or invert '
            'the particles; a network trained on these would learn the negative.'
        )
    elif verdict.best == pair_check.UNEXPLAINED:
        job.warn(
            'SOMETHING IS WRONG, NO CAUSE FOUND: particles and references do not fit as they should '
            f'({verdict.reason}). Angles, shifts, pixel size, CTF, hand or mask of the map do not belong to these '
            'particles: take particles and map of the same refinement. (Particles that look alike from everywhere at '
            'this resolution, such as apoferritin, may be right nevertheless.)'
        )
    elif verdict.best == GIVEN and found.absent:
        job.warn(
            f'SOMETHING IS WRONG, NO CAUSE FOUND: particles agree with their own reference hardly better '
            f"({found.mean:.3f}) than with another particle's ({found.shuffled_mean:.3f}): the angles are not those of "
            'these particles, or there are too few of them to tell.'
        )
    elif verdict.best != GIVEN:
        job.warn(
            f'The particles agree better with {verdict.best}: {verdict.reason}. Set that right and project again'
            + ('.' if verdict.certain else ', if it is so: this is likely, not certain.')
        )
