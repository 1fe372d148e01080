"""The map prior of a set, as ``train`` makes it, and what it says of particles, as ``denoise`` asks."""

from __future__ import annotations

import time

import numpy as np
import torch

from cryoemgan.engine.data.image_state import CtfState
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.forward_model import ForwardModel
from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.posterior.calibration import Sample, calibrate
from cryoemgan.engine.posterior.context import Context
from cryoemgan.engine.posterior.image_posterior import ImagePosterior
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import MapPrior, MapPriorOptions
from cryoemgan.engine.shapes import Images, Rows

from ..datasets import Dataset

# Particles of the end of a set, from which the prior learns gain, noise and how hard to look; asked at a time.
CALIBRATED, BATCH = 200, 64
SEED = 7


class Asked:
    """A set with its map prior. noise: variance of the noise, times that of the set's own."""

    def __init__(self, data: Dataset, templates: int, pose_prior: float | None = None, noise: float = 1.0) -> None:
        self.table, self.noise = ParticleTable.read(data.particles), noise
        self.truth = ParticleTable.read(data.folder / 'noisy.star')
        volumes = [read_map(path) for path in sorted(data.folder.glob('volume_*.mrc'))]
        several = len(volumes) > 1
        self.classes = self.truth.ints('rlnClassNumber') - 1 if several else np.zeros(len(self.table), int)
        self.model = ForwardModel(
            [v.data for v in volumes], [v.pixel_size for v in volumes], self.table.box, self.table.pixel_size
        )
        library = TemplateLibrary.from_maps([torch.from_numpy(v.data) for v in volumes], templates, 'cpu')
        shifts = self.table.shifts()
        reach = min(6.0, float(np.ceil(np.quantile(np.hypot(*shifts.T), 0.98))))
        options = MapPriorOptions('none', reach, float(shifts.std()) if reach else 0.0, pose_prior)
        self.prior = MapPrior(library, 1.0, torch.ones(library.plane.radius + 1), options=options)
        self._calibrate(np.arange(len(self.table) - CALIBRATED, len(self.table)))

    def _calibrate(self, rows: Rows) -> None:
        context = Context.of(self.table, rows, self.table.box)
        assert context.matrices is not None
        clean = self.model.images(context.matrices, context.shifts, self.classes[rows], mode=CtfState.NONE)
        noisy = torch.from_numpy(self.images(rows))
        self.prior.gain = float((noisy * clean).sum() / clean.square().sum())
        calibrate(self.prior, Sample(noisy, clean, context, None))

    def images(self, rows: Rows) -> Images:
        """Particles float32[n, box, box], with more noise where it is asked for."""
        images = self.table.images().read(rows)
        if self.noise > 1:
            sd = float(self.truth.floats('cryoemganNoiseSd')[0]) * (self.noise - 1) ** 0.5
            noise = [np.random.default_rng([SEED, row]).normal(0, sd, images.shape[1:]) for row in rows]
            images = images + np.float32(noise)
        return images

    def __call__(self, rows: Rows) -> tuple[list[ImagePosterior], float]:
        """(what it says of particles, in batches; CPU milliseconds for each)."""
        found, start = [], time.process_time()
        for part in np.array_split(rows, -(-len(rows) // BATCH)):
            found.append(self.prior(torch.from_numpy(self.images(part)), Context.of(self.table, part, self.table.box)))
        return found, 1000 * (time.process_time() - start) / len(rows)
