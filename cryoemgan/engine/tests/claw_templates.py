"""Projections of a claw, whose libraries and posteriors are tested."""

import numpy as np
import torch

from cryoemgan.engine.imaging import phantom
from cryoemgan.engine.posterior.map_prior import MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Search

BOX, SIZE, COUNT = 32, 300, 24


SEARCH = dict(functions=120, turns=36, candidates=24)


def project(state, matrices, shifts=None):
    images = phantom.claw(2)[state].project(BOX, matrices, shifts)
    return torch.as_tensor(np.asarray(images), dtype=torch.float32)


def noisy(clean, snr, seed=0):
    sd = float((clean.var() / snr).sqrt())
    return clean + sd * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)), sd


def guide_of(bank, sd, **options):
    return MapPrior(
        bank, 1.0, torch.full((bank.plane.radius + 1,), sd**2), Search(**SEARCH), MapPriorOptions(**options)
    )
