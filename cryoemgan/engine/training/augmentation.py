"""Moves of a pair that leave its meaning unchanged: quarter turns, mirrors and whole-pixel shifts.

All act about the pixel N//2, the origin of projections. What is random is drawn on the host, what is done to images is
done where they lie.
"""

from __future__ import annotations

import numpy as np
import torch

from ..shapes import Rows, Tensor


def draw_moves(rng: np.random.Generator, count: int, turns: bool, shift: int) -> Rows:
    """Random moves for ``count`` images: int64 [count, 3] of (code, dy, dx), as `move` takes them."""
    codes = rng.integers(0, 8 if turns else 1, (count, 1))
    return np.concatenate([codes, rng.integers(-shift, shift + 1, (count, 2))], axis=1)


def move(images: Tensor, moves: Tensor) -> Tensor:
    """Images in one of the 8 quarter turns and mirrors, and shifted around the edges of the box.

    A pair given the same moves stays registered.

    Parameters
    ----------
    images : Tensor
        [n, C, N, N].
    moves : Tensor
        int64 [n, 3], on their device: (code, dy, dx). Bit 0 of the code mirrors x, bit 1 mirrors y, bit 2 then
        exchanges x and y; the shift comes last, in px.
    """
    n, channels, box, _ = images.shape
    code, dy, dx = moves.unbind(1)
    swapped, mirrored = (code & 4 > 0), (code & 1 > 0, code & 2 > 0)
    images = torch.where(swapped[:, None, None, None], images.transpose(-1, -2), images)
    # In an image whose axes are exchanged, x is mirrored along the rows.
    rows = _sources(box, dy, torch.where(swapped, *mirrored))
    columns = _sources(box, dx, torch.where(swapped, *mirrored[::-1]))
    first = torch.arange(n * channels, device=images.device).view(n, channels, 1) * box
    lines = images.reshape(-1, box).index_select(0, (first + rows[:, None]).flatten())
    return lines.view(n, channels, box, box).gather(3, columns[:, None, None].expand(-1, channels, box, -1))


def _sources(box: int, shift: Tensor, mirrored: Tensor) -> Tensor:
    """int64 [n, box]: from which index each index of an axis takes its value."""
    index = (torch.arange(box, device=shift.device) - shift[:, None]) % box
    # About N//2: for even N the first pixel stays in place, its mirror image lies outside (imaging/flips.py).
    return torch.where(mirrored[:, None], (2 * (box // 2) - index) % box, index)


def exchange_noise(noisy: Tensor, pure: Tensor, partner: Tensor, chosen: Tensor, moves: Tensor) -> Tensor:
    """Particles [n, 1, N, N], some of them with the noise of other particles.

    Parameters
    ----------
    noisy, pure : Tensor
        The particles, and the same without their noise.
    partner : Tensor
        int64 [n]: whose noise each would get.
    chosen : Tensor
        bool [n]: which of them get it.
    moves : Tensor
        int64 [n, 3]: how the noise that each gets is moved.
    """
    noise = move((noisy - pure).index_select(0, partner), moves)
    return torch.where(chosen[:, None, None, None], pure + noise, noisy)
