"""Random images as pure functions of (seed, purpose, number of the draw, row), on any device.

Numbers come from a hash of the row's key and the pixel, so that a row is the same whichever others are drawn with it,
by whichever process: a library's generator gives numbers in the order in which they are asked for. (torch has a
generator without state since 2.13, private and not on processors.) The bits are the same on every device; normal
numbers agree to rounding.

The hash is two rounds of lowbias32 (C. Wellons, "Prospecting for hash functions", 2018, with constants by
T. Ettersperger), each with a key of 32 bits of its own. It is meant for noise in images, not for secrets.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from .devices import to_device
from .random_streams import generator
from .shapes import Rows, Tensor

# As signed numbers: tensors of unsigned ones know no arithmetic. Products wrap around.
FIRST, SECOND = 0x21F0AAAD, 0xD35A2D97 - 2**32
# 24 bits are all that a float32 between 0 and 1 has.
BITS = 24


class RandomRows:
    """Random numbers of some rows of a draw; what is asked for later is independent of what was asked for before.

    Parameters
    ----------
    seed, purpose, number
        As for `random_streams.generator`.
    rows : Rows
        [n], any numbers from 0 to 2^32.
    device : torch.device
        Where the numbers are wanted.
    """

    def __init__(self, seed: int, purpose: str, number: int, rows: Rows, device: torch.device) -> None:
        words = generator(seed, purpose, number).integers(2**32, size=4, dtype=np.uint32)
        row = np.asarray(rows).astype(np.uint32)
        keys = np.stack([_hashed(_hashed(row ^ words[k]) + words[k + 2]) for k in (0, 1)], axis=1)
        self._keys = to_device(keys.view(np.int32), device)
        self._drawn = 0

    def uniform(self, *shape: int) -> Tensor:
        """float32 ``[n, *shape]``, uniform in [0, 1)."""
        return self._bits(*shape).float().mul_(2.0**-BITS)

    def normal(self, *shape: int) -> Tensor:
        """float32 ``[n, *shape]``, Gaussian of mean 0 and variance 1 (Box and Muller 1958)."""
        count = math.prod(shape)
        half = (count + 1) // 2
        bits = self._bits(2 * half).float()
        radius = bits[:, :half].add_(0.5).mul_(2.0**-BITS).log_().mul_(-2).sqrt_()
        angle = bits[:, half:].mul_(2 * math.pi * 2.0**-BITS)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return pairs[:, :count].reshape(-1, *shape)

    def _bits(self, *shape: int) -> Tensor:
        """int32 [n, *shape] of BITS random bits."""
        start, self._drawn = self._drawn, self._drawn + math.prod(shape)
        pixel = torch.arange(start, self._drawn, dtype=torch.int32, device=self._keys.device)
        first, second = self._keys.split(1, 1)
        bits = _hashed_in_place(_hashed_in_place(pixel ^ first).add_(second))
        return (bits >> (32 - BITS)).bitwise_and_(2**BITS - 1).view(-1, *shape)


def _hashed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(FIRST)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(SECOND % 2**32)
    return x ^ (x >> np.uint32(15))


def _hashed_in_place(x: Tensor) -> Tensor:
    # A shift of signed numbers drags the sign along: the mask takes it away.
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= FIRST
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= SECOND
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    return x
