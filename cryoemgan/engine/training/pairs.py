"""Training pairs (particle, reference): matched by identity, checked, measured once, read in normalised units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..data.image_state import CtfState, particles_shown_as
from ..data.matching import match
from ..data.particles import open_particles
from ..data.sampling import chunks
from ..data.table import ParticleTable
from ..devices import to_device
from ..errors import InputError
from ..imaging.resample import resample, resampled
from ..job import Job
from ..random_fields import RandomRows
from ..settings.train import Train
from ..shapes import Flags, Floats, Images, Rows, Tensor
from .interfaces import Gathered
from .pair_scale import SIGNIFICANT, PairMoments, PairScale
from .particle_rows import ParticleRows

AGREEMENT = 'cryoemganCorrelation'  # column of project: correlation of each particle with its reference
CHUNK, SIDES = 256, ('particles', 'references')
FIELD_TOLERANCE = 2e-3  # relative difference of box x pixel size that still counts as the same field of view


@dataclass(frozen=True)
class Contaminated:
    """Pairs that an experiment replaces by noise.

    what: references, particles or both. noise: gaussian or uniform. positions: which pairs. seed: of the noise.
    """

    what: str
    noise: str
    positions: Rows
    seed: int


class ReferencePairs(ParticleRows):
    """The pairs of two tables, numbered 0..len-1 in the particles' order."""

    kind = 'references'
    target_noise = 0.0
    gains = None
    map_prior = None
    scale: PairScale

    def __init__(self, particles: ParticleTable, references: ParticleTable, box: int | None = None) -> None:
        """box: resample both to it. InputError when they cannot be paired."""
        self.particles, self.references = particles, references
        self.rows, self.reference_rows = match(particles, references)
        self.unmatched = len(particles) - len(self.rows), len(references) - len(self.reference_rows)
        self._noisy, self._clean = particles.images(), references.images()
        field, other = (t.box * t.pixel_size for t in (particles, references))
        if abs(field / other - 1) > FIELD_TOLERANCE:
            raise InputError(
                f'{references.path}: the references show {other:.1f} A ({references.box} px of '
                f'{references.pixel_size:.4g} A), the particles {field:.1f} A ({particles.box} px of '
                f'{particles.pixel_size:.4g} A). Project the map again for these particles'
            )
        self.box: int = box or particles.box
        self.pixel_size: float = field / self.box
        self._contaminated: Contaminated | None = None

    def own_half_maps(self) -> bool:
        """Whether the references of each half set come from the half map of that set."""
        return self.references.provenance.get('half_maps') == 'yes'

    @property
    def ctf(self) -> str:
        """What the references, hence the output, hold of the CTF."""
        return self.references.ctf_state.value

    @property
    def image_model(self) -> tuple[str, str]:
        """The CTF in particles and references; empty where one of them is not known, or they do not go together."""
        given = self.references.ctf_state
        held = particles_shown_as(self.particles, given) if self.particles.has('rlnDefocusU') else CtfState.NONE
        with_ctf = (CtfState.FLIPPED, CtfState.FULL) if held in (CtfState.FLIPPED, CtfState.FULL) else (held,)
        return (held.value, given.value) if given in (CtfState.NONE, *with_ctf) else ('', '')

    def keep(self, kept: Flags) -> None:
        """Leave out the pairs where ``kept`` [len] is False."""
        self.rows, self.reference_rows = self.rows[kept], self.reference_rows[kept]

    def references_at(self, positions: Rows) -> ParticleTable:
        """Table of the references at these positions, in their order."""
        return self.references.subset(self.reference_rows[positions])

    def raw(self, positions: Rows) -> tuple[Images, Images]:
        """(particles, references), [n, box, box] in their own grey values, resampled to the box."""
        return (
            resample(self._noisy.read(self.rows[positions]), self.box),
            resample(self._clean.read(self.reference_rows[positions]), self.box),
        )

    def gather(self, positions: Rows) -> Gathered:
        """(particles, references), in their own grey values and boxes."""
        return self._noisy.read(self.rows[positions]), self._clean.read(self.reference_rows[positions])

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """(standardised particles, references in network units) [n, 1, box, box]; contaminated if asked."""
        noisy, clean = (resampled(x, self.box) for x in gathered)
        s = self.scale
        noisy.sub_(s.mean).div_(s.sd)
        clean.mul_(s.unit_scale).add_(s.unit_offset)
        if self._contaminated:
            self._replace(self._contaminated, positions, noisy, clean)
        noisy = noisy[:, None]
        if self._planes is not None:
            noisy = torch.cat([noisy, self._planes(self.rows[positions], noisy.device)], 1)
        return noisy, clean[:, None]

    def contaminate(self, contaminated: Contaminated) -> None:
        """Replace particles, references or both at some positions by noise."""
        self._contaminated = contaminated

    def _replace(self, by: Contaminated, positions: Rows, noisy: Tensor, clean: Tensor) -> None:
        found = np.flatnonzero(np.isin(positions, by.positions))
        if not len(found):
            return
        index, s = to_device(found, noisy.device), self.scale
        # Uniform with the particles' own mean and variance: they have no natural range.
        for side, images, mean, sd, low, high in (
            ('particles', noisy, 0.0, 1.0, -(3**0.5), 3**0.5),
            ('references', clean, s.unit_mean, s.unit_sd, 0.0, 1.0),
        ):
            if by.what in (side, 'both'):
                # The same noise whenever a pair is read.
                rng = RandomRows(by.seed, 'noise', SIDES.index(side), positions[found], noisy.device)
                shape = self.box, self.box
                gaussian = by.noise == 'gaussian'
                noise = mean + sd * rng.normal(*shape) if gaussian else low + (high - low) * rng.uniform(*shape)
                images.index_copy_(0, index, noise)

    def fit_grey_scale(
        self, invert: bool = False, force: bool = False, tell: Callable[[int], object] = lambda count: None
    ) -> int:
        """Stream over all pairs once: leave out constant images, fit ``scale``, check that pairs belong together.

        Parameters
        ----------
        invert : bool
            Reverse the references' contrast.
        force : bool
            Go on although particles and references do not correlate.
        tell : callable
            Called with the number of pairs that were looked at.

        Returns
        -------
        int
            Number of pairs left out.

        Raises
        ------
        InputError
            Inverted contrast, no correlation, or nothing left.
        """
        moments = PairMoments.of(self._signed(-1 if invert else 1), len(self), self.box**2, tell)
        left_out = self._leave_out_constant(moments)
        if not force:
            self._check_correlation(moments, invert)
        self.scale = moments.fit(invert)
        return left_out

    def _signed(self, sign: int) -> Iterator[tuple[slice, Images, Images]]:
        for rows in chunks(len(self), CHUNK):
            noisy, clean = self.raw(np.arange(rows.start, rows.stop))
            yield rows, noisy, sign * clean

    def _leave_out_constant(self, moments: PairMoments) -> int:
        constant = moments.constant()
        left_out = constant['particles'] | constant['references']
        if left_out.all():
            which, rows = next((k, v) for k, v in constant.items() if v.any())
            table = self.particles if which == 'particles' else self.references
            raise InputError(f'{table.path}: {rows.sum()} of {len(self)} {which} are constant images; no pair is left')
        self.keep(~left_out)
        moments.keep(~left_out)
        return int(left_out.sum())

    def _check_correlation(self, moments: PairMoments, invert: bool) -> None:
        own, other, z = moments.correlations()
        found = (
            f"mean correlation of the particles with their own reference {own:.3f}, with another particle's "
            f'{other:.3f} (difference: {z:.1f} standard errors of {len(self)} pairs)'
        )
        if z < -SIGNIFICANT:
            cure = 'leave out --invert-contrast' if invert else 'give --invert-contrast, or invert one of the two sets'
            raise InputError(
                f'{self.references.path}: the contrast is inverted against {self.particles.path}: {found}; {cure}'
            )
        if z < SIGNIFICANT:
            raise InputError(
                f'{self.references.path}: the references do not belong to {self.particles.path}, or the '
                f'angles are wrong: {found}. Check angles, shifts and map; --force trains in spite of it'
            )


def _leave_out_misaligned(pairs: ReferencePairs, limit: float, job: Job) -> None:
    """Leave out pairs whose correlation is ``limit`` robust s.d. below the median of the set."""
    if not limit or not pairs.references.has(AGREEMENT):
        return
    found = pairs.references.floats(AGREEMENT)[pairs.reference_rows]
    kept = ~outlying(found, limit)
    if not kept.all():
        job.warn(
            f'{(~kept).sum()} of {len(kept)} pairs agree far less than the others (correlation below '
            f'{found[kept].min():.3f}, median {np.median(found):.3f}) and are not trained on: wrong angles or junk'
        )
        pairs.keep(kept)


def outlying(values: Floats, limit: float) -> Flags:
    """Which values lie more than ``limit`` robust s.d. (1.4826 x median absolute deviation) below the median."""
    away = values - np.median(values)
    below: Flags = away < -limit * max(1.4826 * np.median(np.abs(away)), 1e-6)
    return below


def _check_projection(references: ParticleTable, force: bool) -> str | None:
    """InputError when ``project`` is certain that something is wrong with these pairs; else its doubts, or None."""
    better = references.provenance.get('pair_check', 'given')
    if better == 'given':
        return None
    found = f'{references.path}: project found that these references fit their particles better with {better}'
    # Tables of earlier versions do not say how certain that is: they named a cause whenever anything was wrong.
    if references.provenance.get('pair_check_certain') == 'yes' and not force:
        raise InputError(f'{found}. Project again with that set right; --force trains in spite of it')
    return f'{found}; that is likely, not certain, and a network learns what the references show'


def open_pairs(settings: Train, job: Job) -> ReferencePairs:
    """Pairs of ``settings.particles`` and ``settings.references``, checked and measured; warnings go to the job."""
    assert settings.references is not None
    particles, references = (open_particles(job, p) for p in (settings.particles, settings.references))
    pairs = ReferencePairs(particles, references, settings.box)
    for missing, table, partner in zip(pairs.unmatched, (particles, references), ('reference', 'particle')):
        if missing:
            job.warn(f'{table.path}: {missing} of {len(table)} rows have no {partner} and are not used')
    if len(pairs) < 2:
        raise InputError(f'{particles.path}: training needs at least 2 pairs, there is {len(pairs)}')
    _leave_out_misaligned(pairs, settings.min_agreement, job)
    if doubt := _check_projection(references, settings.force):
        job.warn(doubt)
    with job.progress(len(pairs), 'checking pairs') as bar:
        left_out = pairs.fit_grey_scale(settings.invert_contrast, settings.force, bar.update)
    if left_out:
        job.warn(f'{left_out} pairs with a constant image are not used')
        if len(pairs) < 2:
            raise InputError(f'{particles.path}: only {len(pairs)} usable pair is left; training needs at least 2')
    return pairs
