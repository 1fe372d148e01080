"""The Bayes-optimal denoiser for known maps and known white noise: no method has a smaller expected squared error.

E[x | y] = sum_t w_t t / sum_t w_t, w_t = exp(-|y - t|^2 / (2 sigma^2)), over templates t of every conformation, view,
in-plane angle (and shift, where there is one) drawn from the prior. An oracle for benchmarks: it is told what no
denoiser may know. A finite bank approaches the limit from above, so the search is refined around the candidates of the
coarse bank until the answer stops changing.
"""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .projection import FourierProjector

# Weight beyond exp(-12) of the best is nothing.
NEGLIGIBLE = 12.0


class Limit:
    """Posterior mean over maps float [n, n, n], one a conformation, all equally likely, seen from everywhere.

    noise_sd: of the white noise. views: orientations of the coarse bank of each map. rank: principal components in
    which the bank is searched. kept: candidates refined. gain, offset: what the data set did to projections (global).
    """

    def __init__(self, volumes, noise_sd, views=4000, rank=96, kept=12, seed=0, gain=1.0, offset=0.0):
        self.projectors = [FourierProjector(v, interpolation='linear') for v in volumes]
        self.noise_sd, self.kept, self.gain, self.offset = noise_sd, kept, gain, offset
        self.box = self.projectors[0].box
        self._rng = np.random.default_rng(seed)
        self.rotations = Rotation.random(views * len(volumes), random_state=seed).as_matrix()
        self.state = np.arange(len(self.rotations)) % len(volumes)
        self._search(rank)

    def _draw(self, rotations, states):
        """Templates float32 [n, box^2]."""
        out = torch.empty(len(rotations), self.box**2)
        for s, projector in enumerate(self.projectors):
            for rows in np.array_split(np.flatnonzero(states == s), max(1, int((states == s).sum()) // 256)):
                if len(rows):
                    out[rows] = projector.project(rotations[rows]).flatten(1) * self.gain + self.offset
        return out

    def _search(self, rank):
        """Principal components of the coarse bank; the bank itself is kept in them only."""
        sample = self._rng.choice(len(self.rotations), min(3000, len(self.rotations)), replace=False)
        some = self._draw(self.rotations[sample], self.state[sample])
        self._mean = some.mean(0)
        rank = min(rank, *some.shape)
        self._axes = torch.svd_lowrank(some - self._mean, rank, niter=3)[2]
        parts = np.array_split(np.arange(len(self.rotations)), max(1, len(self.rotations) // 2000))
        self._bank = torch.cat(
            [(self._draw(self.rotations[p], self.state[p]) - self._mean) @ self._axes for p in parts]
        )
        self._norms = (self._bank**2).sum(1)

    def denoise(self, images, rounds=4, samples=150, start_degrees=12.0):
        """float32 [n, box, box]: posterior means of images [n, box, box], one by one.

        rounds: refinements; each draws ``samples`` orientations around those that carry weight, in all conformations,
        at an angle that halves from ``start_degrees``.
        """
        images = torch.as_tensor(images, dtype=torch.float32).flatten(1)
        result = [self._one(y, rounds, samples, start_degrees) for y in images]
        return torch.stack(result).view(-1, self.box, self.box).numpy()

    def _one(self, y, rounds, samples, degrees):
        score = self._bank @ ((y - self._mean) @ self._axes) - self._norms / 2
        best = score.topk(min(self.kept * len(self.projectors), len(score))).indices.numpy()
        rotations = self.rotations[best]
        for _ in range(rounds):
            rotations = np.concatenate([rotations, self._around(rotations[: self.kept], degrees, samples)])
            scores = self._scores(y, rotations)
            order = np.argsort(-scores.max(0))
            # The last, finest draw is a sample about the posterior; earlier ones only showed the way.
            rotations, degrees = rotations[order][: self.kept], degrees / 2
        return self._mean_of_posterior(y, rotations, degrees, samples)

    def _around(self, rotations, degrees, count):
        centre = rotations[self._rng.integers(len(rotations), size=count)]
        turn = Rotation.from_rotvec(np.deg2rad(degrees) * self._rng.normal(size=(count, 3))).as_matrix()
        return turn @ centre

    def _templates(self, rotations):
        states = len(self.projectors)
        every = np.repeat(np.arange(states), len(rotations))
        return self._draw(np.tile(rotations, (states, 1, 1)), every)

    def _scores(self, y, rotations):
        """log weight [states, n]."""
        t = self._templates(rotations)
        score = (t @ y - (t**2).sum(1) / 2) / self.noise_sd**2
        return score.view(len(self.projectors), -1).numpy()

    def _mean_of_posterior(self, y, rotations, degrees, samples):
        """Importance sampling: orientations from clouds about the candidates, weighed by what they undo."""
        scores = self._scores(y, rotations)
        candidates = rotations[scores.max(0) > scores.max() - NEGLIGIBLE]
        drawn = self._around(candidates, 2 * degrees, 2 * samples)
        t = self._templates(drawn)
        score = (t @ y - (t**2).sum(1) / 2) / self.noise_sd**2
        log_weight = score - torch.from_numpy(
            np.tile(_log_density(drawn, candidates, 2 * degrees), len(self.projectors))
        )
        weight = torch.softmax(log_weight.double(), 0).float()
        return weight @ t


def _log_density(drawn, centres, degrees):
    """log of the mixture of Gaussian clouds of rotations, up to a constant."""
    cosine = (np.einsum('nij,mij->nm', drawn, centres) - 1) / 2
    angle = np.arccos(np.clip(cosine, -1, 1)) / np.deg2rad(degrees)
    return np.logaddexp.reduce(-(angle**2) / 2, axis=1)
