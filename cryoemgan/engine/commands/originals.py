"""``originals``: from a selection of denoised particles back to the original ones, which reconstructions need."""

import numpy as np

from ..data.matching import match
from ..data.table import ParticleTable
from ..errors import InputError

TABLE = 'originals.star'


def load_inputs(settings, job):
    """(source, its rows); InputError when a selected particle is not in the source."""
    selected, source = (ParticleTable.read(job.input(p)) for p in (settings.particles, settings.source))
    if source.provenance.get('verb') == 'denoise':
        raise InputError(f'{source.path} holds denoised particles; give the set that was denoised as --source')
    rows, source_rows = match(selected, source)
    if len(rows) < len(selected):
        missing = np.setdiff1d(np.arange(len(selected)), rows)
        raise InputError(
            f'{selected.describe(missing[0])} is not in {source.path} ({len(missing)} of {len(selected)} selected '
            'particles are not): give the set that was denoised as --source'
        )
    return source, source_rows


def run(settings, job, inputs):
    """Write originals.star: the source's own rows and images."""
    source, rows = inputs
    source.subset(rows).write(job.output(TABLE))
    return {'particles': len(rows), 'of': len(source)}
