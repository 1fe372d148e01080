"""Radial Wiener filter: the best linear filter that knows only the power spectra of signal and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..shapes import Images
from .base import Batch, Method


class Denoiser(Method):
    """signal power / (signal power + noise power) on every Fourier ring, both estimated from the set.

    With a transfer function H of each image the signal power P is that before H: P = <H^2 (|Y|^2 - N)> / <H^4>
    (least squares), and the filter H P / (H^2 P + N).
    """

    learns = True
    learnt = ('level', 'power')
    uses_ctf = True

    def __init__(self, box: int) -> None:
        super().__init__(box)
        k = np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)) * box
        # The corners of the square beyond Nyquist are one last ring.
        self._ring = np.minimum(np.round(k), box // 2).astype(np.int64)
        # Columns of an rfft2 stand for two coefficients but for the first and the last.
        self._weight = np.full(self._ring.shape, 2.0)
        self._weight[:, 0] = 1
        if box % 2 == 0:
            self._weight[:, -1] = 1
        self.level = 0.0
        self.power: np.ndarray = np.zeros(0)

    def fit(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Two passes: the grey level of the set, then the power around it."""
        total, count = 0.0, 0
        for batch in batches():
            total, count = total + batch.images.sum(dtype=np.float64), count + batch.images.size
        if not count:
            raise ValueError('no images to learn from')
        self.level = total / count
        above, below = np.zeros(self.box // 2 + 1), np.zeros(self.box // 2 + 1)
        for batch in batches():
            h2 = self._squared(batch)
            excess = self._power(batch.images) - self._noise(batch)
            above += self._sum((h2 * excess).sum(0))
            below += self._sum(np.broadcast_to(h2**2, excess.shape).sum(0))
        self.power = np.maximum(above / np.maximum(below, 1e-12), 0)

    def denoise(self, batch: Batch) -> Images:
        h = 1 if batch.transfer is None else batch.transfer
        power = self.power[self._ring]
        gain = h * power / (h**2 * power + self._noise(batch))
        spectrum = np.fft.rfft2(batch.images - self.level) * gain
        return (np.fft.irfft2(spectrum, s=(self.box, self.box)) + self.level).astype(np.float32)

    def _noise(self, batch: Batch) -> np.ndarray:
        """Noise power of a coefficient, [n, 1, 1], in the scale of an unnormalised rfft2."""
        return (batch.noise_sd**2 * self.box**2)[:, None, None]

    def _power(self, images: Images) -> np.ndarray:
        return np.abs(np.fft.rfft2(images - self.level)) ** 2

    @staticmethod
    def _squared(batch: Batch) -> np.ndarray:
        return np.ones(1) if batch.transfer is None else batch.transfer**2

    def _sum(self, values: np.ndarray) -> np.ndarray:
        weighted = values * self._weight
        return np.bincount(self._ring.ravel(), weighted.ravel(), self.box // 2 + 1)
