"""Image stacks on disk: checked when opened, read row by row.

Nothing holds a stack in memory: a million particles of 256 px are 262 GB. `stack_writer` writes them.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..shapes import AnyPath, Flags, Images
from .mrc_header import MrcHeader, read_header
from .quantities import LARGEST_VALUE

OPEN_FILES = 64
# Enough for the largest real box, far from what a forged header could make us allocate.
LARGEST_BOX = 8192


@dataclass(frozen=True)
class StackInfo:
    """What the header of a stack says, checked against its file: shape (count, y, x), data type, byte offset."""

    path: Path
    count: int
    shape: tuple
    dtype: np.dtype
    offset: int
    pixel_size: float


def stack_info(path: AnyPath) -> StackInfo:
    """Read and check the header of an MRC stack; InputError when missing, not MRC, truncated or absurd."""
    header = read_header(Path(path))
    count, ny, nx = header.shape
    if max(ny, nx) > LARGEST_BOX:
        raise InputError(f'{path}: the header is not that of particle images ({count} x {ny} x {nx}, {header.dtype})')
    require_whole(header)
    return StackInfo(header.path, count, (ny, nx), header.dtype, header.offset, header.voxel[0])


def require_whole(header: MrcHeader) -> None:
    """InputError when a file is shorter than its header promises."""
    count, ny, nx = header.shape
    there = header.path.stat().st_size - header.offset
    if there < header.bytes_needed:
        whole = max(there, 0) // (ny * nx * header.dtype.itemsize)
        raise InputError(
            f'{header.path}: truncated: the header promises {count} images of {nx} px, the file holds {whole}. '
            'Copy the file again, or leave out the particles it lacks'
        )


class StackReader:
    """The images of a set of particles, which may be spread over many stacks.

    files: the stacks. file_of_row [n]: which of them. index [n]: position in it, from 0. describe: row -> name of
    the particle, for messages. InputError for anything missing, truncated or of mixed box.
    """

    def __init__(
        self, files: Sequence[AnyPath], file_of_row: ArrayLike, index: ArrayLike, describe: Callable[[int], str] = str
    ) -> None:
        self._infos = [stack_info(f) for f in files]
        self._file, self._index = np.asarray(file_of_row), np.asarray(index)
        self._describe = describe
        self._handles: OrderedDict[int, int] = OrderedDict()
        self._check_rows()

    def _check_rows(self) -> None:
        shapes = {i.shape for i in self._infos}
        if len(shapes) > 1:
            a, b = (next(i for i in self._infos if i.shape == s) for s in sorted(shapes)[:2])
            raise InputError(
                f'images of different boxes in one set: {a.path} has {a.shape[1]} px, {b.path} '
                f'{b.shape[1]} px. Extract or resample the particles to one box'
            )
        ny, nx = shapes.pop()
        if ny != nx:
            raise InputError(f'{self._infos[0].path}: images of {nx} x {ny} px; particles must be square')
        counts = np.array([i.count for i in self._infos])
        bad = np.flatnonzero((self._index < 0) | (self._index >= counts[self._file]))
        if len(bad):
            info = self._infos[self._file[bad[0]]]
            raise InputError(
                f'{self._describe(bad[0])}: {info.path} holds only {info.count} images '
                f'(particles that point outside their stack: {len(bad)})'
            )
        self.box = nx

    @property
    def header_pixel_size(self) -> float:
        """Pixel size (A) that the header of the first image's stack says; 0 when it says none."""
        return self._infos[self._file[0]].pixel_size

    def __len__(self) -> int:
        return len(self._index)

    def read(self, rows: ArrayLike) -> Images:
        """float32 [len(rows), box, box], any rows in any order. InputError names a particle whose image cannot be used
        (`usable`)."""
        out = self.raw(rows)
        usable = self.usable(out)
        if not usable.all():
            row = np.asarray(rows)[np.flatnonzero(~usable)[0]]
            raise InputError(
                f'{self._describe(row)}: the image holds values that are NaN, infinite or beyond {LARGEST_VALUE:g} '
                f'({np.count_nonzero(~usable)} such images in this batch); leave it out, or give --bad-images skip'
            )
        return out

    @staticmethod
    def usable(images: Images) -> Flags:
        """bool [n]: which images hold numbers whose squares and sums are numbers, too."""
        # Comparisons with NaN are false.
        return (images.min(axis=(1, 2)) >= -LARGEST_VALUE) & (images.max(axis=(1, 2)) <= LARGEST_VALUE)

    @property
    def files(self) -> list[Path]:
        """Paths of the stacks."""
        return [info.path for info in self._infos]

    def raw(self, rows: ArrayLike) -> Images:
        """float32 [len(rows), box, box], any rows in any order, as they are on the disk."""
        rows = np.asarray(rows, dtype=np.int64)
        out = np.empty((len(rows), self.box, self.box), np.float32)
        order = np.lexsort((self._index[rows], self._file[rows]))
        files, index = self._file[rows[order]], self._index[rows[order]]
        # A run of neighbours in one file is one read: single images are ten times slower than the disk.
        cuts = np.flatnonzero((np.diff(files) != 0) | (np.diff(index) != 1)) + 1
        for run in np.split(np.arange(len(rows)), cuts):
            if len(run):
                out[order[run]] = self._read_run(files[run[0]], index[run[0]], len(run))
        return out

    def _read_run(self, file: int, start: int, count: int) -> np.ndarray:
        info = self._infos[file]
        size = count * self.box**2 * info.dtype.itemsize
        buffer = np.empty(count * self.box**2, info.dtype)
        view, position = (
            buffer.data.cast('B'),
            info.offset + int(start) * self.box**2 * info.dtype.itemsize,
        )
        done = 0
        while done < size:
            got = os.preadv(self._handle(file), [view[done:]], position + done)
            if got == 0:
                raise InputError(f'{info.path}: the file became shorter while it was read')
            done += got
        return buffer.reshape(count, self.box, self.box)

    def _handle(self, file: int) -> int:
        if file in self._handles:
            self._handles.move_to_end(file)
        else:
            if len(self._handles) >= OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
            self._handles[file] = os.open(self._infos[file].path, os.O_RDONLY)
        return self._handles[file]

    def __del__(self) -> None:
        for handle in getattr(self, '_handles', {}).values():
            with contextlib.suppress(OSError):
                os.close(handle)
