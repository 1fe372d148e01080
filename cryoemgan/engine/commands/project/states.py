"""What the particles hold of the CTF and of the microscope's distortions, and what the references shall."""

from __future__ import annotations

import numpy as np

from ...data import image_state, optics
from ...data.image_state import CtfState
from ...data.table import ParticleTable
from ...job import Job
from ...settings.project import AS_PARTICLES, Project
from ...shapes import Rows, Shifts
from ...trust.geometry_hypotheses import Hypothesis


def of(settings: Project, table: ParticleTable) -> tuple[CtfState, CtfState]:
    """(what the particles hold of the CTF, what the references shall)."""
    as_particles = settings.ctf == AS_PARTICLES
    held = image_state.particles_shown_as(table, CtfState.UNKNOWN if as_particles else settings.ctf)
    return held, held if as_particles else CtfState(settings.ctf)


def warn(job: Job, table: ParticleTable, held: CtfState, wanted: CtfState) -> None:
    """Warn when the references will not be what the particles are, and of aberrations that are not applied."""
    if wanted not in (held, CtfState.NONE):
        job.warn(
            f'{table.path}: the particles hold the CTF as "{held}", the references will as "{wanted}": a network '
            f'learns to make the one of the other. --ctf {AS_PARTICLES} makes references like the particles'
        )
    for sentence in optics.unread(table):
        job.warn(sentence)


def other_magnification(table: ParticleTable, rows: Rows, shifts: Shifts) -> dict[str, Hypothesis]:
    """Hypotheses on anisotropic magnification, whose matrix programs write either way round; none where it is 1."""
    stretch = table.magnification()
    if stretch is None:
        return {}
    matrices, stretch = table.rotations()[rows], stretch[rows]
    return {
        'the inverse of the magnification matrix (_rlnMagMat)': Hypothesis(
            'magnification', optics.stretched(matrices, np.linalg.inv(stretch)), shifts
        ),
        'no anisotropic magnification (_rlnMagMat)': Hypothesis('magnification', matrices, shifts),
    }
