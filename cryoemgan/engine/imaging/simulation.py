"""Parts of the image model of ``simulate``: poses, CTF parameters, noise. Every draw has its own random stream,
so that a particle's noise depends on the seed and its row, never on batches or other options."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from ..geometry import euler_to_matrix, matrix_to_euler
from ..shapes import Flags, Floats, Images, Rows

# Streams of the seed; numbers are part of the reproducibility promise.
POSES, SHIFTS, CTF, HALVES, CONTAMINATED, ERRORS, PLACES, NOISE, SPOILT = range(1, 10)
MICROGRAPH = 4096


def stream(seed: int, *key: int) -> np.random.Generator:
    """The generator of one stream of random numbers."""
    return np.random.default_rng([seed, *key])


def random_angles(count: int, seed: int, spread: float | None = None) -> tuple[Floats, Floats, Floats]:
    """Euler angles (rot, tilt, psi) in degrees, each [count]: uniformly distributed orientations, or one orientation
    drawn at random and turned by rotations whose components have the s.d. ``spread`` (degrees)."""
    rng = stream(seed, POSES)
    if spread is not None:
        around = Rotation.from_rotvec(rng.normal(0, np.deg2rad(spread), (count, 3))).as_matrix()
        return matrix_to_euler(around @ Rotation.random(random_state=seed).as_matrix())
    rot, psi = rng.uniform(-180, 180, (2, count))
    return rot, np.rad2deg(np.arccos(rng.uniform(-1, 1, count))), psi


def perturbed_angles(angles: tuple[Floats, Floats, Floats], degrees: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """Angles after a further rotation whose components have the s.d. ``degrees``, as an estimate would be wrong."""
    wrong = Rotation.from_rotvec(stream(seed, ERRORS).normal(0, np.deg2rad(degrees), (len(angles[0]), 3)))
    return matrix_to_euler(wrong.as_matrix() @ euler_to_matrix(*angles))


def noise_power(box: int) -> Any:
    """Power of coloured noise on the grid of rfft2: 1/4 + 1 / (1 + (f / 0.1)^2), f in 1/px, scaled to mean 1."""

    def power(fx: Any) -> Any:
        return 0.25 + 1 / (1 + (np.square(fx) + np.square(fft.fftfreq(box))[:, None]) / 0.1**2)

    return power(fft.rfftfreq(box)) / power(fft.fftfreq(box)).mean()


def unit_noise(rows: Rows, box: int, seed: int, coloured: bool) -> np.ndarray:
    """Gaussian noise of variance 1, float32[len(rows), box, box], the same for a row whatever the batch."""
    noise = np.empty((len(rows), box, box), np.float32)
    for target, row in zip(noise, rows):
        stream(seed, NOISE, row).standard_normal(dtype=np.float32, out=target)
    if coloured:
        spectrum = fft.rfft2(noise) * np.sqrt(noise_power(box)).astype(np.float32)
        noise = fft.irfft2(spectrum, s=(box, box)).astype(np.float32)
    return noise


def spoil(images: Images, rows: Rows, seed: int, kind: str) -> Images:
    """Images of pure noise (Gaussian or uniform) with the mean and s.d. of each of these: [n, box, box]."""
    spoilt = np.empty_like(images)
    for target, image, row in zip(spoilt, images, rows):
        rng = stream(seed, SPOILT, row)
        # Uniform noise of variance 1 spans sqrt(12).
        unit = (
            rng.standard_normal(image.shape)
            if kind == 'gaussian'
            else rng.uniform(-np.sqrt(3), np.sqrt(3), image.shape)
        )
        target[:] = image.mean() + image.std() * unit
    return spoilt


def half_sets(count: int, seed: int) -> Rows:
    """Half sets 1 and 2 at random, equal in size."""
    return 1 + stream(seed, HALVES).permutation(count) % 2


def chosen(count: int, fraction: float, seed: int) -> Flags:
    """bool[count]: a random share of the particles, the number exact."""
    mask = np.zeros(count, bool)
    mask[stream(seed, CONTAMINATED).permutation(count)[: round(fraction * count)]] = True
    return mask


def micrographs(count: int, per_micrograph: int, box: int, seed: int) -> dict[str, Any]:
    """Columns of invented micrographs: name, x and y (px) of every particle."""
    names = [f'mic{1 + i // per_micrograph:04d}.mrc' for i in range(count)]
    x, y = stream(seed, PLACES).integers(box, max(MICROGRAPH - box, box + 1), (2, count)).astype(float)
    return {'rlnMicrographName': names, 'rlnCoordinateX': x, 'rlnCoordinateY': y}
