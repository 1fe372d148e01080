"""Does a map fit into the images? What lies outside their inscribed circle is cut off in some views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .maps import Map
from .masks import soft_mask

# Parts of the mass outside at which it is said, and at which images are refused.
SAID, REFUSED = 0.01, 0.5


def cut_mass(volume: Map, field: float) -> tuple[float, float]:
    """(Part of a map's mass further than half a ``field`` (A) from its origin, field in A that would hold 99 % of it).

    Mass is what is dense; noise around a molecule does not count.
    """
    mass = volume.data.clip(0) * soft_mask(volume.data, volume.pixel_size)
    x = np.square(np.arange(volume.box) - volume.box // 2)
    radius = np.sqrt(x[:, None, None] + x[:, None] + x) * volume.pixel_size
    order = np.argsort(radius, axis=None)
    held = mass.ravel()[order].cumsum(dtype=np.float64) / mass.sum(dtype=np.float64)
    radii = radius.ravel()[order]
    inside = np.searchsorted(radii, field / 2, side='right')
    outside = 1 - float(held[inside - 1]) if inside else 1.0
    return outside, 2 * float(radii[np.searchsorted(held, 1 - SAID)])


def cut_off(volumes: Sequence[Map], box: int, pixel_size: float) -> tuple[float, str | None]:
    """(Largest part of the mass of maps that images of ``box`` px of ``pixel_size`` (A) cut off, a sentence that says
    so, None where it is next to nothing)."""
    field = box * pixel_size
    found = [cut_mass(v, field) for v in volumes]
    worst = int(np.argmax([outside for outside, _ in found]))
    outside, needed = found[worst]
    if outside <= SAID:
        return outside, None
    wanted = 2 * int(np.ceil(needed / pixel_size / 2))
    return outside, (
        f'{volumes[worst].path}: {outside:.0%} of the mass lies outside the circle of {field:.0f} A that images of '
        f'{box} px of {pixel_size:g} A hold in every view; a box of {wanted} px would hold it'
    )
