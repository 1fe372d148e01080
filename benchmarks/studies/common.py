"""What the studies share: images of a table, and RNA polymerase as they simulate it."""

from pathlib import Path

import numpy as np

from cryoemgan.engine.data.table import ParticleTable

from ..clocks import command as verb
from ..molecules import STATES
from ..molecules import rnap_models as _without_tails

__all__ = ['STATES', 'images', 'rnap_models', 'verb']


def images(table, rows=None):
    """float32[n, N, N] of the rows (default: all) of a STAR file."""
    table = ParticleTable.read(table)
    return table.images().read(np.arange(len(table)) if rows is None else rows)


def rnap_models(data: Path, cut_in: Path | None = None) -> list[Path]:
    """Atomic models of the five states; with ``cut_in`` as files in that folder, without their tail."""
    if cut_in is not None:
        return _without_tails(data, cut_in)
    return [data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz' for s in STATES]
