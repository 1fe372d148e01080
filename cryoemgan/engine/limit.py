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


class Limit:
    """Posterior mean over maps float [n, n, n], one a conformation, all equally likely, seen from everywhere.

    noise_sd: of the white noise. views: orientations of the coarse bank of each map. rank: principal components in
    which the bank is searched. kept: candidates refined. What the data set did to projections: gain and offset of all,
    or ``unit``, each scaled to [0, 1]. ``effective``: of the last ``denoise``, the effective number of templates in
    the mean of each image (1 / sum of squared weights); near 1 the sum is a guess.
    """

    def __init__(self, volumes, noise_sd, views=8000, rank=96, kept=16, seed=0, gain=1.0, offset=0.0, unit=False):
        self.projectors = [FourierProjector(v, interpolation='linear') for v in volumes]
        self.noise_sd, self.kept, self.gain, self.offset, self.unit = noise_sd, kept, gain, offset, unit
        self.box = self.projectors[0].box
        self.effective = np.empty(0)
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
                    out[rows] = self._scaled(projector.project(rotations[rows]).flatten(1))
        return out

    def _scaled(self, templates):
        if not self.unit:
            return templates * self.gain + self.offset
        low, high = templates.amin(1, keepdim=True), templates.amax(1, keepdim=True)
        return (templates - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)

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

    def denoise(self, images, rounds=3, samples=120, start_degrees=8.0, draws=240):
        """float32 [n, box, box]: posterior means of images [n, box, box], one by one.

        rounds: refinements; each draws ``samples`` orientations around the best candidates, at an angle that halves
        from ``start_degrees``. draws: orientations in the mean, each in every conformation.
        """
        images = torch.as_tensor(images, dtype=torch.float32).flatten(1)
        found = [self._one(y, rounds, samples, start_degrees, draws) for y in images]
        self.effective = np.array([f[1] for f in found])
        return torch.stack([f[0] for f in found]).view(-1, self.box, self.box).numpy()

    def _one(self, y, rounds, samples, degrees, draws):
        score = self._bank @ ((y - self._mean) @ self._axes) - self._norms / 2
        best = score.topk(min(self.kept, len(score))).indices.numpy()
        rotations, states = self.rotations[best], self.state[best]
        for _ in range(rounds):
            centre = self._rng.integers(len(rotations), size=samples)
            # Half of the draws also try another conformation.
            other = self._rng.integers(len(self.projectors), size=samples)
            drawn = np.where(self._rng.random(samples) < 0.5, states[centre], other)
            rotations = np.concatenate([rotations, self._turned(rotations[centre], degrees)])
            states = np.concatenate([states, drawn])
            order = np.argsort(-self._score(y, self._draw(rotations, states)).numpy())[: self.kept]
            rotations, states, degrees = rotations[order], states[order], degrees / 2
        # A first sample of the posterior says where it lies; the second, about it, is the answer.
        _, _, rotations = self._posterior(y, rotations, 2 * degrees, draws // 2)
        return self._posterior(y, rotations, 2 * degrees, draws)[:2]

    def _turned(self, centres, degrees):
        turn = np.deg2rad(degrees) * self._rng.normal(size=(len(centres), 3))
        return Rotation.from_rotvec(turn).as_matrix() @ centres

    def _score(self, y, templates):
        """log weight [n] of templates [n, box^2], up to a constant."""
        return (templates @ y - (templates**2).sum(1) / 2) / self.noise_sd**2

    def _posterior(self, y, centres, degrees, count):
        """Importance sampling: orientations from clouds about the centres, weighed by what they undo, in every state.

        Gives (mean [box^2], effective number, rotations drawn anew by their weights).
        """
        states = len(self.projectors)
        drawn = self._turned(centres[self._rng.integers(len(centres), size=count)], degrees)
        templates = self._draw(np.tile(drawn, (states, 1, 1)), np.repeat(np.arange(states), count))
        density = torch.from_numpy(np.tile(_log_density(drawn, centres, degrees), states))
        weight = torch.softmax(self._score(y, templates).double() - density, 0)
        share = weight.view(states, count).sum(0).numpy()
        again = drawn[self._rng.choice(count, self.kept, p=share / share.sum())]
        return weight.float() @ templates, float(1 / (weight**2).sum()), again


def _log_density(drawn, centres, degrees):
    """log of the mixture of Gaussian clouds of rotations, up to a constant."""
    cosine = (np.einsum('nij,mij->nm', drawn, centres) - 1) / 2
    angle = np.arccos(np.clip(cosine, -1, 1)) / np.deg2rad(degrees)
    return np.logaddexp.reduce(-(angle**2) / 2, axis=1)
