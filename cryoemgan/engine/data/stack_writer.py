"""Image stacks written chunk by chunk: finite, and complete or not there; where asked, taken up again after a kill."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from ..errors import WorkError
from ..files import flush_to_disk
from ..shapes import AnyPath, Floats, Images
from .journal import Journal

if TYPE_CHECKING:
    from typing_extensions import Self

# A kill loses at most the work of this long.
FLUSH_SECONDS = 10.0


def _image(row: int) -> str:
    return f'image {row + 1}'


class StackWriter:
    """Write an MRC stack (float32) chunk by chunk; it appears under its name only when all images are in.

    Use as a context manager. The disk is asked for the space before the first byte is written (OSError).

    Parameters
    ----------
    path : path
        Target (.mrcs).
    count : int
        Number of images.
    box : int
        px.
    pixel_size : float
        A.
    describe : callable
        Row -> name of the particle, for messages.

    Attributes
    ----------
    written : int
        Number of images that are in.
    """

    def __init__(
        self, path: AnyPath, count: int, box: int, pixel_size: float, describe: Callable[[int], str] = _image
    ) -> None:
        self.path, self.count, self.box, self.pixel_size = Path(path), count, box, pixel_size
        self.partial = self.path.with_name(self.path.name + '.partial')
        self.written, self._describe = 0, describe
        # Lowest and highest value, sum, and sum of squares of all pixels so far.
        self._statistics: tuple[float, ...] = (np.inf, -np.inf, 0.0, 0.0)

    def __enter__(self) -> Self:
        size = 4 * self.count * self.box**2
        free = shutil.disk_usage(self.path.parent).free
        if free < size:
            raise OSError(
                errno.ENOSPC,
                f'the disk has {free / 1e9:.1f} GB free, this stack needs {size / 1e9:.1f} GB',
                str(self.path),
            )
        self.partial.unlink(missing_ok=True)
        # mrcfile writes the header (and a sparse file of the final size); chunks then go in by plain writes.
        with mrcfile.new_mmap(self.partial, shape=(self.count, self.box, self.box), mrc_mode=2, overwrite=True) as mrc:
            mrc.set_image_stack()
            mrc.voxel_size = self.pixel_size
        self._open()
        return self

    def _open(self) -> None:
        self._file = self.partial.open('r+b')
        self._file.seek(HEADER_DTYPE.itemsize + 4 * self.box**2 * self.written)

    def append(self, images: Images) -> None:
        """Add images [n, box, box]; ValueError for another box or more than promised, WorkError naming the particle
        whose image is not finite."""
        images = np.ascontiguousarray(images, dtype='<f4')
        if images.shape[1:] != (self.box, self.box) or self.written + len(images) > self.count:
            raise ValueError(
                f'{images.shape} does not fit a stack of {self.count} x {self.box} px after {self.written}'
            )
        low, high = float(images.min()), float(images.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            self._refuse(images)
        self._file.write(images.data.cast('B'))
        self.written += len(images)
        flat, known = images.reshape(-1), self._statistics
        self._statistics = (
            min(known[0], low),
            max(known[1], high),
            known[2] + float(flat.sum(dtype=np.float64)),
            known[3] + float(np.einsum('i,i->', flat, flat, dtype=np.float64)),
        )

    def _refuse(self, images: Images) -> None:
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
        raise WorkError(
            f'{self._describe(self.written + int(bad[0]))}: its result is not a number everywhere '
            f'({len(bad)} such results in this batch); nothing is written as complete. Check what its row says (CTF, '
            'shifts, pixel size) and its image, or leave it out'
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.written == self.count:
            self._complete()
            return
        self._give_up()
        if kind is None:
            raise ValueError(f'{self.path}: {self.written} of {self.count} images were written')

    def _complete(self) -> None:
        self._file.close()
        self._write_header()
        flush_to_disk(self.partial)
        os.replace(self.partial, self.path)
        flush_to_disk(self.path.parent)

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self.partial.unlink(missing_ok=True)

    def _write_header(self) -> None:
        low, high, total, square = self._statistics
        n = self.count * self.box**2
        mean = total / n
        header = np.memmap(self.partial, HEADER_DTYPE, 'r+', shape=())
        header['dmin'], header['dmax'], header['dmean'] = low, high, mean
        header['rms'] = max(square / n - mean**2, 0.0) ** 0.5
        header['nz'] = self.count
        header.flush()


class ResumableStack(StackWriter):
    """A stack that goes on where a killed run was: a journal beside it says what is in, and what was found of each
    image. The journal is of no use once the run has its summary; `Job.finish` removes it.

    Parameters
    ----------
    path, count, box, pixel_size, describe
        As of `StackWriter`.
    columns : int
        How many numbers are found of each image.
    left_out : int
        How many particles of the table are not among them: an interrupted run that left out others is no beginning of
        this one.
    resume : bool
        Whether to take up what an interrupted run left.

    Attributes
    ----------
    values : Floats
        float64 [count, columns], what was found; known for the first ``written`` images.
    """

    def __init__(
        self,
        path: AnyPath,
        count: int,
        box: int,
        pixel_size: float,
        describe: Callable[[int], str] = _image,
        *,
        columns: int = 0,
        left_out: int = 0,
        resume: bool = False,
    ) -> None:
        super().__init__(path, count, box, pixel_size, describe)
        self.values: Floats = np.empty((count, columns))
        self._journal = Journal(self.path, {'box': box, 'pixel_size': pixel_size, 'columns': columns})
        self._left_out, self._resume = left_out, resume
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        if self._resume and self._taken_up():
            return self
        super().__enter__()
        self._journal.start(self._left_out, os.pread(self._file.fileno(), HEADER_DTYPE.itemsize, 0))
        return self

    def _taken_up(self) -> bool:
        """Go on with the images that an interrupted run left whole; False when there are none."""
        if not self.partial.exists() and self.path.exists():
            # Killed between the stack and the table.
            os.replace(self.path, self.partial)
        found = self._journal.read(self.partial, self.count, self._left_out)
        if found is None:
            return False
        self.written, self._statistics, known, header = found
        self.values[: self.written] = known
        os.truncate(self.partial, len(header) + 4 * self.count * self.box**2)
        self._open()
        os.pwrite(self._file.fileno(), header, 0)
        return True

    def append(self, images: Images, values: Floats | None = None) -> None:
        """Add images [n, box, box] and what was found of them, [n, columns]."""
        start = self.written
        super().append(images)
        if values is not None:
            self.values[start : self.written] = values
        self._journal.note(np.ascontiguousarray(images, '<f4'))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        """From here on the images so far survive a kill."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._journal.add(self.written, self._statistics, self.values)
        self._flushed = time.monotonic()

    def _complete(self) -> None:
        self._flush()
        super()._complete()

    def _give_up(self) -> None:
        # A full disk keeps what was flushed before.
        with contextlib.suppress(OSError):
            self._flush()
        with contextlib.suppress(OSError):
            self._file.close()
