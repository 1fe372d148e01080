"""References of given particles: their map, projected at their angles, moved by their shifts, through their CTF."""

import numpy as np
import torch

from ...devices import to_host
from ...imaging import maps, resample
from ...imaging.ctf import apply_ctf, ctf_rfft
from ...imaging.projection import FourierProjector
from ...metrics import pair_agreement
from ...streams import Portions, in_stages


class Renderer:
    """Projects one map, or each particle's own half map.

    settings: Project. p: ProjectInputs. lowpass: A, of the maps; None = as they are.
    """

    def __init__(self, settings, p, lowpass):
        self._p, self._device = p, p.device
        if settings.threads:
            torch.set_num_threads(settings.threads)
        pad = settings.pad or (2.5 if p.plan.box <= 256 else 2.0)
        self._projectors = [
            FourierProjector(_filtered(settings, p, m, lowpass), pad, settings.interpolation, p.device) for m in p.maps
        ]
        scale = p.pixel_sizes / p.plan.pixel_size
        self._scale = None if np.abs(scale - 1).max() < 1e-5 else scale

    def spectra(self, rows, matrices=None, shifts=None, factor=1.0):
        """rfft2 of bare projections, complex64[n, box, box//2+1]. Other poses [n] and another scale when given."""
        p = self._p
        matrices = p.matrices[rows] if matrices is None else matrices
        shifts = p.shifts[rows] if shifts is None else shifts
        scale = None if self._scale is None else self._scale[rows] * factor
        if scale is None and factor != 1:
            scale = np.full(len(rows), factor)
        if len(self._projectors) == 1:
            return self._projectors[0].project_rfft(matrices, shifts, scale)
        box = p.plan.box
        found = torch.empty(len(rows), box, box // 2 + 1, dtype=torch.complex64, device=self._device)
        for k, projector in enumerate(self._projectors):
            mine = np.flatnonzero(p.map_of_row[rows] == k)
            if mine.size:
                own = None if scale is None else scale[mine]
                found[mine] = projector.project_rfft(matrices[mine], shifts[mine], own)
        return found

    def images(self, spectra, rows, mode):
        """float32[n, box, box] of spectra of ``rows``, with the CTF as ``mode`` says."""
        return self.begin(spectra, rows, mode)()

    def begin(self, spectra, rows, mode):
        """As `images`, begun on the device: what is given back waits for them when it is called."""
        p = self._p
        if mode != 'none':
            params = {name: values[rows] for name, values in p.ctf.items()}
            spectra = apply_ctf(spectra, ctf_rfft(p.plan.box, p.pixel_sizes[rows], params, self._device), mode)
        return to_host(torch.fft.irfft2(spectra, s=(p.plan.box, p.plan.box)))


def prepared_map(settings, volume, mask, lowpass):
    """The map as it is projected, float32[N, N, N] at its own pixel size: low-passed, masked, inverted as asked."""
    data = volume.data
    if lowpass:
        data = maps.lowpass(data, volume.pixel_size, lowpass)
    if mask is not None:
        data = data * mask
    return -data if settings.invert else data


def _filtered(settings, p, volume, lowpass):
    """The map as it is projected, resampled, in units of line integrals of the input's voxels."""
    data = prepared_map(settings, volume, p.mask, lowpass)
    return p.plan.apply(data) * (p.plan.pixel_size / volume.pixel_size)


def stream(renderer, images, p, mode, starts, batch_size, say):
    """[(references float32[n, box, box], correlation with their particles [n, 1]), ...] of each batch, in order: one,
    or several where memory ran out. Reading, projecting and comparing go on at the same time.

    images: of the particles. mode: CTF state in which they are compared. starts: first particle of each batch. say:
    told when memory runs out and batches become smaller.
    """
    portions, pixel_size = Portions(say), float(np.median(p.pixel_sizes))

    def read(start):
        rows = np.arange(start, min(start + batch_size, len(images)))
        return rows, resample.resample(images.read(rows), p.plan.box)

    def project(batch):
        rows, particles = batch

        def begin(part):
            spectra = renderer.spectra(rows[part])
            shown = [renderer.begin(spectra, rows[part], m) for m in dict.fromkeys((p.wanted, mode))]
            return shown, particles[part]

        return portions(begin, len(rows))

    def compare(parts):
        found = [([finish() for finish in shown], particles) for shown, particles in parts]
        return [
            (shown[0], pair_agreement.correlations(shown[-1], particles, pixel_size)[:, None])
            for shown, particles in found
        ]

    return in_stages(starts, read, project, compare)
