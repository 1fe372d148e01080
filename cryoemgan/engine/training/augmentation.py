"""Moves of a pair that leave its meaning unchanged: quarter turns, mirrors and whole-pixel shifts.

All act about the pixel N//2, the origin of projections. Array flips turn about (N-1)/2, for even N half a pixel
off: a reversed axis of even length must be rolled by one pixel (the pixel at -N/2, whose mirror image lies outside
the box, then stays in place: the image is periodic for the transforms that made it).
"""

import numpy as np
import torch


def reverse(images, dim):
    """images mirrored along ``dim`` about index N//2."""
    flipped = images.flip(dim)
    return flipped if images.shape[dim] % 2 else flipped.roll(1, dim)


def turn(images, code):
    """images [..., N, N] in one of the 8 quarter turns and mirrors (code 0..7; 0 = unchanged).

    Bit 0 mirrors x, bit 1 mirrors y, bit 2 then exchanges x and y.
    """
    if code & 1:
        images = reverse(images, -1)
    if code & 2:
        images = reverse(images, -2)
    return images.transpose(-1, -2) if code & 4 else images


def with_channel(images):
    """Tensor [n, C, N, N] of an array [n, N, N] (C = 1) or [n, C, N, N] (guided pairs)."""
    images = torch.from_numpy(np.ascontiguousarray(images))
    return images[:, None] if images.ndim == 3 else images


def draw(rng, count, turns, shift):
    """Random moves for ``count`` images: int64 [count, 3] of (code, dy, dx)."""
    codes = rng.integers(0, 8 if turns else 1, (count, 1))
    return torch.as_tensor(np.concatenate([codes, rng.integers(-shift, shift + 1, (count, 2))], axis=1))


def move(images, moves):
    """images [B, 1, N, N] after ``moves`` [B, 3]; a pair given the same moves stays registered."""
    moved = torch.empty_like(images)
    for code, dy, dx in {tuple(m) for m in moves.tolist()}:
        chosen = (moves == torch.tensor([code, dy, dx])).all(dim=1).to(images.device)
        moved[chosen] = turn(images[chosen], code).roll((dy, dx), (-2, -1))
    return moved


def augment(noisy, clean, rng, *, turns, shift, exchange=0.0, pure=None):
    """A batch of pairs [B, 1, N, N], moved; a part ``exchange`` of it with the noise of other particles.

    rng: numpy Generator. pure: the particles without their noise. Exchanged noise is what another particle of the
    batch has beyond that; it is turned on its own.
    """
    if exchange:
        noisy = _exchange(noisy, pure, rng, turns, exchange)
    moves = draw(rng, len(noisy), turns, shift)
    return move(noisy, moves), move(clean, moves)


def _exchange(noisy, pure, rng, turns, part):
    noise = move(noisy - pure, draw(rng, len(noisy), turns, 0)).roll(1, 0)
    chosen = torch.as_tensor(rng.random(len(noisy)) < part, device=noisy.device)
    return torch.where(chosen[:, None, None, None], pure + noise, noisy)
