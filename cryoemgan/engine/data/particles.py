"""The particles that a run reads: from a finished run, known again by table and images, without bad images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files import WHOLE
from ..finished import require_as_written
from ..shapes import AnyPath, Json
from .cryosparc import is_cs
from .sampling import chunks, evenly_spread
from .table import ParticleTable

if TYPE_CHECKING:
    from ..job import Job

# Images looked at together, and how many of a large set tell whether it is the same.
CHUNK, SAMPLE = 256, 256
NAMED = 5


def open_particles(job: Job, path: AnyPath) -> ParticleTable:
    """The particles of a table, for a run that reads their images.

    Table and images are recorded in the summary and in what --resume compares. With ``--bad-images skip`` the images
    that hold no numbers are left out, named and counted. InputError for what cannot be read, and for table or stack of
    a run that has not finished, or not as it wrote them.
    """
    s = job.settings
    passthrough = getattr(s, 'passthrough', None)
    table = ParticleTable.read(
        job.input(path, whole=True),
        getattr(s, 'images_folder', None),
        getattr(s, 'pixel_size', None),
        passthrough and job.input(passthrough, whole=True) if is_cs(path) else None,
    )
    for note in table.notes:
        job.warn(note)
    for stack in table.images().files:
        require_as_written(stack)
    job.record(_identity_of_images(table), table.images().files)
    return _without_bad_images(job, table) if getattr(job.settings, 'bad_images', '') == 'skip' else table


def _identity_of_images(table: ParticleTable) -> Json:
    """What the images are known by, as `files.file_identity`: whole up to 64 MiB, else by samples and dates."""
    images = table.images()
    about = [Path(p).stat() for p in images.files]
    record: Json = {'path': f'images of {table.path}', 'size': 4 * len(images) * images.box**2}
    whole = record['size'] <= WHOLE
    rows = np.arange(len(images)) if whole else evenly_spread(len(images), SAMPLE)
    digest = hashlib.sha256()
    for part in chunks(len(rows), CHUNK):
        digest.update(images.raw(rows[part]).tobytes())
    if whole:
        return {**record, 'sha256': digest.hexdigest()}
    return {**record, 'mtime': max(a.st_mtime for a in about), 'sampled_sha256': digest.hexdigest()}


def _without_bad_images(job: Job, table: ParticleTable) -> ParticleTable:
    """The table of the particles whose images hold numbers; a warning names the others."""
    images = table.images()
    good = np.empty(len(table), bool)
    with job.progress(len(table), 'looking at images') as bar:
        for part in chunks(len(table), CHUNK):
            rows = np.arange(part.start, part.stop)
            good[part] = images.usable(images.raw(rows))
            bar.update(len(rows))
    bad = np.flatnonzero(~good)
    if not len(bad):
        return table
    if good.sum() < 1:
        raise InputError(f'{table.path}: every image holds NaN, infinite or absurd values')
    names = [table.describe(row) for row in bad]
    job.leave_out(names)
    job.warn(
        f'{len(bad)} of {len(table)} images hold NaN, infinite or absurd values and are left out: '
        f'{"; ".join(names[:NAMED])}{", ..." if len(bad) > NAMED else ""}'
    )
    return table.kept(np.flatnonzero(good))
