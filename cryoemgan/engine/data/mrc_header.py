"""The header of an MRC file as others write it: either byte order, old machine stamps, no ``MAP`` word.

The byte order is the one in which the header makes sense; the stamp only says which to try first. RELION 3.1.3, IMOD
and the CCP4 library read such files, too. What is no MRC file is named by its own format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from ..errors import InputError
from ..files import require_regular
from ..shapes import Images
from .formats import format_by_content, format_by_name

SIZE = HEADER_DTYPE.itemsize
TYPES = {0: 'i1', 1: 'i2', 2: 'f4', 6: 'u2', 12: 'f2'}
OTHER_MODES = {3: 'complex numbers', 4: 'complex numbers', 101: 'numbers of 4 bits'}
# More than any file that is meant to be read here has along one side; random bytes have more.
LARGEST_SIDE = 2**20
BIG_ENDIAN = (0x11, 0x11)
# IMOD's mark in the header, and its flag for bytes with a sign.
IMOD_STAMP, IMOD_SIGNED = 1146047817, 1
# Neighbouring pixels differ more by this factor when bytes are read with the wrong sign.
ROUGHER = 1.25


@dataclass(frozen=True)
class MrcHeader:
    """What a header says, in the order of the file.

    Attributes
    ----------
    path : Path
    shape : (int, int, int)
        Sections, rows, columns.
    dtype : np.dtype
        Of the values, with their byte order.
    offset : int
        Of the first value, bytes.
    axes : (int, int, int)
        Which axis (1, 2, 3 = x, y, z) sections, rows and columns go along.
    start : (int, int, int)
        Of the first section, row and column in the grid of the unit cell.
    grid, cell : (int, int, int), (float, float, float)
        Intervals and length (A) of the unit cell along x, y, z.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    axes: tuple[int, int, int]
    start: tuple[int, int, int]
    grid: tuple[int, int, int]
    cell: tuple[float, float, float]

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Along x, y, z, A; 0 where the header does not say."""
        with np.errstate(all='ignore'):
            found = [float(np.float32(c) / np.float32(g)) if g > 0 else 0.0 for c, g in zip(self.cell, self.grid)]
        return tuple(v if np.isfinite(v) and v > 0 else 0.0 for v in found)  # type: ignore[return-value]

    @property
    def bytes_needed(self) -> int:
        """Of the values."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_header(path: Path, kind: str = 'image stack') -> MrcHeader:
    """The header of a file; InputError when it is missing, or names what it is instead of MRC.

    kind: what the file should be, for messages.
    """
    try:
        with require_regular(path).open('rb') as file:
            raw = file.read(SIZE)
    except FileNotFoundError as e:
        raise InputError(f'{path}: no such {kind}') from e
    except IsADirectoryError as e:
        raise InputError(f'{path} is a folder, not an {kind}') from e
    # The header of a Spider file may make sense as one of MRC.
    foreign = None if raw[208:211] == b'MAP' else format_by_content(path, raw)
    header = None if foreign else _sensible(raw)
    if header is None:
        foreign = foreign or format_by_name(path)
        if foreign:
            raise InputError(f'{path}: this is {foreign}')
        size = path.stat().st_size
        if not size:
            raise InputError(f'{path}: the file is empty (0 bytes): copy or write it again')
        raise InputError(f'{path}: not a readable MRC file ({kind}; {size} bytes, and no MRC header in the first 1024)')
    mode = int(header['mode'])
    if mode not in TYPES:
        raise InputError(f'{path}: the MRC file holds {OTHER_MODES[mode]} (mode {mode}), not real-valued images')
    offset = SIZE + int(header['nsymbt'])
    shape = int(header['nz']), int(header['ny']), int(header['nx'])
    dtype = np.dtype(TYPES[mode]).newbyteorder(header.dtype['mode'].byteorder)
    if mode == 0:
        dtype = _byte_type(path, header, shape, offset)
    return MrcHeader(
        path,
        shape,
        dtype,
        offset,
        axes=_integers(header, 'maps', 'mapr', 'mapc'),
        start=_integers(header, 'nzstart', 'nystart', 'nxstart'),
        grid=_integers(header, 'mx', 'my', 'mz'),
        cell=tuple(float(header['cella'][a]) for a in 'xyz'),  # type: ignore[arg-type]
    )


def _integers(header: np.ndarray, *names: str) -> tuple[int, int, int]:
    return tuple(int(header[n]) for n in names)  # type: ignore[return-value]


def _sensible(raw: bytes) -> np.ndarray | None:
    """The header in the byte order in which it makes sense; None when there is none."""
    if len(raw) < SIZE:
        return None
    stamp = tuple(raw[212:214])
    for order in ('>', '<') if stamp == BIG_ENDIAN else ('<', '>'):
        header = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)[0]
        sides = [int(header[k]) for k in ('nx', 'ny', 'nz')]
        if (
            int(header['mode']) in {*TYPES, *OTHER_MODES}
            and all(1 <= s <= LARGEST_SIDE for s in sides[:2])
            and 1 <= sides[2] < 2**31
            and int(header['nsymbt']) >= 0
        ):
            return header
    return None


def _byte_type(path: Path, header: np.ndarray, shape: tuple[int, int, int], offset: int) -> np.dtype:
    """int8, or uint8 where the writer meant bytes without a sign, as many cameras and old programs do.

    IMOD says so in its flags; others by a largest value above 127; where neither does, the images tell, since
    neighbours are alike: with the wrong sign, 127 and 128 are as far apart as can be.
    """
    signed, unsigned = np.dtype('i1'), np.dtype('u1')
    stamp = np.frombuffer(header.tobytes(), header.dtype['nx'], 2, 152)
    if int(stamp[0]) == IMOD_STAMP:
        return signed if int(stamp[1]) & IMOD_SIGNED else unsigned
    low, high = float(header['dmin']), float(header['dmax'])
    if low < high and high > 127:
        return unsigned
    if low < high and low < 0:
        return signed
    images = _sample(path, shape, offset)
    return unsigned if _roughness(images.view('i1')) > ROUGHER * _roughness(images) else signed


def _sample(path: Path, shape: tuple[int, int, int], offset: int) -> np.ndarray:
    """A few images of bytes, spread over a file: uint8 [n, y, x]; fewer where it ends early."""
    size = shape[1] * shape[2]
    found = []
    with path.open('rb') as file:
        for k in sorted({0, shape[0] // 2, shape[0] - 1}):
            file.seek(offset + k * size)
            found.append(np.frombuffer(file.read(size), 'u1'))
    return np.array([f for f in found if f.size == size], 'u1').reshape(-1, *shape[1:])


def _roughness(images: Images | np.ndarray) -> float:
    """Mean absolute difference of neighbours along a row."""
    difference = np.diff(images.astype(np.int16), axis=-1)
    return float(np.abs(difference).mean()) if difference.size else 0.0
