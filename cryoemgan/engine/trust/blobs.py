"""A difference of a map as a sum of blobs about it, and what particles say of each blob."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from skimage.filters import threshold_otsu

from ..clustering.variability import Slices
from ..imaging.resample import resample
from ..shapes import Floats, Tensor, Volume
from .beyond_the_map import Residuals, real

# Blobs along the molecule's diameter; their s.d. in distances between them; finest detail that they hold, likewise.
ALONG, WIDTH, DETAIL = 8.0, 0.6, 1.6
MARGIN = 0.06  # about the map, part of the box
LARGEST, COARSE = 64, 12  # px of the box, and rings of the map, in which the molecule is found


def molecule(volume: Volume) -> tuple[np.ndarray, float]:
    """(Where there is density, bool [n, n, n]; its diameter, part of the box) of a map."""
    box = min(len(volume), LARGEST)
    coarse = resample(resample(volume, 2 * COARSE, axes=(-3, -2, -1)), box, axes=(-3, -2, -1))
    radius = _radius(box)
    inside = radius < 0.47
    level = np.median(coarse[inside])
    # What moves is smeared in the map, hence weak.
    core = inside & (coarse - level > (threshold_otsu(coarse[inside]) - level) / 2)
    points = np.argwhere(core)
    return core, 2 * float(np.percentile(np.linalg.norm(points - points.mean(0), axis=1), 95)) / box


class Blobs:
    """centres: float32 [p, 3] (x, y, z), parts of the box from its centre; spread: their s.d., likewise."""

    def __init__(self, core: np.ndarray, diameter: float) -> None:
        spacing, box = diameter / ALONG, len(core)
        self.spread = WIDTH * spacing
        axis = np.arange(-0.5 + spacing / 2, 0.5, spacing)
        centres = np.stack(np.meshgrid(*[axis - axis.mean()] * 3, indexing='ij'), -1).reshape(-1, 3)
        at = np.rint(centres * box).astype(int) + box // 2
        x, y, z = np.clip(at, 0, box - 1).T
        near = distance_transform_edt(~core)[z, y, x] < MARGIN * box
        keep = near & (np.linalg.norm(centres, axis=1) < 0.47)
        self.centres = torch.as_tensor(centres[keep], dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.centres)

    @staticmethod
    def rings(diameter: float) -> int:
        """Fourier rings that hold the detail of blobs."""
        return max(4, round(ALONG / (DETAIL * diameter)))

    def scores(self, residuals: Residuals, slices: Slices) -> Floats:
        """What particles say of each blob, float64 [n, p]: the product of their values with it."""
        rows, columns = self._waves(residuals.matrices, slices)
        values = torch.view_as_complex(residuals.values.view(len(rows), -1, 2).contiguous())
        plane = torch.zeros(len(rows), columns.shape[2], rows.shape[2], dtype=torch.complex64)
        plane[:, slices.ky + slices.detail, slices.kx] = (values * residuals.transfer * self._fall(slices)).conj()
        found: Floats = ((columns @ plane) * rows).sum(2).real.numpy().astype(np.float64)
        return found

    def seen(self, weights: Floats, residuals: Residuals, slices: Slices) -> Tensor:
        """Sums of blobs with ``weights`` [p] as particles see them, without what was taken away, [n, 2 m]."""
        rows, columns = self._waves(residuals.matrices, slices)
        plane = (columns * torch.as_tensor(weights, dtype=torch.float32)[:, None]).transpose(1, 2) @ rows
        shown = plane[:, slices.ky + slices.detail, slices.kx] * residuals.transfer * self._fall(slices)
        return residuals.without_map(real(shown)[:, None])[:, 0]

    def gram(self, residuals: Residuals, slices: Slices) -> Floats:
        """Sum over particles of the products of blobs as they see them, float64 [p, p]."""
        rows, columns = self._waves(residuals.matrices, slices)
        total = torch.zeros(len(self), len(self))
        for k in range(len(rows)):
            shown = columns[k][:, slices.ky + slices.detail] * rows[k][:, slices.kx]
            one = residuals[k : k + 1]
            flat = one.without_map(real(shown * (one.transfer * self._fall(slices)))[None])[0]
            total += flat @ flat.T
        return total.numpy().astype(np.float64)

    def volume(self, weights: Floats, box: int, field: float = 1.0) -> Volume:
        """Their sum as a map float32 [box, box, box] whose side is ``field`` of the particles' boxes."""
        axis = (np.arange(box) - box // 2) / box * field
        x, y, z = (np.exp(-0.5 * ((axis - c[:, None]) / self.spread) ** 2) for c in self.centres.numpy().T)
        found: Volume = np.einsum('pz,py,px->zyx', weights[:, None] * z, y, x, optimize=True).astype(np.float32)
        return found

    def _fall(self, slices: Slices) -> Tensor:
        squared = (slices.kx**2 + slices.ky**2).float()
        mass = (2 * math.pi) ** 1.5 * (self.spread * slices.box) ** 3 / slices.box
        return mass * torch.exp(-2 * (math.pi * self.spread) ** 2 * squared)

    def _waves(self, matrices: Tensor, slices: Slices) -> tuple[Tensor, Tensor]:
        """Phases of each blob, complex64 [n, p, kx] and [n, p, ky]."""
        x, y = (torch.einsum('pc,nc->np', self.centres, matrices[:, k]) for k in (0, 1))
        kx, ky = torch.arange(slices.detail + 1), torch.arange(-slices.detail, slices.detail + 1)
        turns = (x[:, :, None] * kx, y[:, :, None] * ky)
        waves = [torch.polar(torch.ones_like(t), -2 * math.pi * t) for t in turns]
        return waves[0], waves[1]


def _radius(box: int) -> Floats:
    axis = (np.arange(box) - box // 2) / box
    found: Floats = np.sqrt(axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2)
    return found
