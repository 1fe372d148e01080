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

    GROUP: ClassVar[str] = 'The road'

    refinement: str | None = option(
        None,
        'Folder of a finished 3D auto-refinement of RELION, such as Refine3D/job012: particles, half maps, mask, '
        'resolution and pixel size are found in it.',
        path=True,
        label='Refinement',
        shown_as='DIR',
    )
    minutes: float = option(
        20.0,
        'Minutes of training, shared by the two networks. Their preparation, denoising and the audits come on top; '
        'the run says how long each step took. Resumed with more minutes, it goes on with the same networks.',
        gt=0,
        le=10000,
        unit='minutes',
        label='Training time',
    )
    limit: str = option(
        'proposed',
        'Particles with a fit to the map below this are sorted out: "proposed", a number, or a part of all such as '
        '10%. Where the noise leaves the fit nothing to tell, the evidence is used.',
        label='Limit of the fit',
    )
    particles: str | None = option(
        None,
        'Particles with projection angles (STAR), when there is no folder of a refinement or other particles are '
        'meant.',
        path=True,
        group=FILES,
        label='Particles',
    )
    volume: str | None = option(
        None, 'One map (MRC) for all particles; half maps come first.', path=True, group=FILES, label='Refined map'
    )
    half1: str | None = option(
        None,
        'Unfiltered map (MRC) of the particles with _rlnRandomSubset 1.',
        path=True,
        group=FILES,
        label='Half map 1',
    )
    half2: str | None = option(
        None,
        'Unfiltered map (MRC) of the particles with _rlnRandomSubset 2.',
        path=True,
        group=FILES,
        label='Half map 2',
    )
    mask: str | None = option(
        None, 'Where the molecule is (MRC, values 0 to 1, same box as the map).', path=True, group=FILES, label='Mask'
    )
    pictures: int = option(
        240, 'Particles in the gallery of the page.', ge=8, le=2000, expert=True, label='Particles shown'
    )
    train_settings: str | None = option(
        None,
        'JSON file with further options of train, for both networks; with iterations or epochs in it, --minutes does '
        'not count.',
        path=True,
        expert=True,
        label='Options of the training',
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

    @classmethod
    def of_machine(cls) -> frozenset[str]:
        """As in every command; the number of threads decides the last digits in most of the steps."""
        return super().of_machine() - {'threads'}
