"""Files of weights are what the card says, and nothing that could be executed, before they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import safe_open

from ..errors import InputError
from ..files import file_digest
from ..shapes import Tensor
from .card import CARD

# {name: (shape, type)} of the tensors of a file.
Shapes: TypeAlias = dict[str, tuple[tuple[int, ...], str]]

# What a safetensors file may need beside its numbers.
HEADER_ROOM = 2**20


def checked_file(path: Path, digest: str, size: int) -> Path:
    """The path; InputError unless the file is there, no pickle, no larger than ``size`` allows, and the card's."""
    if not path.is_file():
        raise InputError(f'{path}: missing; copy the whole model folder again')
    if path.stat().st_size > size + HEADER_ROOM:
        raise InputError(f'{path}: {path.stat().st_size} bytes, the network of the card has only {size}')
    with path.open('rb') as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header (any bytes), and the header with a brace.
    if start[8:] != b'{' and (start[:2] == b'PK' or start[:1] == b'\x80'):
        raise InputError(f'{path}: this is a pickle, which can execute code; only safetensors files are read')
    if file_digest(path) != digest:
        raise InputError(f'{path}: damaged or exchanged (its sha256 is not that in {CARD}); copy the model again')
    return path


def shapes(file: safe_open) -> Shapes:
    """{name: (shape, type)} of the tensors of an open file, without reading them."""
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
    return {key: (tuple(s.get_shape()), s.get_dtype()) for key, s in slices.items()}


def compare_shapes(path: Path, expected: Mapping[str, Tensor], found: Shapes) -> None:
    """InputError unless the tensors of a file are those that are expected, in shape and type."""
    names = {torch.float32: 'F32', torch.int64: 'I64'}
    wanted = {k: (tuple(v.shape), names[v.dtype]) for k, v in expected.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise InputError(
                f'{path}: {key} is {found.get(key, "missing")}, the network of the card needs '
                f'{wanted.get(key, "no such entry")}; card and weights do not belong together'
            )
