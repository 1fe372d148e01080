"""Where the centre of a map is, if not where it should be: the one displacement that all particles agree on."""

from __future__ import annotations

import numpy as np
import torch

from ..imaging.rings import ring_index
from ..shapes import Floats, Matrices, Tensor
from .likelihood import Likelihood

# Parts of the box: farthest displacement, and finest detail that is compared.
FARTHEST, FINEST = 0.25, 0.25
STEPS = 8
# px; smaller ones are not worth a word, and halves of the set must agree to this.
LEAST, AGREE = 0.75, 2.0
FINER = 2


def displacement(like: Likelihood, templates: Tensor, matrices: Matrices) -> Floats | None:
    """Displacement (x, y, z) in px of the map's content for each particle, float64 [n, 3], found on the other half of
    them; None when it is next to nothing, or halves disagree.

    templates : complex64 [n, N, N // 2 + 1], with shifts and CTF.
    """
    folds = np.arange(len(like)) % 2
    scores = _correlation(like, templates)
    found = [_search(scores[folds == k], np.asarray(matrices)[folds == k, :2]) for k in (0, 1)]
    if np.linalg.norm(found[0] - found[1]) > AGREE or min(np.linalg.norm(f) for f in found) < LEAST:
        return None
    return np.array(found)[1 - folds]


def _correlation(like: Likelihood, templates: Tensor) -> Tensor:
    """Cross-correlation float32 [n, 2N, 2N] of particles with templates, every ring of the coarse detail alike."""
    box = templates.shape[1]
    ring = torch.from_numpy(ring_index(box)).to(templates.device)
    product = like.spectra * templates.conj()
    mean = product.abs().mean(0)
    total = torch.zeros(int(ring.max()) + 1, device=ring.device).index_add(0, ring.flatten(), mean.flatten())
    weight = (ring.flatten().bincount() / total.clamp(min=1e-30))[ring] * ((ring > 0) & (ring <= FINEST * box))
    found = torch.fft.irfft2(_padded(product * weight), s=(FINER * box, FINER * box))
    return found


def _padded(spectra: Tensor) -> Tensor:
    """Spectra on a grid of twice the box; beyond the old one there is nothing."""
    box = spectra.shape[1]
    out = spectra.new_zeros(len(spectra), FINER * box, FINER * box // 2 + 1)
    half = box // 2
    out[:, :half, :half] = spectra[:, :half, :half]
    out[:, -half:, :half] = spectra[:, -half:, :half]
    return out


def _search(scores: Tensor, rows: Floats) -> Floats:
    """The displacement [3] of the largest mean score. scores: [n, M, M]; rows: [n, 2, 3], of the matrices."""
    size = scores.shape[1]
    flat = scores.flatten(1).cpu().numpy()
    reach, centre = FARTHEST * size / FINER, np.zeros(3)
    step = reach / STEPS
    line = step * np.arange(-STEPS, STEPS + 1)
    while True:
        grid = centre + np.stack(np.meshgrid(line, line, line, indexing='ij'), -1).reshape(-1, 3)
        grid = grid[np.linalg.norm(grid, axis=1) <= reach + step]
        total = np.zeros(len(grid))
        for row, score in zip(rows, flat):
            x, y = np.rint(FINER * (row @ grid.T)).astype(np.int64) % size
            total += score[y * size + x]
        centre = grid[total.argmax()]
        if step <= 0.5:
            return centre
        step /= 2
        line = step * np.arange(-2, 3)
