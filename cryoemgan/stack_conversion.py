"""Stacks of other formats (Spider, IMAGIC, HDF5, TIFF), written as MRC for the engine by pwem's ImageHandler."""

import os
from pathlib import Path

from pwem.emlib.image import ImageHandler
from pyworkflow.utils import cleanPath

from .engine.data.image_names import without_format
from .engine.data.mrc_header import read_header
from .engine.errors import InputError

FOLDER = 'converted'


def is_readable(path):
    """Whether the engine reads a stack as it is; also when it is not there, which the engine says better."""
    path = Path(path if os.path.exists(path) else without_format(path))
    if not path.is_file():
        return True
    try:
        read_header(path)
    except InputError:
        return False
    return True


def as_mrc(path, folder):
    """Path of a stack that the engine reads: itself, or its images, in their order, in a stack in ``folder``/converted.

    A stack that was converted before and has not changed since is used again.
    """
    if is_readable(path):
        return path
    source = path if os.path.exists(path) else without_format(path)
    target = os.path.join(folder, FOLDER, os.path.abspath(source).strip('/').replace('/', '_') + '.mrcs')
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        partial = os.path.join(folder, FOLDER, 'partial.mrcs')
        cleanPath(partial)
        ImageHandler().convertStack(source, partial)
        os.replace(partial, target)
    return target
