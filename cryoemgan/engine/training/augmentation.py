"""Moves of a pair that leave its meaning unchanged: quarter turns, mirrors and whole-pixel shifts.

All act about the pixel N//2, the origin of projections (imaging/flips.py).
"""

from __future__ import annotations

import numpy as np
import torch

from ..imaging.flips import flipped
from ..shapes import Tensor


def turn(images: Tensor, code: int) -> Tensor:
    """images [..., N, N] in one of the 8 quarter turns and mirrors (code 0..7; 0 = unchanged).

    Bit 0 mirrors x, bit 1 mirrors y, bit 2 then exchanges x and y.
    """
    if code & 1:
        images = flipped(images, -1)
    if code & 2:
        images = flipped(images, -2)
    return images.transpose(-1, -2) if code & 4 else images


def draw_moves(rng: np.random.Generator, count: int, turns: bool, shift: int) -> Tensor:
    """Random moves for ``count`` images: int64 [count, 3] of (code, dy, dx)."""
    codes = rng.integers(0, 8 if turns else 1, (count, 1))
    return torch.as_tensor(np.concatenate([codes, rng.integers(-shift, shift + 1, (count, 2))], axis=1))


def move(images: Tensor, moves: Tensor) -> Tensor:
    """images [B, C, N, N] after ``moves`` [B, 3]; a pair given the same moves stays registered."""
    moved = torch.empty_like(images)
    for code, dy, dx in {tuple(m) for m in moves.tolist()}:
        chosen = (moves == torch.tensor([code, dy, dx])).all(dim=1).to(images.device)
        moved[chosen] = turn(images[chosen], code).roll((dy, dx), (-2, -1))
    return moved


def exchange_noise(noisy: Tensor, pure: Tensor, part: float, rng: np.random.Generator, turns: bool) -> Tensor:
    """Particles [B, 1, N, N], a random ``part`` of them with the noise of other particles of the batch.

    pure: the particles without their noise. The noise that is exchanged is turned on its own.
    """
    noise = move(noisy - pure, draw_moves(rng, len(noisy), turns, 0)).roll(1, 0)
    chosen = torch.as_tensor(rng.random(len(noisy)) < part, device=noisy.device)
    return torch.where(chosen[:, None, None, None], pure + noise, noisy)
