"""K-SVD: a dictionary of patches learned from the noisy set (Aharon, Elad, Bruckstein, IEEE TSP 54 (2006) 4311).

Two steps in turn: sparse codes of all patches by orthogonal matching pursuit, then each atom and its coefficients
together from the largest singular pair of what the other atoms leave over. Denoising as in Elad and Aharon, IEEE TIP 15
(2006) 3736.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.linalg import eigh
from sklearn.linear_model import orthogonal_mp_gram

from ..shapes import Floats, Images
from .base import Batch, Method

TRAINING_PATCHES = 20000


class Denoiser(Method):
    """Patches as sums of few learned atoms.

    patch: side, px. atoms: size of the dictionary. rounds: of learning. tolerance: a patch is coded until what is left
    has this many times the noise's s.d. Patches of the whole image overlap fully and are averaged.
    """

    learns = True
    learnt = ('dictionary',)

    def __init__(
        self, box: int, patch: int = 12, atoms: int = 256, rounds: int = 10, tolerance: float = 1.05, seed: int = 0
    ) -> None:
        super().__init__(box)
        self.patch, self.atoms, self.rounds, self.tolerance = patch, atoms, rounds, tolerance
        self._rng = np.random.default_rng(seed)
        self.dictionary: np.ndarray = np.zeros((patch**2, 0))

    def fit(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Learn from a random sample of patches of all images, in bounded memory."""
        images = sum(len(b.images) for b in batches())
        if not images:
            raise ValueError('no images to learn from')
        each = max(1, round(TRAINING_PATCHES / images))
        drawn: list[np.ndarray] = []
        levels: list[np.ndarray] = []
        for batch in batches():
            if len(drawn) * each >= TRAINING_PATCHES:
                break
            for image, sd in zip(batch.images, batch.noise_sd):
                found, _ = self._patches(image)
                drawn.append(found[self._rng.choice(len(found), min(each, len(found)), replace=False)])
                levels.append(np.full(len(drawn[-1]), sd))
        patches, noise = np.concatenate(drawn), np.concatenate(levels)
        budget = self.patch**2 * (self.tolerance * noise) ** 2
        start = _cosines(self.patch, self.atoms)
        self.dictionary = learn(patches, start, self.rounds, lambda p, d: codes(p, d, budget), self._rng)

    def denoise(self, batch: Batch) -> Images:
        return np.stack([self._one(i, s) for i, s in zip(batch.images, batch.noise_sd)])

    def _one(self, image: np.ndarray, sd: float) -> np.ndarray:
        patches, means = self._patches(image)
        budget = np.full(len(patches), self.patch**2 * (self.tolerance * sd) ** 2)
        estimate = codes(patches, self.dictionary, budget).T @ self.dictionary.T + means[:, None]
        total, count = np.zeros((2, self.box, self.box))
        side = self.box - self.patch + 1
        estimate = estimate.reshape(side, side, self.patch, self.patch)
        for y in range(self.patch):
            for x in range(self.patch):
                total[y : y + side, x : x + side] += estimate[:, :, y, x]
                count[y : y + side, x : x + side] += 1
        return (total / count).astype(np.float32)

    def _patches(self, image: np.ndarray) -> tuple[Floats, Floats]:
        """All patches without their means, float64 [positions, patch^2], and the means."""
        view = np.lib.stride_tricks.sliding_window_view(image, (self.patch, self.patch))
        flat = view.reshape(-1, self.patch**2).astype(np.float64)
        means = flat.mean(axis=1)
        return flat - means[:, None], means


def learn(
    signals: Floats, dictionary: Floats, rounds: int, code: Callable[[Floats, Floats], Floats], rng: np.random.Generator
) -> Floats:
    """The dictionary [length, atoms] (unit columns) after ``rounds`` of K-SVD.

    signals: [n, length]. code: (signals, dictionary) -> codes [atoms, n]. Atoms nobody uses are replaced by the signal
    that is represented worst.
    """
    dictionary = dictionary / np.linalg.norm(dictionary, axis=0)
    for _ in range(rounds):
        gamma = code(signals, dictionary)
        residual = signals.T - dictionary @ gamma
        for atom in rng.permutation(dictionary.shape[1]):
            _update(atom, dictionary, gamma, residual, signals)
    return dictionary


def _update(atom: int, dictionary: Floats, gamma: Floats, residual: Floats, signals: Floats) -> None:
    """Replace an atom and its coefficients by the best rank-one fit; dictionary, gamma and residual change in place."""
    users = np.flatnonzero(gamma[atom])
    if len(users) < 2:
        worst = np.argmax((residual**2).sum(0))
        norm = np.linalg.norm(signals[worst])
        if norm > 0:
            residual[:, users] += np.outer(dictionary[:, atom], gamma[atom, users])
            gamma[atom] = 0
            dictionary[:, atom] = signals[worst] / norm
            # The same signal must not become two atoms.
            residual[:, worst] = 0
        return
    alone = residual[:, users] + np.outer(dictionary[:, atom], gamma[atom, users])
    # The first singular pair, from the small side of the matrix.
    left = eigh(alone @ alone.T, subset_by_index=[len(alone) - 1] * 2)[1][:, 0]
    dictionary[:, atom] = left
    gamma[atom, users] = left @ alone
    residual[:, users] = alone - np.outer(dictionary[:, atom], gamma[atom, users])


def codes(signals: Floats, dictionary: Floats, budget: Floats) -> Floats:
    """Sparse codes [atoms, n] by orthogonal matching pursuit until the squared residual is at most ``budget`` [n]."""
    norms = (signals**2).sum(1)
    gamma = np.zeros((dictionary.shape[1], len(signals)))
    # Most patches hold background and need no atom; scikit-learn takes one tolerance at a time, so scale to it.
    rows = np.flatnonzero(norms > budget)
    if len(rows):
        scale = 1 / np.sqrt(np.maximum(budget[rows], 1e-30))
        scaled = signals[rows] * scale[:, None]
        found = orthogonal_mp_gram(
            dictionary.T @ dictionary, dictionary.T @ scaled.T, tol=1.0, norms_squared=norms[rows] * scale**2
        )
        gamma[:, rows] = found.reshape(dictionary.shape[1], -1) / scale
    return gamma


def _cosines(patch: int, atoms: int) -> Floats:
    """Overcomplete cosine dictionary without the constant, [patch^2, about atoms]: the start of learning."""
    count = int(np.ceil(np.sqrt(atoms)))
    waves = np.cos(np.pi * (np.arange(patch)[:, None] + 0.5) * np.arange(count) / count)
    waves[:, 1:] -= waves[:, 1:].mean(axis=0)
    both = np.kron(waves / np.linalg.norm(waves, axis=0), waves / np.linalg.norm(waves, axis=0))
    return both[:, 1:]
