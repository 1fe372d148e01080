"""Tensors on disk: safetensors, which holds numbers and nothing that could be executed."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..shapes import AnyPath, Tensor


def write_tensors(tensors: Mapping[str, Tensor], path: AnyPath) -> None:
    """Write {name: tensor} to a file. OSError when it cannot be written (a full disk)."""
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    except SafetensorError as e:
        # The library tells a full disk, or a folder without permission, in a sentence of its own.
        raise OSError(errno.EIO, str(e), str(path)) from e


def open_tensors(path: AnyPath) -> safe_open:
    """The open file, for ``with``. InputError when it is not a safetensors file."""
    try:
        return safe_open(path, framework='pt')
    except SafetensorError as e:
        raise InputError(f'{path}: not a readable safetensors file ({e})') from e
