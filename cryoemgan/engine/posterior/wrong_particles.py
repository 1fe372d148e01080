"""Particles made to learn what a p-value means: right ones, and wrong ones (other objects, noise alone)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.sampling import chunks
from ..shapes import Floats, Tensor
from .p_value import Power, PValueCalibration

if TYPE_CHECKING:
    from .map_prior import Context, MapPrior

CHUNK = 32
TEMPLATES = 200


def power_of(prior: MapPrior, context: Context, count: int, calibration: PValueCalibration, seed: int = 0) -> Power:
    """Power of the p-value of a MapPrior against wrong particles under the CTF, and at the angles, of the right ones.

    context: of ``count`` right particles.
    """
    other = _scores(prior, context, other_objects(prior, count, seed), seed)
    nothing = _scores(prior, context, torch.zeros(count, len(prior.plane), device=prior.device), seed + 1)
    return calibration.power_against(other, nothing)


def right_scores(prior: MapPrior, context: Context, count: int, seed: int = 0) -> Floats | None:
    """Scores [count, 3] (evidence, match, misfit) of simulated particles that show the map, at any view, turn, shift
    and contrast that the prior expects, under the CTF of particles.

    context: of ``count`` particles. None with a pose prior, which expects each particle at a view of its own.
    """
    if prior.options.pose_prior:
        return None
    library, plane = prior.bank, prior.plane
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(library), (count,), generator=rng)
    turns = 2 * torch.pi * torch.rand(count, generator=rng)
    shifts = (prior.options.shift_sd * torch.randn(count, 2, generator=rng)).clamp(
        -prior.options.shift_range, prior.options.shift_range
    )
    contrast = 1 + prior.search.contrast * torch.randn(count, 1, generator=rng)
    coefficients = library.basis.turned(library.coefficients[chosen.to(prior.device)], turns.to(prior.device))
    vectors = library.basis.synthesise(coefficients) * plane.ramps(shifts.to(prior.device))
    return _scores(prior, context, vectors * contrast.to(prior.device), seed + 2)


def other_objects(prior: MapPrior, count: int, seed: int) -> Tensor:
    """Vectors complex64 [count, P] of images of other objects of the map's size and power spectrum.

    What all templates share when they are turned, a round blob, and beside it white noise under the radial profile of
    the templates' differences from it, its rings scaled to their mean power: as large and as rich in detail as the
    map's particles, and no view in common with them.
    """
    library, plane = prior.bank, prior.plane
    chosen = torch.linspace(0, len(library) - 1, min(TEMPLATES, len(library))).long()
    templates = library.basis.synthesise(library.coefficients[chosen])
    rings = plane.r.round().long()
    blob = plane.ring_means(templates.mean(0).real)[rings].to(templates.dtype)
    differences = templates - blob
    white = torch.randn(count, plane.box, plane.box, generator=torch.Generator().manual_seed(seed))
    vectors = plane.vectors(white.to(prior.device) * _profile(plane.images(differences)))
    found, wanted = (plane.ring_means(x.abs().square().mean(0)) for x in (vectors, differences))
    return blob + vectors * (wanted / found.clamp(min=1e-30)).sqrt()[rings]


def _profile(images: Tensor) -> Tensor:
    """Root mean square of images [n, N, N], the same all around their origin: [N, N]."""
    box = images.shape[-1]
    axis = torch.arange(box, device=images.device, dtype=torch.float32) - box // 2
    ring = torch.hypot(axis[:, None], axis).round().long()
    total = torch.zeros(int(ring.max()) + 1, device=images.device)
    total = total.index_add(0, ring.flatten(), images.square().mean(0).flatten())
    found: Tensor = (total / ring.flatten().bincount()).sqrt()[ring]
    return found


def _scores(prior: MapPrior, context: Context, vectors: Tensor, seed: int) -> Floats:
    """Scores [n, 3] (evidence, match, misfit) of images of vectors [n, P] under CTF and noise."""
    found = []
    for k, rows in enumerate(chunks(len(vectors), CHUNK)):
        part, shown = context.part(rows), vectors[rows]
        signal = prior.gain * prior.plane.images(shown * prior.ctf(part, len(shown)))
        asked = prior(signal + prior.noise(len(shown), 1000 * seed + k), part)
        found.append(torch.stack([asked.evidence, asked.match, asked.misfit], 1).cpu().double().numpy())
    return np.concatenate(found)
