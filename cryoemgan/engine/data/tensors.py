"""Tensors on disk: safetensors, which holds numbers and nothing that could be executed."""

import errno

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError


def write_tensors(tensors, path):
    """Write {name: tensor} to a file. OSError when it cannot be written (a full disk)."""
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    except SafetensorError as e:
        # The library tells a full disk, or a folder without permission, in a sentence of its own.
        raise OSError(errno.EIO, str(e), str(path)) from e


def open_tensors(path):
    """The open file, for ``with``. InputError when it is not a safetensors file."""
    try:
        return safe_open(path, framework='pt')
    except SafetensorError as e:
        raise InputError(f'{path}: not a readable safetensors file ({e})') from e
