"""One library of the templates of all fold models, for particles that none of them knows.

A fold model has the references of its own particles only, and the mean of what two of them answer is not what the
references of both would have answered: of templates that lie twice as close the better ones have nearly all of the
weight. Nor can the answers be weighed by their evidence: each fold model has its own estimate of the noise, and the
evidence of all pixels changes with it by more than that of a better template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..shapes import Tensor
from .library import TemplateLibrary
from .map_prior import MapPrior
from .posterior import Search

# Stands for all fold models, where one is named; none can have this name.
ALL = '(all)'


def are_apart(libraries: Sequence[TemplateLibrary]) -> bool:
    """Whether several libraries hold other templates each. Projections of a map stand at the same poses in all: there
    is nothing to join."""
    first = libraries[0]
    others = [lib for lib in libraries[1:] if not torch.equal(lib.matrices, first.matrices)]
    return len(libraries) > 1 and len(others) == len(libraries) - 1


def joint_library(libraries: Sequence[TemplateLibrary]) -> TemplateLibrary:
    """TemplateLibrary of the templates of all, in their order, in a basis of their own."""
    first = torch.tensor([0, *np.cumsum([len(lib) for lib in libraries])])

    def read(rows: Tensor) -> Tensor:
        box, device = libraries[0].plane.box, libraries[0].matrices.device
        images = torch.empty(len(rows), box, box, device=device)
        for lib, start, end in zip(libraries, first, first[1:]):
            mine = torch.nonzero((rows >= start) & (rows < end))[:, 0]
            if not len(mine):
                # MKL has no transform of no images.
                continue
            vectors = lib.basis.synthesise(lib.coefficients[(rows[mine] - start).to(device)])
            images[mine.to(device)] = lib.plane.images(vectors) + lib.background
        return images

    matrices, source = (torch.cat([getattr(lib, name) for lib in libraries]) for name in ('matrices', 'source'))
    found = TemplateLibrary.made(read, int(first[-1]), matrices, source)
    found.classes = libraries[0].classes
    return found


def joint_prior(priors: Sequence[MapPrior], search: Search | None = None) -> MapPrior:
    """MapPrior with the templates of all, and what they have learnt of the particles on the average. search: how it
    looks; None: as far as the one that looks farthest, and as sure as the surest, until `calibration.temper` says."""
    if search is None:
        searches = [prior.search for prior in priors]
        search = replace(
            searches[0],
            temperature=min(s.temperature for s in searches),
            contrast=float(np.mean([s.contrast for s in searches])),
        )
        search.widen(max(s.candidates for s in searches))
    spectrum = torch.stack([prior.spectrum for prior in priors]).mean(0)
    gain = float(np.mean([prior.gain for prior in priors]))
    return MapPrior(joint_library([prior.bank for prior in priors]), gain, spectrum, search, priors[0].options)
