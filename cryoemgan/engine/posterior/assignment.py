"""Which templates, at which turn and move, each particle may show, and how likely each is."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..shapes import Tensor
from .library import TemplateLibrary
from .posterior import Search, as_seen
from .refinement import refine
from .search import Particles, Prior, coarse, log_ratio

CHUNK = 100
# A candidate below this probability does not count.
LEAST = 0.02


@dataclass(frozen=True)
class Assignment:
    """Pairs of a particle and a template that it may show.

    particle, template: int64 [n]. angle: float32 [n], by which the template is turned, radians from x to y. shift:
    float32 [n, 2] px, by which it is moved. weight: float32 [n], probability; those of a particle add up to 1.
    """

    particle: Tensor
    template: Tensor
    angle: Tensor
    shift: Tensor
    weight: Tensor


@torch.no_grad()
def assign(
    library: TemplateLibrary, particles: Particles, prior: Prior, search: Search, own: Tensor | None = None
) -> Assignment:
    """The Assignment of Particles. own: int64 [n], template that each must not use, -1 for none.

    Probabilities are those of the likelihood to the power 1 / ``search.temperature``.
    """
    parts = []
    for rows in torch.arange(len(particles.y)).split(CHUNK):
        found = _assign(library, particles.rows(rows), prior, search, None if own is None else own[rows])
        parts.append(Assignment(rows[found.particle], found.template, found.angle, found.shift, found.weight))
    return Assignment(*(torch.cat(x) for x in zip(*(vars(p).values() for p in parts))))


def _assign(
    library: TemplateLibrary, particles: Particles, prior: Prior, search: Search, own: Tensor | None
) -> Assignment:
    rough, finer = library.reduced(search.functions), library.reduced(search.refining)
    found, _ = coarse(library, particles.cut(rough.inside), prior, search, own)
    found = refine(library, particles.cut(finer.inside), found, prior, search)
    vectors = library.basis.synthesise(library.basis.turned(library.coefficients[found.template], found.angle))
    seen, y = as_seen(library.plane, vectors, found.shift, particles)
    c, n = torch.einsum('blp,bp->bl', seen, y), seen.square().sum(-1)
    weight = torch.softmax(log_ratio(c, n, search.contrast) / search.temperature + found.log_prior, 1)
    weight = weight * (weight >= LEAST)
    weight = weight / weight.sum(1, keepdim=True)
    particle, place = torch.nonzero(weight, as_tuple=True)
    return Assignment(
        particle, found.template[particle, place], found.angle[particle, place], found.shift[particle, place],
        weight[particle, place],
    )  # fmt: skip
