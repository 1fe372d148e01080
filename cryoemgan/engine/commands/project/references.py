"""References of given particles: their map, projected at their angles, moved by their shifts, through their CTF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...data.stacks import StackReader
from ...devices import to_host
from ...imaging import maps, resample
from ...imaging.forward_model import ForwardModel
from ...metrics import pair_agreement
from ...settings.project import Project
from ...shapes import Floats, Images, Matrices, Rows, Shifts, Tensor, Volume
from ...streams import Portions, in_stages
from ...trust.pose_fit import NUMBERS, PairModel
from ..filling import Parts

if TYPE_CHECKING:
    from . import ProjectInputs

# Numbers that are found of each particle: its correlation, and those of its pose fit.
COLUMNS = 1 + NUMBERS


class Renderer:
    """Projects one map, or each particle's own (see ProjectInputs); lowpass: A, of the maps; None = as they are."""

    def __init__(self, settings: Project, p: ProjectInputs, lowpass: float | None) -> None:
        self._p = p
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._model = ForwardModel(
            [prepared_map(settings, m, p.mask, lowpass) for m in p.maps], p.maps[0].pixel_size, p.plan.box,
            float(np.median(p.pixel_sizes)), pad=settings.pad or (2.5 if p.plan.box <= 256 else 2.0),
            interpolation=settings.interpolation, device=p.device,
        )  # fmt: skip

    def spectra(
        self, rows: Rows, matrices: Matrices | None = None, shifts: Shifts | None = None, factor: float = 1.0
    ) -> Tensor:
        """rfft2 of bare projections, complex64[n, box, box//2+1]. Other poses [n] and another scale when given."""
        p = self._p
        matrices = p.matrices[rows] if matrices is None else matrices
        shifts = p.shifts[rows] if shifts is None else shifts
        which = p.map_of_row[rows] if len(p.maps) > 1 else None
        return self._model.spectra(matrices, shifts, which, p.pixel_sizes[rows] * factor)

    def images(self, spectra: Tensor, rows: Rows, mode: str) -> Images:
        """float32[n, box, box] of spectra of ``rows``, with the CTF as ``mode`` says."""
        return self.begin(spectra, rows, mode)()

    def begin(self, spectra: Tensor, rows: Rows, mode: str) -> Callable[[], Images]:
        """As `images`, begun on the device: what is given back waits for them when it is called."""
        ctf = self._p.ctf and {name: values[rows] for name, values in self._p.ctf.items()}
        return to_host(self._model.through_ctf(spectra, ctf, mode, self._p.pixel_sizes[rows]))


def prepared_map(settings: Project, volume: maps.Map, mask: Volume | None, lowpass: float | None) -> Volume:
    """The map as it is projected, float32[N, N, N] at its own pixel size: low-passed, masked, inverted as asked."""
    data = volume.data
    if lowpass:
        data = maps.lowpass(data, volume.pixel_size, lowpass)
    if mask is not None:
        data = data * mask
    return -data if settings.invert else data


def stream(
    renderer: Renderer,
    images: StackReader,
    p: ProjectInputs,
    mode: str,
    model: PairModel,
    starts: Sequence[int],
    batch_size: int,
    say: Callable[[str], object],
) -> Iterator[Parts]:
    """[(references float32[n, box, box], correlation with their particles and the numbers of their pose fit [n,
    COLUMNS]), ...] of each batch, in order: one, or several where memory ran out. Reading, projecting and comparing go
    on at the same time.

    images: of the particles. mode: CTF state in which they are compared; model: how references show in them then.
    starts: first particle of each batch. say: told when memory runs out and batches become smaller.
    """
    portions, pixel_size = Portions(say), float(np.median(p.pixel_sizes))

    def read(start: int) -> tuple[Rows, Images]:
        rows = np.arange(start, min(start + batch_size, len(images)))
        return rows, resample.resample(images.read(rows), p.plan.box)

    def project(batch: tuple[Rows, Images]) -> list[Any]:
        rows, particles = batch

        def begin(part: slice) -> tuple[list[Callable[[], Images]], Images]:
            spectra = renderer.spectra(rows[part])
            shown = [renderer.begin(spectra, rows[part], m) for m in dict.fromkeys((p.wanted, mode))]
            return shown, particles[part]

        return portions(begin, len(rows))

    def compare(parts: list[Any]) -> Parts:
        found = [([finish() for finish in shown], particles) for shown, particles in parts]
        return [(shown[0], _compared(shown[-1], particles, pixel_size, model)) for shown, particles in found]

    return in_stages(starts, read, project, compare)


def _compared(references: Images, particles: Images, pixel_size: float, model: PairModel) -> Floats:
    """float64 [n, COLUMNS]"""
    correlation = pair_agreement.correlations(references, particles, pixel_size)
    return np.column_stack([correlation, model.measure(references, particles)])
