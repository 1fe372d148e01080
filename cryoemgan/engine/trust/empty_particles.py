"""Real empty particles as the noise that goes in: carbon edges, ice and neighbours, which no Gaussian holds."""

from dataclasses import dataclass

import numpy as np

from ..data.identity import name_hashes, who
from ..data.particles import open_particles
from ..data.table import ParticleTable
from ..devices import choose_precision
from ..errors import InputError
from ..imaging.resample import resample
from ..inference import boxes
from ..inference.ensemble import Ensemble
from ..inference.routing import Routing, route
from ..metrics.pair_agreement import FEWEST


@dataclass(frozen=True)
class EmptyParticles:
    """Table of empty particles, rows looked at, plan and routing for the audited model."""

    table: ParticleTable
    rows: np.ndarray
    plan: boxes.Boxes
    routing: Routing


def load_empty_particles(settings, job, particles, model, most):
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
    rows = np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).round().astype(int))
    return EmptyParticles(table, rows, plan, route(model, table))


def _shared(empties, particles):
    """How many of the empty ones are particles for certain: equal names, folders included, or equal places."""
    same = np.isin(name_hashes(empties.names), name_hashes(particles.names))
    places = empties.places, particles.places
    if places[0] is not None and places[1] is not None:
        same |= np.isin(name_hashes(places[0]), name_hashes(places[1]))
    return int(same.sum())


def denoise(empties, model, cut, particles):
    """(images, denoised images), float32 [n, N, N] at the network's box.

    particles: ParticleTable whose CTF and angles the empty ones are said to have, where the model asks for them.
    """
    precision = choose_precision('auto', model.device)
    like = np.arange(len(empties.table)) % len(particles)
    committee = Ensemble(model, empties.plan, precision, empties.routing, cut, False, particles, like)
    images = empties.table.images().read(empties.rows)
    size = empties.plan.batch_size
    starts = range(0, len(images), size)
    denoised = [committee(images[k : k + size], empties.rows[k : k + size]).images for k in starts]
    return resample(images, empties.plan.model_box), np.concatenate(denoised)
