"""Particles kept out of training, as the best network so far shows them: to be looked at while a training runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ... import __version__, figures
from ...figures.previews import DENOISED, FOLDER, NOISY, PAGE, REFERENCES
from ..data.sampling import evenly_spread
from ..data.stack_writer import StackWriter
from ..inference.card import read_card, statement_of
from ..job import Job
from ..shapes import Images, Json
from .loading import read
from .validation import evaluating

if TYPE_CHECKING:
    from .run import FoldTask

# Particles shown, of all fold models together; seconds between two drawings.
COUNT, SECONDS = 48, 5.0


class Previews:
    """Those of one fold model. Only the first process of a run makes any."""

    def __init__(self, task: FoldTask, job: Job, device: torch.device) -> None:
        self._task, self._run = task, job.output(PAGE).parent
        self._folder = job.output(FOLDER) / task.name
        each = max(2, COUNT // len(task.all_names))
        self._positions = task.validation[evenly_spread(len(task.validation), each)]
        self._noisy = read(task.pairs, self._positions, device).noisy
        # Images that have not been drawn yet, and their score.
        self._waiting: tuple[Images, Json] | None = None
        self._drawn = -np.inf

    def show(self, generator: nn.Module, score: Json) -> None:
        """Denoise them; draw, unless that was done a moment ago (`finish` then draws)."""
        scale = self._task.pairs.scale
        with evaluating(generator):
            images = generator(self._noisy).float()[:, 0].cpu().numpy()
        self._waiting = (images - scale.unit_offset) / scale.unit_scale, score
        if time.monotonic() - self._drawn > SECONDS:
            self.finish()

    def are_there(self) -> bool:
        """Whether they have been drawn, by this run or the one that it goes on with."""
        return (self._folder / DENOISED).is_file() and (self._run / PAGE).is_file()

    def finish(self) -> None:
        """Draw what is waiting to be drawn."""
        if self._waiting is None:
            return
        images, score = self._waiting
        self._folder.mkdir(parents=True, exist_ok=True)
        pairs = self._task.pairs
        with StackWriter(self._folder / 'denoised.mrcs', len(images), pairs.box, pairs.pixel_size) as stack:
            stack.append(images)
        rows = pairs.rows[self._positions]
        pairs.particles.subset(rows).write(self._folder / NOISY)
        references = pairs.references_at(self._positions)
        if references is not None:
            references.write(self._folder / REFERENCES)
        denoised = pairs.particles.derive('denoised.mrcs', box=pairs.box, pixel_size=pairs.pixel_size, rows=rows)
        denoised.set_provenance(
            verb='train', version=__version__, ctf=pairs.ctf, iteration=score['iteration'],
            statement=statement_of(read_card(self._run / 'model')[0]),
        )  # fmt: skip
        denoised.write(self._folder / DENOISED)
        figures.previews_page(self._run)
        self._waiting, self._drawn = None, time.monotonic()
