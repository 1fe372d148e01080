"""Volumes on disk, as (z, y, x) in a cube with the centre of the particle at N // 2, whatever their header says.

Axes are put in order; a part that was cut out of a larger map is put back to its place in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..shapes import AnyPath, Volume
from .mrc_header import MrcHeader, read_header
from .quantities import LARGEST_VALUE
from .stacks import require_whole

# px; a map of this box fills 34 GB.
LARGEST_MAP = 2048
STANDARD = (3, 2, 1)


def read_volume(path: AnyPath, kind: str) -> tuple[Volume, tuple[float, float, float]]:
    """(data float32 [N, N, N], side of a voxel along x, y, z in A, 0 where unknown) of an MRC volume.

    kind: 'map' or 'mask', for messages. InputError when it is missing, truncated, not cubic, or holds numbers that are
    none.
    """
    header = read_header(Path(path), kind)
    if min(header.shape) == 1 or max(header.shape) > LARGEST_MAP:
        raise _not_cubic(header, kind)
    require_whole(header)
    axes = header.axes if header.axes != (0, 0, 0) else STANDARD
    if sorted(axes) != [1, 2, 3]:
        raise InputError(f'{path}: mapc, mapr, maps = {axes[::-1]} are no order of axes')
    order = [axes.index(a) for a in STANDARD]
    start = tuple(header.start[k] for k in order)
    place, box = _place(header, tuple(header.shape[k] for k in order), start, kind)
    stored = np.fromfile(path, header.dtype, int(np.prod(header.shape)), offset=header.offset)
    data = stored.reshape(header.shape).transpose(order).astype(np.float32)
    bad = ~(np.abs(data) <= LARGEST_VALUE)
    if bad.any():
        count = np.count_nonzero(bad)
        raise InputError(f'{path}: the {kind} holds {count} values that are NaN, infinite or beyond {LARGEST_VALUE:g}')
    return _put(data, place, box), header.voxel


def _place(header: MrcHeader, shape: tuple[int, ...], start: tuple[int, ...], kind: str) -> tuple[tuple[int, ...], int]:
    """Where in which cube the voxels of a file stand: ((z, y, x), box).

    shape, start: z, y, x. A cube that fills the grid of its unit cell is a whole map, wherever it starts; so is one
    that starts at 0, of programs that leave the grid as it was. Anything else is a part of that grid, whose
    centre is its origin when the part reaches to both sides of it.
    """
    grid, cube = header.grid[::-1], len(set(shape)) == 1
    part = any(start) and max(grid) > max(shape)
    if not part:
        if not cube:
            raise _not_cubic(header, kind)
        return (0, 0, 0), shape[0]
    box = grid[0]
    centred = all(s < 0 < s + n for s, n in zip(start, shape))
    place = tuple(s + box // 2 for s in start) if centred else start
    fits = all(p >= 0 and p + n <= box for p, n in zip(place, shape))
    if len(set(grid)) > 1 or not fits or box > LARGEST_MAP:
        raise InputError(
            f'{header.path}: the {kind} is a part of a larger one: it starts at (nxstart, nystart, nzstart) = '
            f'{start[::-1]}, and its header does not say where the centre is. Give the whole {kind}, or, if this is '
            'it, set its start to 0'
        )
    return place, box


def _put(data: Volume, place: tuple[int, ...], box: int) -> Volume:
    if data.shape == (box, box, box):
        return np.ascontiguousarray(data)
    whole = np.zeros((box, box, box), np.float32)
    whole[tuple(slice(p, p + n) for p, n in zip(place, data.shape))] = data
    return whole


def _not_cubic(header: MrcHeader, kind: str) -> InputError:
    sides = ' x '.join(map(str, header.shape))
    limit = f' of at most {LARGEST_MAP} px' * (max(header.shape) > LARGEST_MAP)
    return InputError(f'{header.path}: a cubic {kind}{limit} is needed, this is {sides}')
