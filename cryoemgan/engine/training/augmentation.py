"""Moves of a pair that leave its meaning unchanged: quarter turns, mirrors and whole-pixel shifts.

All act about the pixel N//2, the origin of projections. What is random is drawn on the host, what is done to images is
done where they lie.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from ..shapes import Rows, Tensor

# The bit of a code of moves that exchanges x and y.
EXCHANGED = 4


def draw_moves(rng: np.random.Generator, count: int, turns: bool, shift: int) -> Rows:
    """Random moves for ``count`` images: int64 [count, 3] of (code, dy, dx), as `move` takes them."""
    codes = rng.integers(0, 8 if turns else 1, (count, 1))
    return np.concatenate([codes, rng.integers(-shift, shift + 1, (count, 2))], axis=1)


def move(images: Tensor, moves: Tensor) -> Tensor:
    """Images in one of the 8 quarter turns and mirrors, and shifted around the edges of the box.

    Parameters
    ----------
    images : Tensor
        [n, C, N, N].
    moves : Tensor
        int64 [n, 3], on their device: (code, dy, dx). Bit 0 of the code mirrors x, bit 1 mirrors y, bit 2 then
        exchanges x and y; the shift comes last, in px.
    """
    return take(images, sources(moves, images.shape[-1]))


def sources(moves: Tensor, box: int) -> Tensor:
    """int64 [n, box * box]: from which pixel each pixel takes its value, for moves as `move` takes them.

    A pair that takes from the same pixels stays registered.
    """
    which, steps = _tables(box, moves.device)
    line = which.index_select(0, moves[:, 0]) + moves[:, 1:] % box
    rows, columns = steps.index_select(0, line.flatten()).view(-1, 2, box).unbind(1)
    return (rows[:, :, None] + columns[:, None]).flatten(1)


def take(images: Tensor, pixels: Tensor) -> Tensor:
    """Images [n, C, N, N], their pixels taken from `sources`."""
    channels = images.shape[1]
    return images.flatten(2).gather(2, pixels[:, None].expand(-1, channels, -1)).view(images.shape)


@functools.lru_cache(maxsize=8)
def _tables(box: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What `sources` of all moves are made of.

    First: int64 [8, 2], for each code, where in the second those of rows and of columns begin, by shifts. Second: int64
    [4 box, box], from which place in an image each index of an axis takes its value: along the columns or the rows of
    the image, mirrored or not, for each shift.
    """
    index = (torch.arange(box) - torch.arange(box)[:, None]) % box
    # About N//2: for even N the first pixel stays in place, its mirror image lies outside (imaging/flips.py).
    along = torch.cat([index, (2 * (box // 2) - index) % box])
    # In an image whose axes are exchanged, rows follow x.
    first = [
        [box * (2 + (code >> 1 & 1)), box * (code & 1)]
        if code < EXCHANGED
        else [box * (code & 1), box * (2 + (code >> 1 & 1))]
        for code in range(2 * EXCHANGED)
    ]
    return torch.tensor(first, device=device), torch.cat([along, box * along]).to(device)


def exchange_noise(
    noisy: Tensor, pure: Tensor, noise: Tensor, partner: Tensor, chosen: Tensor, moves: Tensor
) -> Tensor:
    """Particles [n, 1, N, N], some of them with the noise of other particles.

    Parameters
    ----------
    noisy, pure, noise : Tensor
        The particles, the same without their noise, and their noise.
    partner : Tensor
        int64 [n]: whose noise each would get.
    chosen : Tensor
        bool [n]: which of them get it.
    moves : Tensor
        int64 [n, 3]: how the noise that each gets is moved.
    """
    theirs = move(noise.index_select(0, partner), moves)
    return torch.where(chosen[:, None, None, None], pure + theirs, noisy)
