"""Parameters of ``filter``."""

from dataclasses import dataclass
from typing import ClassVar

from .base import Settings, batches, option
from .project import AS_PARTICLES
from .reading import Reading


@dataclass
class Filter(Reading, Settings):
    """Denoise particles without a network, by one of the classical methods: what a network has to beat."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({'threads'})

    particles: str = option(
        None,
        'Noisy particles (STAR). Angles are not used, only passed on.',
        required=True,
        path=True,
        label='Particles',
    )
    method: str = option(
        'cwf',
        'cwf: covariance Wiener filter; knows the CTF. Fast, and the best of the five in most cases.\n'
        'wiener: one radial Wiener filter for all; knows the CTF. The fastest.\n'
        'bm3d: groups of similar blocks are filtered together. Slow.\n'
        'ksvd: patches from a learnt dictionary.\n'
        'nlm: non-local means.',
        choices=('cwf', 'bm3d', 'ksvd', 'nlm', 'wiener'),
        label='Method',
    )
    noise_sd: float | None = option(
        None,
        'S.d. of the noise. Default: measured in each image outside the inscribed circle, which the particle must'
        ' not reach.',
        gt=0,
        label='Noise s.d.',
        blank='measured',
    )
    ctf: str = option(
        AS_PARTICLES,
        'particles: the result has the CTF that the particles have.\n'
        'none: the CTF is undone (cwf and wiener only).\n'
        'full, phase-flip: state what the particles hold, if their table does not say so. Particles without '
        'defocus are taken to have no CTF.',
        choices=('none', 'phase-flip', 'full', AS_PARTICLES),
        label='CTF in the result',
    )
    learn_from: int = option(
        5000,
        'Number of particles, drawn at random, from which wiener, cwf and ksvd learn. With few particles the '
        'covariance is uncertain; beyond some thousands little is gained.',
        ge=2,
        le=1_000_000,
        label='Learn from',
    )
    learnt: str | None = option(
        None,
        'Filter learnt by an earlier run of this method (learnt.npz in its folder). It is used as it is, so that later '
        'particles are filtered like the earlier ones.',
        path=True,
        expert=True,
        label='Learnt before',
    )
    batch_size: int = batches(256, 'Number of images filtered at a time; the result does not depend on it.')
