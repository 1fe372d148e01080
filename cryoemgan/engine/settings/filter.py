"""Parameters of ``filter``."""

from dataclasses import dataclass

from .base import Settings, option
from .project import AS_PARTICLES
from .reading import Reading


@dataclass
class Filter(Reading, Settings):
    """Denoise particles without a network, by one of the classical methods: what a network has to beat."""

    particles: str = option(
        None,
        'Noisy particles (STAR). Angles are not used; they pass through.',
        required=True,
        path=True,
        label='Particles',
    )
    method: str = option(
        'cwf',
        'cwf: covariance Wiener filter, the best of them and fast (1 ms an image of 64 px; knows '
        'the CTF). bm3d: alike blocks filtered together, 0.1 s at 64 px, 0.8 s at 128 px. ksvd: learned patch '
        'dictionary, 0.05-0.2 s. nlm: non-local means, 0.02-0.05 s. wiener: one radial filter for all, at once '
        '(knows the CTF).',
        choices=('cwf', 'bm3d', 'ksvd', 'nlm', 'wiener'),
        label='Method',
    )
    noise_sd: float | None = option(
        None,
        'S.d. of the noise. Default: measured in each image outside the inscribed '
        'circle (to 2.4 percent at 64 px), where the particle must not reach.',
        gt=0,
        label='Noise s.d.',
    )
    ctf: str = option(
        AS_PARTICLES,
        'CTF in the result: particles = as in the particles, the particle without noise; none = CTF undone, cwf and '
        'wiener only. full and phase-flip (its absolute value) say what the particles are, where their table does not. '
        'Particles without defocus are taken to have no CTF.',
        choices=('none', 'phase-flip', 'full', AS_PARTICLES),
        label='CTF in the result',
    )
    learn_from: int = option(
        5000,
        'Particles from which wiener, cwf and ksvd learn, drawn at random. Below 1000 the '
        'covariance is uncertain; above 10,000 little is gained.',
        ge=2,
        le=1_000_000,
        label='Learn from',
    )
    learnt: str | None = option(
        None,
        'Filter that an earlier run of this method learnt (learnt.npz in its folder): nothing is learnt anew, so that '
        'particles that come later are filtered as those before them.',
        path=True,
        expert=True,
        label='Learnt before',
    )
    batch_size: int = option(
        256,
        'Images filtered together; the result does not depend on it.',
        ge=1,
        le=8192,
        expert=True,
        label='Batch size',
    )

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """As in every command; the number of threads decides the last digits of what is learnt."""
        return super().of_machine() - {'threads'}
