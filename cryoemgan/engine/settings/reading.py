"""The parameter of every command that reads particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Reading:
    """Where images are, and what becomes of those that hold no numbers."""

    GROUP: ClassVar[str] = 'Reading particles'

    images_folder: str | None = option(
        None,
        'Folder that the stack names in the table are relative to, if the stacks are not found beside the table: '
        'the RELION or cryoSPARC project folder, or the folder that holds the stacks.',
        path=True,
        expert=True,
        label='Folder of the images',
    )
    pixel_size: float | None = option(
        None,
        'Pixel size of the particles, if their table has none or a wrong one.',
        unit='A/px',
        gt=0.05,
        lt=100,
        expert=True,
        label='Pixel size of the particles',
    )
    passthrough: str | None = option(
        None,
        'cryoSPARC only: the passthrough file (.cs) of the same job, with the fields that the job did not change.'
        ' Default: the one beside the particles.',
        path=True,
        expert=True,
        label='Passthrough file',
    )
    bad_images: str = option(
        'refuse',
        'What to do with images that contain NaN, infinite or absurdly large values.\n'
        'refuse: stop at the first one and name it; the run can then be resumed with skip.\n'
        'skip: check all images first, leave the bad ones out, and list them.',
        choices=('refuse', 'skip'),
        expert=True,
        label='Bad images',
    )
