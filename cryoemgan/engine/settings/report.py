"""Parameters of ``report``."""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from .base import Settings, option
from .reading import Reading

FILES = 'Instead of what the refinement says'


@dataclass
class Report(Reading, Settings):
    """From a finished refinement to denoised, audited and sorted particles, with one page that says what to believe."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({'threads'})

    GROUP: ClassVar[str] = 'The road'

    refinement: str | None = option(
        None,
        'Folder of a finished 3D auto-refinement in RELION, such as Refine3D/job012. Particles, half maps, mask, '
        'resolution and pixel size are found in it.',
        path=True,
        label='Refinement',
        shown_as='DIR',
    )
    minutes: float = option(
        20.0,
        'Training time, shared by the networks. Preparing, denoising and auditing come on top; the report '
        'lists how long each step took. Resumed with more minutes, the same networks are trained further.',
        gt=0,
        le=10000,
        unit='minutes',
        label='Training time',
    )
    limit: str = option(
        'proposed',
        'Particles whose fit to the map is below this limit are rejected: "proposed", a number, or a fraction of '
        'all particles such as 10%. If the particles are too noisy for the fit to tell anything, the evidence is '
        'used instead.',
        label='Limit for the fit',
    )
    second_opinion: bool = option(
        True,
        'Trains a third network, which learns from the particles alone and never sees the map, and compares it with '
        'the two in their audits. It tells what the particles show and the map does not, such as a part that is '
        'missing from the map. A third of the training time is its own.',
        label='Second opinion without the map',
    )
    particles: str | None = option(
        None,
        'Particles with projection angles (STAR), if there is no refinement folder or other particles are to be used.',
        path=True,
        group=FILES,
        label='Particles',
    )
    volume: str | None = option(
        None,
        'One map (MRC) for all particles. Half maps, if given, are preferred.',
        path=True,
        group=FILES,
        label='Refined map',
    )
    half1: str | None = option(
        None,
        'Unfiltered half map (MRC) of the particles with _rlnRandomSubset 1.',
        path=True,
        group=FILES,
        label='Half map 1',
    )
    half2: str | None = option(
        None,
        'Unfiltered half map (MRC) of the particles with _rlnRandomSubset 2.',
        path=True,
        group=FILES,
        label='Half map 2',
    )
    mask: str | None = option(
        None,
        'Mask around the molecule, with values from 0 to 1 and the same box as the map (MRC).',
        path=True,
        group=FILES,
        label='Mask',
    )
    pictures: int = option(
        240, 'Number of particles in the gallery of the page.', ge=8, le=2000, expert=True, label='Particles shown'
    )
    train_settings: str | None = option(
        None,
        'JSON file with further options of the training, for both networks (of those, the one for '
        'the second opinion takes iterations, epochs, box and cross-fitting). If it sets iterations or epochs, '
        '--minutes is ignored.',
        path=True,
        expert=True,
        label='Training options',
    )

    def validate(self) -> None:
        """As in every command; and there is something to start from."""
        super().validate()
        if not (self.refinement or self.particles):
            raise InputError(
                '--refinement is missing: give the folder of a finished refinement (or --particles with --half1 and '
                '--half2, or --volume)'
            )

    @classmethod
    def of_length(cls) -> frozenset[str]:
        """A finished report may go on with longer training."""
        return frozenset({'minutes', 'limit', 'pictures'})
