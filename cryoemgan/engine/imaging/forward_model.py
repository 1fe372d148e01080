"""The forward model: what a microscope shows of a map at given angles, shifts and CTF, without noise.

image = IFT( CTF * shift * slice of FT(map) ): a projection (projection.py), through the microscope (ctf.py), in some
grey scale (grey_scale.py). References of `project`, fresh pairs and template libraries are all drawn here, so that
they agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..shapes import CtfParameters, Floats, Matrices, Rows, Shifts, Tensor, Volume
from .ctf import apply_ctf, ctf_rfft
from .projection import FourierProjector
from .resample import plan_resampling

# Pixel sizes that differ by less are one: the last ring of a box of 500 px then lies off by 0.005 px.
SAME_PIXEL = 1e-5


class ForwardModel:
    """Projections of one or several maps, in the box and pixel size of images.

    Grey values are line integrals in voxels of the given maps, whatever they are resampled to.

    Parameters
    ----------
    volumes : sequence of float32 [M, M, M]
        Maps (z, y, x), origin at M // 2; their boxes may differ.
    volume_pixel_sizes : float, or sequence of them
        Of all maps, or of each, A.
    box, pixel_size : int, float
        Of the images: px, and A/px. Single images may have another pixel size, see `spectra`.
    pad, interpolation, device
        As for `FourierProjector`.

    Raises
    ------
    InputError
        When maps and images cannot meet (`plan_resampling`).
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        volume_pixel_sizes: float | Sequence[float],
        box: int,
        pixel_size: float,
        *,
        pad: float = 2.0,
        interpolation: str = 'linear',
        device: str | torch.device = 'cpu',
    ) -> None:
        self.box, self.pixel_size, self.device = box, pixel_size, torch.device(device)
        sizes = np.broadcast_to(volume_pixel_sizes, len(volumes)).tolist()
        self._maps = []
        for volume, size in zip(volumes, sizes, strict=True):
            plan = plan_resampling(len(volume), size, box, pixel_size)
            data = plan.apply(volume) * (plan.pixel_size / size)
            self._maps.append((FourierProjector(data, pad, interpolation, self.device), plan.pixel_size))

    def __len__(self) -> int:
        """Number of maps."""
        return len(self._maps)

    def spectra(
        self,
        matrices: Matrices | Tensor,
        shifts: Shifts | Tensor | None = None,
        which: Rows | Tensor | None = None,
        pixel_sizes: Floats | None = None,
    ) -> Tensor:
        """The rfft2 of bare projections, complex64 [n, box, box // 2 + 1].

        Parameters
        ----------
        matrices : float [n, 3, 3]
            A of p_img = A p_vol.
        shifts : float [n, 2]
            (x, y) in px of the images, which centre them; default none.
        which : int [n]
            Map of each image; default the first.
        pixel_sizes : float [n]
            Of each image, A; default that of the model.
        """
        sizes = np.broadcast_to(self.pixel_size if pixel_sizes is None else pixel_sizes, len(matrices))
        if which is None:
            return self._project(0, matrices, shifts, sizes)
        which = np.asarray(torch.as_tensor(which).cpu())
        found = torch.empty(len(matrices), self.box, self.box // 2 + 1, dtype=torch.complex64, device=self.device)
        for k in range(len(self)):
            mine = np.flatnonzero(which == k)
            if mine.size:
                found[mine] = self._project(k, matrices[mine], None if shifts is None else shifts[mine], sizes[mine])
        return found

    def images(
        self,
        matrices: Matrices | Tensor,
        shifts: Shifts | Tensor | None = None,
        which: Rows | Tensor | None = None,
        pixel_sizes: Floats | None = None,
        ctf: CtfParameters | None = None,
        mode: str = 'full',
    ) -> Tensor:
        """Images float32 [n, box, box]; arguments as `spectra`, and ``ctf``, ``mode`` as `through_ctf`."""
        spectra = self.spectra(matrices, shifts, which, pixel_sizes)
        return self.through_ctf(spectra, ctf, mode, pixel_sizes)

    def through_ctf(
        self, spectra: Tensor, ctf: CtfParameters | None, mode: str = 'full', pixel_sizes: Floats | None = None
    ) -> Tensor:
        """Images float32 [n, box, box] of spectra, multiplied by the CTF as ``mode`` says (`apply_ctf`).

        ctf: parameters, float [n] each (`ctf_rfft`); None: no CTF, as with mode 'none'.
        """
        if ctf is not None and mode != 'none':
            sizes = self.pixel_size if pixel_sizes is None else pixel_sizes
            spectra = apply_ctf(spectra, ctf_rfft(self.box, sizes, ctf, self.device), mode)
        return torch.fft.irfft2(spectra, s=(self.box, self.box))

    def _project(self, k: int, matrices: Matrices | Tensor, shifts: Shifts | Tensor | None, sizes: Floats) -> Tensor:
        """Spectra of map k; sizes: pixel size of each image, A."""
        projector, own = self._maps[k]
        scale = sizes / own
        same = not scale.size or np.abs(scale - 1).max() < SAME_PIXEL
        return projector.project_rfft(matrices, shifts, None if same else scale)
