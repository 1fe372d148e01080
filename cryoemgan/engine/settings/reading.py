"""The parameter of every command that reads particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Reading:
    """What becomes of images that hold no numbers."""

    GROUP: ClassVar[str] = 'Reading particles'

    bad_images: str = option(
        'refuse',
        'Images with NaN, infinite or absurd values (beyond 1e12). refuse: the run ends when it meets one and names '
        'it; with --resume and skip it goes on from there. skip: all images are looked at before the work begins; '
        'bad ones are left out, named and counted.',
        choices=('refuse', 'skip'),
        expert=True,
        label='Bad images',
    )
