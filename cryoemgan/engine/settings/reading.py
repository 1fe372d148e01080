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
        'Folder that the names of the image stacks in the table are relative to, when they are not found beside it: '
        "the project's folder of RELION or cryoSPARC, or the folder with the stacks themselves.",
        path=True,
        expert=True,
        label='Folder of the images',
    )
    pixel_size: float | None = option(
        None,
        'Pixel size of the particles, when their table has none or a wrong one.',
        unit='A/px',
        gt=0.05,
        lt=100,
        expert=True,
        label='Pixel size of the particles',
    )
    passthrough: str | None = option(
        None,
        'For particles of cryoSPARC: the passthrough file of the same job (.cs) with the fields that the job did not '
        'change. Default: the one beside the particles.',
        path=True,
        expert=True,
        label='Passthrough file',
    )
    bad_images: str = option(
        'refuse',
        'Images with NaN, infinite or absurd values (beyond 1e12). refuse: the run ends when it meets one and names '
        'it; resumed with skip, it goes on from there. skip: all images are looked at before the work begins; '
        'bad ones are left out, named and counted.',
        choices=('refuse', 'skip'),
        expert=True,
        label='Bad images',
    )
