"""Real empty particles as the noise that goes in: carbon edges, ice and neighbours, which no Gaussian holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.identity import Who, name_hashes, who
from ..data.particles import open_particles
from ..data.sampling import evenly_spread
from ..data.table import ParticleTable
from ..devices import choose_precision
from ..errors import InputError
from ..imaging.resample import resample
from ..inference import boxes
from ..inference.ensemble import Ensemble
from ..inference.model import Model
from ..inference.routing import Routing, route
from ..job import Job
from ..metrics.pair_agreement import FEWEST
from ..settings.audit import Audit
from ..shapes import Images


@dataclass(frozen=True)
class EmptyParticles:
    """Table of empty particles, rows looked at, plan and routing for the audited model."""

    table: ParticleTable
    rows: np.ndarray
    plan: boxes.Boxes
    routing: Routing


def load_empty_particles(
    settings: Audit, job: Job, particles: ParticleTable, model: Model, most: int
) -> EmptyParticles | None:
    """EmptyParticles of --noise-particles, or None; InputError when they are too few or some of them are particles."""
    if settings.noise_particles is None:
        return None
    table = open_particles(job, settings.noise_particles)
    if len(table) < FEWEST:
        raise InputError(f'--noise-particles: {table.path} has only {len(table)} images; at least {FEWEST} are needed')
    shared = _shared(who(table), who(particles))
    if shared:
        raise InputError(
            f'--noise-particles: {shared} of {len(table)} images of {table.path} are among the particles: they are not '
            'known to be empty'
        )
    plan = boxes.choose_boxes(table, model, 'model', settings.batch_size)
    grey = boxes.grey_scale_warning(model, table.images(), plan)
    if grey:
        job.warn(f'--noise-particles: {grey}')
    rows = evenly_spread(len(table), most)
    return EmptyParticles(table, rows, plan, route(model, table))


def _shared(empties: Who, particles: Who) -> int:
    """How many of the empty ones are particles for certain: equal names, folders included, or equal places."""
    same = np.isin(name_hashes(empties.names), name_hashes(particles.names))
    places = empties.places, particles.places
    if places[0] is not None and places[1] is not None:
        same |= np.isin(name_hashes(places[0]), name_hashes(places[1]))
    return int(same.sum())


def denoise(
    empties: EmptyParticles, model: Model, cut: float | None, particles: ParticleTable
) -> tuple[Images, Images]:
    """(images, denoised images), float32 [n, N, N] at the network's box.

    particles: ParticleTable whose CTF and angles the empty ones are said to have, where the model asks for them.
    """
    precision = choose_precision('auto', model.device)
    like = np.arange(len(empties.table)) % len(particles)
    ensemble = Ensemble(model, empties.plan, precision, empties.routing, cut, False, particles, like)
    images = empties.table.images().read(empties.rows)
    size = empties.plan.batch_size
    starts = range(0, len(images), size)
    denoised = [ensemble(images[k : k + size], empties.rows[k : k + size]).images for k in starts]
    return resample(images, empties.plan.model_box), np.concatenate(denoised)
