"""The resolution that two half maps support."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InputError
from ...imaging.maps import Map
from ...imaging.masks import soft_mask
from ...job import Job
from ...metrics.frc import FSC_LIMIT, half_map_resolution
from ...settings.project import Project
from ...shapes import Volume


def resolution(settings: Project, job: Job, volumes: Sequence[Map], mask: Volume | None) -> float | None:
    """Resolution (A) of --half1 and --half2, the first two of the volumes; None without them.

    mask: of the user. Without one a soft mask is made from the maps themselves, and said: the noise around the molecule
    would lower the FSC far too much.

    Raises
    ------
    InputError
        The maps share no detail.
    """
    if not settings.half1:
        return None
    first, second, pixel_size = volumes[0].data, volumes[1].data, volumes[0].pixel_size
    plain = half_map_resolution(first, second, pixel_size, mask)
    made = None if mask is not None else soft_mask((first + second) / 2, pixel_size)
    found = plain if made is None else half_map_resolution(first, second, pixel_size, made)
    if found is None or plain is None:
        raise InputError(
            f'{settings.half1} and {settings.half2} share no detail at all (FSC below {FSC_LIMIT} everywhere): '
            'they are not half maps of one refinement'
        )
    if made is not None:
        job.say(
            f'no --mask: the half maps agree down to {found:.1f} A within a soft mask made from them '
            f'({made.mean():.0%} of the box), to {plain:.1f} A without; the references themselves are not masked'
        )
    return found
