"""``originals``: from a selection of denoised particles back to the original ones, which reconstructions need."""

from __future__ import annotations

from ..data.matching import rows_of_all
from ..data.table import ParticleTable
from ..errors import InputError
from ..job import Job
from ..settings.originals import Originals
from ..shapes import Json, Rows

TABLE = 'originals.star'


def load_inputs(settings: Originals, job: Job) -> tuple[ParticleTable, Rows]:
    """(source, its rows); InputError when a selected particle is not in the source."""
    selected, source = (ParticleTable.read(job.input(p)) for p in (settings.particles, settings.source))
    if source.provenance.get('verb') == 'denoise':
        raise InputError(f'{source.path} holds denoised particles; give the set that was denoised as --source')
    return source, rows_of_all(selected, source)


def run(settings: Originals, job: Job, inputs: tuple[ParticleTable, Rows]) -> Json:
    """Write originals.star: the source's own rows and images."""
    source, rows = inputs
    source.subset(rows).write(job.output(TABLE))
    return {'particles': len(rows), 'of': len(source)}
